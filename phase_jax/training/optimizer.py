"""The optimiser of a lane: SGD with momentum or Adam, weight decay, piecewise constant rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import optax

if TYPE_CHECKING:
    from phase_jax.config import TrainingConfig


def build_optimizer(config: TrainingConfig, steps_per_epoch: int) -> optax.GradientTransformation:
    """Build the optimiser.

    The learning rate drops by `decay_factor` at each fraction of training in `decay_at`, judged
    for every minibatch at t = epoch + (i + 1) / steps_per_epoch. Weight decay is an L2 penalty
    added to the gradient of every parameter before momentum, as in the reference codes.

    Args:
      config: Rates, momentum, decay.
      steps_per_epoch: Minibatches in an epoch, the last partial one included.

    Returns:
      The gradient transformation.
    """
    num_steps = config.num_epochs * steps_per_epoch
    boundaries: dict[int, float] = {}
    for fraction in config.decay_at:
        boundary = max(math.ceil(fraction * num_steps) - 1, 0)
        boundaries[boundary] = boundaries.get(boundary, 1.0) * config.decay_factor
    schedule = optax.piecewise_constant_schedule(config.learning_rate, boundaries)
    decay = optax.add_decayed_weights(config.weight_decay)
    if config.optimizer == "adam":
        return optax.chain(decay, optax.adam(schedule))
    return optax.chain(decay, optax.sgd(schedule, momentum=config.momentum or None))
