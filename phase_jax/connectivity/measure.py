"""Measure one network given as a weighted sum of three: loss and accuracy on clean images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from phase_jax.connectivity.curve import Networks, combine_networks
from phase_jax.losses import VANILLA
from phase_jax.training.batch_statistics import make_recompute_statistics
from phase_jax.training.evaluate import make_evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Float

    from phase_jax.models import Model


class Images(NamedTuple):
    """Images as stored, and labels."""

    images: Any  # [N, ...]
    labels: Any  # [N]


class CurveData(NamedTuple):
    """What curves are trained on and measured on; each part has its own N."""

    train: Images
    train_measured: Images
    test_measured: Images


class Measures(NamedTuple):
    """Mean cross-entropy and accuracy, clean, in evaluation mode; on the host with more axes."""

    train_loss: Any
    train_accuracy: Any
    test_loss: Any
    test_accuracy: Any


def make_measure_network(
    model: Model, *, batch_size: int, pixel_scale: float
) -> Callable[..., Measures]:
    """Make a pure function that measures one network.

    Args:
      model: The network.
      batch_size: Images measured at once.
      pixel_scale: Stored value that stands for 1.0.

    Returns:
      `measure(weights [3], networks, state, data) -> Measures`. Batch statistics, where there are
      any, are recomputed from all training images first.
    """
    recompute = make_recompute_statistics(model, batch_size=batch_size, pixel_scale=pixel_scale)
    evaluate = make_evaluate(
        model, VANILLA, _leave_clean, batch_size=batch_size, pixel_scale=pixel_scale
    )

    def measure(
        weights: Float[Array, "3"], networks: Networks, state: Any, data: CurveData
    ) -> Measures:
        params = combine_networks(weights, networks)
        state = recompute(params, state, data.train.images)
        unused = jax.random.key(0)
        train, test = (
            evaluate(params, state, *images, unused, jnp.zeros(()))
            for images in (data.train_measured, data.test_measured)
        )
        return Measures(
            train_loss=train.loss.mean(),
            train_accuracy=train.correct.mean(dtype=jnp.float32),
            test_loss=test.loss.mean(),
            test_accuracy=test.correct.mean(dtype=jnp.float32),
        )

    return measure


def _leave_clean(loss_fn: Any, x: Array, key: Any, *, epsilon: Array) -> Array:
    """Attack nothing."""
    del loss_fn, key, epsilon
    return x
