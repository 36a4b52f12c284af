"""Evaluate a network on a whole set of images, clean and under attack."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from phase_jax.losses import cross_entropy
from phase_jax.training.parts import attack_in_parts
from phase_jax.training.split import split_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Bool, Float, Int

    from phase_jax.attacks import Attack
    from phase_jax.losses import Objective
    from phase_jax.models import Model


class Evaluation(NamedTuple):
    """Per-image results; N images in the order given."""

    loss: Float[Array, "N"]  # the objective's own, under attack
    cross_entropy: Float[Array, "N"]  # under attack
    correct: Bool[Array, "N"]  # under attack
    clean_loss: Float[
        Array, "N"
    ]  # the objective's own, the clean image in the attacked one's place
    clean_cross_entropy: Float[Array, "N"]
    clean_prediction: Int[Array, "N"]


class Perturbed(NamedTuple):
    """Images under attack, and what the network makes of them."""

    clean_images: Float[Array, "N ..."]  # pixels in [0, 1]
    images: Float[Array, "N ..."]  # attacked
    probabilities: Float[Array, "N K"]  # of the attacked images
    clean_probabilities: Float[Array, "N K"]


def scale_pixels(images: Array, pixel_scale: float) -> Float[Array, "B ..."]:
    """Scale stored images to [0, 1] as float32."""
    return images.astype(jnp.float32) / pixel_scale


def make_evaluate(
    model: Model,
    objective: Objective,
    attack: Attack,
    *,
    batch_size: int,
    pixel_scale: float,
) -> Callable[..., Evaluation]:
    """Make a pure function that evaluates one network at one attack strength.

    Args:
      model: The network; run in evaluation mode, attack included.
      objective: Its train loss is reported; what is ascended is that of `make_perturb`.
      attack: The attack.
      batch_size: Images evaluated at once.
      pixel_scale: Stored value that stands for 1.0.

    Returns:
      `evaluate(params, state, images [N, ...], labels [N], key, epsilon) -> Evaluation`.
    """
    attack_batch = _make_attack_batch(model, objective, attack, pixel_scale)

    def evaluate_batch(
        params: Any, state: Any, images: Array, labels: Array, key: Array, epsilon: Array
    ) -> Evaluation:
        _, _, logits, clean_logits = attack_batch(params, state, images, labels, key, epsilon)
        return Evaluation(
            loss=objective.measure_train_loss(logits, labels, clean_logits),
            cross_entropy=cross_entropy(logits, labels),
            correct=jnp.argmax(logits, -1) == labels,
            clean_loss=objective.measure_train_loss(clean_logits, labels, clean_logits),
            clean_cross_entropy=cross_entropy(clean_logits, labels),
            clean_prediction=jnp.argmax(clean_logits, -1).astype(jnp.int32),
        )

    def evaluate(
        params: Any, state: Any, images: Array, labels: Array, key: Array, epsilon: Array
    ) -> Evaluation:
        num_images = images.shape[0]
        size = min(batch_size, num_images)
        num_batches = math.ceil(num_images / size)
        places = jnp.arange(num_batches * size).reshape(num_batches, size) % num_images

        def one_batch(i: Array) -> Evaluation:
            batch_key = jax.random.fold_in(key, i)
            return evaluate_batch(
                params, state, images[places[i]], labels[places[i]], batch_key, epsilon
            )

        batches = jax.lax.map(one_batch, jnp.arange(num_batches))
        return jax.tree.map(lambda field: field.reshape(-1)[:num_images], batches)

    return evaluate


def make_perturb(
    model: Model, objective: Objective, attack: Attack, *, pixel_scale: float
) -> Callable[..., Perturbed]:
    """Make a pure function that attacks a few images and keeps them, to be looked at.

    Args:
      model: The network; run in evaluation mode, attack included.
      objective: Its attack loss is ascended, or cross-entropy where the objective uses clean
        logits: networks trained by TRADES and MART face the same attack.
      attack: The attack.
      pixel_scale: Stored value that stands for 1.0.

    Returns:
      `perturb(params, state, images [N, ...], labels [N], key, epsilon) -> Perturbed`.
    """
    attack_batch = _make_attack_batch(model, objective, attack, pixel_scale)

    def perturb(
        params: Any, state: Any, images: Array, labels: Array, key: Array, epsilon: Array
    ) -> Perturbed:
        x, attacked, *logits = attack_batch(params, state, images, labels, key, epsilon)
        return Perturbed(x, attacked, *map(jax.nn.softmax, logits))

    return perturb


def _make_attack_batch(
    model: Model, objective: Objective, attack: Attack, pixel_scale: float
) -> Callable[..., tuple[Array, Array, Array, Array]]:
    """Make a function that gives images, clean and attacked, and logits, attacked and clean."""
    ascended_fn = cross_entropy if objective.uses_clean else objective.attack_loss

    def attack_batch(
        params: Any, state: Any, images: Array, labels: Array, key: Array, epsilon: Array
    ) -> tuple[Array, Array, Array, Array]:
        x = split_batch(scale_pixels(images, pixel_scale))

        def logits_fn(z: Array) -> Array:
            return model.apply(params, state, z, train=False)[0]

        attacked = attack_in_parts(
            attack,
            lambda own_labels: lambda z: ascended_fn(logits_fn(z), own_labels),
            x,
            labels,
            key,
            epsilon=epsilon,
            size=model.attack_part,
        )
        return x, attacked, logits_fn(attacked), logits_fn(x)

    return attack_batch
