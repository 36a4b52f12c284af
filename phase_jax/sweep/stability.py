"""Catastrophic overfitting: lanes that resist the attack they are trained with, and no other."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from phase_jax.types import LaneStatus

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from phase_jax.sweep.result import SweepResult

LEARNT_ACCURACY = 0.5
"""From here on a lane has learnt to resist the attack of its training."""
LOST_SHARE = 0.5
"""Below this share of the accuracy of guessing, resistance to PGD is lost."""


@dataclasses.dataclass(frozen=True)
class Stability:
    """Which lanes overfit catastrophically (Table 2).

    A lane does in an epoch in which its accuracy on training images under the attack of its
    training is at least `LEARNT_ACCURACY`, and that on test images under PGD below `LOST_SHARE` of
    guessing. It is unstable if it does so in its last epoch.

    Attributes:
      unstable: [E, S].
      onset: [E, S] first epoch of it, counted from 1, whether it lasted or not; 0 for never.
      smallest_epsilon: Smallest attack strength with an unstable lane, None without one.
      is_below: Whether epsilon* lies below that; None where either does not exist.
    """

    unstable: Bool[np.ndarray, "E S"]
    onset: Int[np.ndarray, "E S"]
    smallest_epsilon: float | None
    is_below: bool | None


def assess_stability(result: SweepResult) -> Stability:
    """Find the lanes of a run that overfit catastrophically.

    Args:
      result: The run. Its history holds, per epoch, the accuracy under the training attack on
        training images, and under PGD on the images that choose the epoch.

    Returns:
      Which lanes are unstable, and from which attack strength on.
    """
    lost = LOST_SHARE / result.description["data"]["num_classes"]
    overfits = _find_overfitting(
        result.history["train_accuracy"], result.history["test_accuracy"], lost
    )
    unstable = overfits[:, :, -1] & (result.lanes.status != LaneStatus.DIVERGED)
    onset = np.where(overfits.any(axis=2), overfits.argmax(axis=2) + 1, 0)
    rows = unstable.any(axis=1)
    smallest = float(result.epsilons[rows][0]) if rows.any() else None
    star = result.epsilon_star.value
    is_below = None if smallest is None or star is None else star < smallest
    return Stability(unstable, onset, smallest, is_below)


def _find_overfitting(
    train_accuracy: Float[np.ndarray, "E S T"],
    test_accuracy: Float[np.ndarray, "E S T"],
    lost: float,
) -> Bool[np.ndarray, "E S T"]:
    """Say for every epoch whether the training attack is resisted and PGD is not."""
    return (train_accuracy >= LEARNT_ACCURACY) & (test_accuracy < lost)
