"""Train the bend of one curve: the expected loss of a random point on it goes down.

The objective is E over t ~ U(0, 1) of CE(phi(t)) + 1/2 decay ||phi(t)||^2, one t a minibatch, on
clean images: how good the networks between two networks are, whatever those were trained on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax

from phase_jax.connectivity.curve import WEIGH_FNS, Networks, combine_networks, find_midpoint
from phase_jax.losses import cross_entropy
from phase_jax.training.augmentation import make_augment
from phase_jax.training.evaluate import scale_pixels
from phase_jax.training.lane import draw_batches

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.config import TrainingConfig
    from phase_jax.models import Model

HOLD_UNTIL, FALL_UNTIL, LAST_SHARE = 0.5, 0.9, 0.01


def make_schedule(learning_rate: float, num_steps: int) -> optax.Schedule:
    """Make the learning rate of a curve: constant, then falling linearly, then 1 % of its start.

    Args:
      learning_rate: The first half's.
      num_steps: Steps of the training.

    Returns:
      `schedule(step) -> rate`; it falls between 50 % and 90 % of the steps.
    """
    fall = max(round((FALL_UNTIL - HOLD_UNTIL) * num_steps), 1)
    return optax.linear_schedule(
        learning_rate, LAST_SHARE * learning_rate, fall, round(HOLD_UNTIL * num_steps)
    )


def make_train_curve(
    model: Model, training: TrainingConfig, *, curve: str, pixel_scale: float
) -> Callable[..., tuple[Any, jax.Array]]:
    """Make a pure function that trains one curve.

    Args:
      model: The network; in training mode, as when it was trained.
      training: Epochs, batch size, learning rate, momentum, weight decay, augmentation.
      curve: `bezier` or `polygon`.
      pixel_scale: Stored value that stands for 1.0.

    Returns:
      `train(key, start, end, state, images [N, ...], labels [N]) -> (bend, losses [T])`: trees of
      parameters, the model state of either end (its batch statistics are not used), and the mean
      cross-entropy of each epoch. The bend begins halfway between the ends.

    References:
      Garipov et al., "Loss surfaces, mode connectivity, and fast ensembling of DNNs", 2018,
      arXiv:1802.10026.
    """
    weigh = WEIGH_FNS[curve]
    augment = make_augment(training.augmentation)

    def train(key, start, end, state, images, labels):
        num_batches = math.ceil(len(labels) / training.batch_size)
        schedule = make_schedule(training.learning_rate, training.num_epochs * num_batches)
        optimizer = optax.sgd(schedule, momentum=training.momentum or None)

        def measure(bend, x, y, weights, t, dropout_key):
            point = combine_networks(weigh(t), Networks(start, bend, end))
            options = {"weights": weights} if model.has_batch_statistics else {}
            logits, _ = model.apply(point, state, x, train=True, key=dropout_key, **options)
            loss = (weights * cross_entropy(logits, y)).sum()
            square = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(point))
            return loss / weights.sum() + 0.5 * training.weight_decay * square, loss

        def step(carry, inputs):
            bend, optimizer_state = carry
            places, weights, step_key = inputs
            t_key, dropout_key, augmentation_key = jax.random.split(step_key, 3)
            x = augment(augmentation_key, scale_pixels(images[places], pixel_scale))
            t = jax.random.uniform(t_key)
            grads, loss = jax.grad(measure, has_aux=True)(
                bend, x, labels[places], weights, t, dropout_key
            )
            updates, optimizer_state = optimizer.update(grads, optimizer_state, bend)
            return (optax.apply_updates(bend, updates), optimizer_state), loss

        def run_epoch(carry, epoch_key):
            order_key, step_key = jax.random.split(epoch_key)
            places, weights = draw_batches(order_key, len(labels), training.batch_size)
            step_keys = jax.random.split(step_key, num_batches)
            carry, losses = jax.lax.scan(step, carry, (places, weights, step_keys))
            return carry, losses.sum() / len(labels)

        bend = find_midpoint(start, end)
        epoch_keys = jax.random.split(key, training.num_epochs)
        (bend, _), losses = jax.lax.scan(run_epoch, (bend, optimizer.init(bend)), epoch_keys)
        return bend, losses

    return train
