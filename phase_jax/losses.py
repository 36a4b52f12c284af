"""Losses of single examples, and the objectives of adversarial training built from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Float, Int

    ExampleLoss = Callable[[Float[Array, "B K"], Int[Array, "B"]], Float[Array, "B"]]


class Objective(NamedTuple):
    """What an attack ascends and what training descends; both pure and per example.

    Attributes:
      name: What results call it.
      attack_loss: `(logits [B, K], labels [B]) -> [B]`, ascended by the attack.
      train_loss: `(adversarial_logits [B, K], labels [B]) -> [B]`, descended by training; its
        weighted mean over an epoch is the train loss of a lane.
      supremum_fn: `(class frequencies [K]) -> float`, the mean train loss of the best constant
        prediction, which no attack can change: the smallest train loss at any attack strength is
        at most this. None where it is not known.
    """

    name: str
    attack_loss: ExampleLoss
    train_loss: ExampleLoss
    supremum_fn: Callable[[np.ndarray], float] | None = None


def cross_entropy(logits: Float[Array, "B K"], labels: Int[Array, "B"]) -> Float[Array, "B"]:
    """Compute -log softmax(logits)[label] of each example, in log space throughout.

    Args:
      logits: Unnormalised log-probabilities.
      labels: Classes, 0 to K - 1.

    Returns:
      Loss in nats; finite for finite logits.
    """
    log_probabilities = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_probabilities, labels[:, None], axis=-1)[:, 0]


def compute_entropy(frequencies: np.ndarray) -> float:
    """Compute the entropy of class frequencies [K], in nats."""
    present = frequencies[frequencies > 0]
    return float(-(present * np.log(present)).sum())


VANILLA = Objective("vanilla", cross_entropy, cross_entropy, compute_entropy)
_OBJECTIVES = {objective.name: objective for objective in (VANILLA,)}


def build_objective(objective: str | Objective | ExampleLoss) -> Objective:
    """Build an objective from its name, or wrap the user's own loss of single examples.

    Args:
      objective: A name, an `Objective`, or `loss(logits [B, K], labels [B]) -> [B]`, which both
        the attack ascends and training descends.

    Returns:
      The objective.

    Raises:
      InputError: The name is not known, or the argument is none of these.
    """
    if isinstance(objective, Objective):
        return objective
    if callable(objective):
        name = getattr(objective, "__name__", type(objective).__name__)
        return Objective(name, objective, objective)
    if not isinstance(objective, str) or objective not in _OBJECTIVES:
        raise InputError(
            f"objective: {objective!r} is not known; allowed: {', '.join(_OBJECTIVES)}, "
            "an Objective, or a function (logits, labels) -> loss of each example"
        )
    return _OBJECTIVES[objective]
