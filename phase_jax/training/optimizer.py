"""The optimiser of a lane: SGD or Adam, weight decay, and the learning rate's schedule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import optax

if TYPE_CHECKING:
    from phase_jax.config import TrainingConfig


def build_optimizer(config: TrainingConfig, steps_per_epoch: int) -> optax.GradientTransformation:
    """Build the optimiser.

    Weight decay is an L2 penalty added to the gradient of every parameter before momentum, as in
    the reference codes.

    Args:
      config: Rates, momentum, decay.
      steps_per_epoch: Minibatches in an epoch, the last partial one included.

    Returns:
      The gradient transformation.
    """
    schedule = build_schedule(config, config.num_epochs * steps_per_epoch)
    decay = optax.add_decayed_weights(config.weight_decay)
    if config.optimizer == "adam":
        return optax.chain(decay, optax.adam(schedule))
    return optax.chain(decay, optax.sgd(schedule, momentum=config.momentum or None))


def build_schedule(config: TrainingConfig, num_steps: int) -> optax.Schedule:
    """Build the learning rate as a function of the minibatches done.

    `steps`: the rate drops by `decay_factor` at each fraction of training in `decay_at`, judged for
    every minibatch at t = epoch + (i + 1) / steps_per_epoch. `rise_fall` (fine-tuning; Figure B.1):
    from `rise_from` times the rate in a straight line to the full rate, reached after the fraction
    `rise_until` of all minibatches, then along half a cosine to `fall_to` times the rate.

    Args:
      config: The rate and its schedule.
      num_steps: Minibatches of the whole training.

    Returns:
      The schedule.
    """
    rate = config.learning_rate
    if config.schedule == "rise_fall":
        num_rising = round(config.rise_until * num_steps)
        rise = optax.linear_schedule(config.rise_from * rate, rate, num_rising)
        fall = optax.cosine_decay_schedule(rate, max(num_steps - num_rising, 1), config.fall_to)
        return optax.join_schedules([rise, fall], [num_rising])
    boundaries: dict[int, float] = {}
    for fraction in config.decay_at:
        boundary = max(math.ceil(fraction * num_steps) - 1, 0)
        boundaries[boundary] = boundaries.get(boundary, 1.0) * config.decay_factor
    return optax.piecewise_constant_schedule(rate, boundaries)
