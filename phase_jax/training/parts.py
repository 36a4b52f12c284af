"""Attack a batch part by part where that keeps intermediate results in a CPU's cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

from phase_jax.training.split import BATCH_AXIS

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Float, PRNGKeyArray

    from phase_jax.attacks import Attack


def attack_in_parts(
    attack: Attack,
    make_loss_fn: Callable[..., Callable[[Array], Array]],
    x: Float[Array, "B ..."],
    others: Any,
    key: PRNGKeyArray,
    *,
    epsilon: Float[Array, ""],
    size: int | None,
) -> Float[Array, "B ..."]:
    """Attack a batch in equal parts, one after the other, each with a key of its own.

    All steps on one part are taken before the next part: what a small convolutional network writes
    for a few dozen images is read again before it leaves the cache. For networks that treat every
    image by itself the parts change nothing but the random starts. A batch that several devices
    share stays whole.

    Args:
      attack: The attack.
      make_loss_fn: `make_loss_fn(others)` is the loss to ascend; `others` may be those of a part.
      x: Images.
      others: Pytree of arrays [B, ...] that go with the images: labels, say.
      key: Random key.
      epsilon: Attack strength.
      size: Largest number of images of a part; None for the whole batch.

    Returns:
      The attacked images.
    """
    part = choose_part(len(x), size)
    if part == len(x) or BATCH_AXIS in jax.sharding.get_abstract_mesh().axis_names:
        return attack(make_loss_fn(others), x, key, epsilon=epsilon)
    num_parts = len(x) // part

    def cut(leaf: Array) -> Array:
        return leaf.reshape(num_parts, part, *leaf.shape[1:])

    def attack_part(arguments: tuple[Array, Any, Array]) -> Array:
        own_x, own_others, own_key = arguments
        return attack(make_loss_fn(own_others), own_x, own_key, epsilon=epsilon)

    parts = jax.lax.map(
        attack_part, (cut(x), jax.tree.map(cut, others), jax.random.split(key, num_parts))
    )
    return parts.reshape(x.shape)


def choose_part(num_images: int, size: int | None) -> int:
    """Choose the largest part of at most `size` images that divides a batch; at least half of it.

    Where nothing between half of `size` and `size` divides the batch, it stays whole.
    """
    if size is None or num_images <= size:
        return num_images
    parts = (part for part in range(size, size // 2 - 1, -1) if num_images % part == 0)
    return next(parts, num_images)
