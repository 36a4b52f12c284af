"""One training step: attack the batch, then descend on what the attack found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from phase_jax.attacks import make_attack
from phase_jax.losses import cross_entropy
from phase_jax.training.augmentation import make_augment
from phase_jax.training.evaluate import scale_pixels
from phase_jax.training.parts import attack_in_parts
from phase_jax.training.split import split_batch
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Float

    from phase_jax.attacks import Attack
    from phase_jax.config import SweepConfig
    from phase_jax.losses import Objective
    from phase_jax.models import Model


class StepInfo(NamedTuple):
    """What a step reports: sums over the batch's examples, before the update, under attack."""

    loss: Float[Array, ""]  # the objective's own
    cross_entropy: Float[Array, ""]
    correct: Float[Array, ""]


def resolve_batch_norm(config: SweepConfig, objective: Objective) -> str:
    """Decide which statistics BatchNorm uses during training attacks: `batch` or `running`."""
    if config.attack.batch_norm is not None:
        return config.attack.batch_norm
    return "batch" if objective.attack_train_mode else "running"


def check_restarts(config: SweepConfig, model: Model, objective: Objective) -> None:
    """Refuse restarts kept image by image where the images of a batch influence one another.

    Raises:
      InputError: The attack has restarts and the network batch statistics during the attack.
    """
    coupled = model.has_batch_statistics and resolve_batch_norm(config, objective) == "batch"
    if coupled and config.attack.num_restarts > 1:
        raise InputError(
            f"--attack-restarts: {config.attack.num_restarts} is not allowed with batch "
            "statistics, which couple the images; allowed: 1, or --attack-batch-norm running"
        )


def make_training_attack(config: SweepConfig, objective: Objective) -> Attack:
    """Make the attack of training; the objective may decide where it starts."""
    return make_attack(
        config.attack.name,
        norm=config.attack.norm,
        num_steps=config.attack.num_steps,
        step_length=config.attack.step_length(),
        step_rule=config.attack.step_rule,
        random_start=config.attack.random_start,
        num_restarts=config.attack.num_restarts,
        start_noise=objective.start_noise,
    )


def make_step(
    config: SweepConfig,
    model: Model,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    pixel_scale: float,
) -> Callable[..., tuple[Any, StepInfo]]:
    """Make one training step.

    Images are augmented, then attacked, then descended on. The network's state (BatchNorm
    statistics) changes only with the descent: with the pass over clean images, where the objective
    uses it, and with that over attacked ones.

    Args:
      config: The attack and the augmentation.
      model: The network; see `resolve_batch_norm` for its mode during the attack.
      objective: The loss.
      optimizer: The optimiser.
      pixel_scale: Stored value that stands for 1.0.

    Returns:
      `step(carry, epsilon, images, labels, weights, key) -> (carry, StepInfo)`, `carry` being
      (params, model_state, optimizer_state) and weights zero for padding, which counts nowhere.
    """
    attack = make_training_attack(config, objective)
    augment = make_augment(config.training.augmentation)
    train_mode = resolve_batch_norm(config, objective) == "batch"

    def step(carry, epsilon, images, labels, weights, key):
        params, model_state, optimizer_state = carry
        attack_key, dropout_key, augmentation_key = jax.random.split(key, 3)
        x = split_batch(augment(augmentation_key, scale_pixels(images, pixel_scale)))
        options = {"weights": weights} if model.has_batch_statistics else {}

        def apply_fn(params: Any, state: Any, z: Array, *, train: bool = True):
            if not train:
                return model.apply(params, state, z, train=False)
            return model.apply(params, state, z, train=True, key=dropout_key, **options)

        def attacked_logits_fn(z: Array) -> Array:
            return apply_fn(params, model_state, z, train=train_mode)[0]

        fixed = attacked_logits_fn(x) if objective.uses_clean else None

        def make_loss_fn(others):
            own_weights, own_labels, own_fixed = others
            return lambda z: (
                own_weights
                * objective.measure_attack_loss(attacked_logits_fn(z), own_labels, own_fixed)
            )

        adversarial = attack_in_parts(
            attack,
            make_loss_fn,
            x,
            (weights, labels, fixed),
            attack_key,
            epsilon=epsilon,
            size=model.attack_part,
        )

        def mean_loss(params: Any) -> tuple[Array, tuple[StepInfo, Any]]:
            clean_logits, state = None, model_state
            if objective.uses_clean:
                clean_logits, state = apply_fn(params, state, x)
            logits, state = apply_fn(params, state, adversarial)
            info = StepInfo(
                loss=(weights * objective.measure_train_loss(logits, labels, clean_logits)).sum(),
                cross_entropy=(weights * cross_entropy(logits, labels)).sum(),
                correct=(weights * (jnp.argmax(logits, -1) == labels)).sum(),
            )
            return info.loss / weights.sum(), (info, state)

        grads, (info, model_state) = jax.grad(mean_loss, has_aux=True)(params)
        updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
        params = optax.apply_updates(params, updates)
        return (params, model_state, optimizer_state), info

    return step
