"""Recompute the statistics of BatchNorm for parameters that were not trained with any."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from phase_jax.training.evaluate import scale_pixels

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array

    from phase_jax.models import Model

COLLECTION = "batch_stats"
FAR = 2.0**40  # so far from any statistic that rounding hides the batch's own


def make_recompute_statistics(
    model: Model, *, batch_size: int, pixel_scale: float
) -> Callable[[Any, Any, Array], Any]:
    """Make a pure function that recomputes batch statistics in one pass over images.

    The new statistics are the mean over all images of their batches' statistics (a cumulative
    average). A network in training mode moves its running statistics s to (1 - m) s + m b, b being
    the batch's. Two passes over a stand-in image, from s = 0 and from a huge s, tell each
    statistic's m; from s = 0 every batch then gives m b. So no convention on momentum is assumed.

    Args:
      model: The network; one without batch statistics keeps its state.
      batch_size: Images of a batch.
      pixel_scale: Stored value that stands for 1.0.

    Returns:
      `recompute(params, state, images [N, ...]) -> state`.
    """

    def recompute(params: Any, state: Any, images: Array) -> Any:
        if not model.has_batch_statistics:
            return state
        size = min(batch_size, images.shape[0])
        num_batches = math.ceil(images.shape[0] / size)
        slots = jnp.arange(num_batches * size).reshape(num_batches, size)

        def move(level: float, x: Array, weights: Array) -> Any:
            filled = jax.tree.map(lambda leaf: jnp.full_like(leaf, level), state[COLLECTION])
            started = {**state, COLLECTION: filled}
            _, moved = model.apply(
                params, started, x, train=True, key=jax.random.key(0), weights=weights
            )
            return moved[COLLECTION]

        def add_batch(sums: Any, places: Array) -> tuple[Any, None]:
            weights = (places < images.shape[0]).astype(jnp.float32)
            x = scale_pixels(images[places % images.shape[0]], pixel_scale)
            moved = move(0.0, x, weights)
            return jax.tree.map(lambda s, b: s + weights.sum() * b, sums, moved), None

        stand_in = jnp.zeros((2, *images.shape[1:]))
        near, far = (move(level, stand_in, jnp.ones(2)) for level in (0.0, FAR))
        momenta = jax.tree.map(lambda low, high: 1 - (high - low) / FAR, near, far)
        nothing = jax.tree.map(jnp.zeros_like, state[COLLECTION])
        sums, _ = jax.lax.scan(add_batch, nothing, slots)
        fresh = jax.tree.map(lambda s, m: s / (m * images.shape[0]), sums, momenta)
        return {**state, COLLECTION: fresh}

    return recompute
