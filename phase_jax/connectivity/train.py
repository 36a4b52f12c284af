"""Train the bend of one curve: the expected loss of a random point on it goes down.

The objective is E over t ~ U(0, 1) of CE(phi(t)) + 1/2 decay ||phi(t)||^2, one t a minibatch, on
clean images: how good the networks between two networks are, whatever those were trained on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

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

    import numpy as np
    from jaxtyping import Array, Float, Int, PRNGKeyArray

    from phase_jax.config import TrainingConfig
    from phase_jax.connectivity.measure import Images
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


class Ends(NamedTuple):
    """What a curve connects; pytrees of parameters."""

    start: Any
    end: Any
    model_state: Any
    """Of either end: the curve does not use batch statistics."""


class CurveState(NamedTuple):
    """What the training of a curve carries from epoch to epoch."""

    key: PRNGKeyArray
    epoch: Int[Array, ""]  # epochs done
    bend: Any
    optimizer_state: Any


class CurveInfo(NamedTuple):
    """What it reports of an epoch: the mean cross-entropy at random points of the curve."""

    train_loss: Float[Array | np.ndarray, "..."]


class CurveFns(NamedTuple):
    """The pure functions of a curve.

    Attributes:
      init: `init(key, ends) -> CurveState`; the bend begins halfway between the ends.
      run_epochs: `run_epochs(state, ends, images, num_epochs) -> (CurveState, CurveInfo [T])`;
        `num_epochs` is static.
    """

    init: Callable[[PRNGKeyArray, Ends], CurveState]
    run_epochs: Callable[..., tuple[CurveState, CurveInfo]]


def make_curve_fns(
    model: Model, training: TrainingConfig, *, curve: str, pixel_scale: float
) -> CurveFns:
    """Make the functions that train one curve.

    Args:
      model: The network; in training mode, as when it was trained.
      training: Epochs, batch size, learning rate, momentum, weight decay, augmentation.
      curve: `bezier` or `polygon`.
      pixel_scale: Stored value that stands for 1.0.

    Returns:
      The functions; an epoch's batches, points and noise depend on the key and its number.

    References:
      Garipov et al., "Loss surfaces, mode connectivity, and fast ensembling of DNNs", 2018,
      arXiv:1802.10026.
    """
    weigh = WEIGH_FNS[curve]
    augment = make_augment(training.augmentation)

    def make_optimizer(num_batches: int) -> optax.GradientTransformation:
        schedule = make_schedule(training.learning_rate, training.num_epochs * num_batches)
        return optax.sgd(schedule, momentum=training.momentum or None)

    def init(key: PRNGKeyArray, ends: Ends) -> CurveState:
        bend = find_midpoint(ends.start, ends.end)
        return CurveState(key, jnp.int32(0), bend, make_optimizer(1).init(bend))

    def measure(bend, ends, x, y, weights, t, dropout_key):
        point = combine_networks(weigh(t), Networks(ends.start, bend, ends.end))
        options = {"weights": weights} if model.has_batch_statistics else {}
        logits, _ = model.apply(point, ends.model_state, x, train=True, key=dropout_key, **options)
        loss = (weights * cross_entropy(logits, y)).sum()
        square = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(point))
        return loss / weights.sum() + 0.5 * training.weight_decay * square, loss

    def run_epochs(state: CurveState, ends: Ends, images: Images, num_epochs: int):
        num_images = len(images.labels)
        num_batches = math.ceil(num_images / training.batch_size)
        optimizer = make_optimizer(num_batches)
        epoch_keys = jax.random.split(state.key, training.num_epochs)

        def step(carry, inputs):
            bend, optimizer_state = carry
            places, weights, step_key = inputs
            t_key, dropout_key, augmentation_key = jax.random.split(step_key, 3)
            x = augment(augmentation_key, scale_pixels(images.images[places], pixel_scale))
            t = jax.random.uniform(t_key)
            grads, loss = jax.grad(measure, has_aux=True)(
                bend, ends, x, images.labels[places], weights, t, dropout_key
            )
            updates, optimizer_state = optimizer.update(grads, optimizer_state, bend)
            return (optax.apply_updates(bend, updates), optimizer_state), loss

        def run_epoch(state: CurveState, _: None):
            order_key, step_key = jax.random.split(epoch_keys[state.epoch])
            places, weights = draw_batches(order_key, num_images, training.batch_size)
            carry = (state.bend, state.optimizer_state)
            step_keys = jax.random.split(step_key, num_batches)
            carry, losses = jax.lax.scan(step, carry, (places, weights, step_keys))
            return CurveState(state.key, state.epoch + 1, *carry), losses.sum() / num_images

        state, losses = jax.lax.scan(run_epoch, state, length=num_epochs)
        return state, CurveInfo(losses)

    return CurveFns(init, run_epochs)
