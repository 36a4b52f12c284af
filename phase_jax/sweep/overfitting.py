"""Overfitting in the later epochs: how the generalisation gap grows (Figure 5)."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from phase_jax.types import LaneStatus

if TYPE_CHECKING:
    from jaxtyping import Float

    from phase_jax.config import TrainingConfig
    from phase_jax.sweep.result import SweepResult

LAST_SHARE = 0.1
"""The last epochs, whose mean ratio sums a lane up: this share of all, at least one."""


@dataclasses.dataclass(frozen=True)
class Overfitting:
    """The generalisation gap of every lane, adversarial test loss minus train loss.

    Attributes:
      reference_epoch: The first epoch after the first drop of the learning rate, from 1.
      gaps: [E, S, T].
      ratios: [E, S, T] to the gap of the reference epoch; NaN for lanes that diverged or
        collapsed, and where that gap is not positive.
      final_ratios: [E, S] mean ratio of the last tenth of the epochs.
    """

    reference_epoch: int
    gaps: Float[np.ndarray, "E S T"]
    ratios: Float[np.ndarray, "E S T"]
    final_ratios: Float[np.ndarray, "E S"]

    def summarise(self) -> tuple[Float[np.ndarray, "E"], Float[np.ndarray, "E"]]:
        """Average the final ratios over seeds.

        Returns:
          Means and their standard errors, NaN where fewer than one or two seeds have a ratio.
        """
        finite = np.isfinite(self.final_ratios)
        rows = [row[sound] for row, sound in zip(self.final_ratios, finite, strict=True)]
        means = [row.mean() if len(row) else math.nan for row in rows]
        errors = [row.std(ddof=1) / len(row) ** 0.5 if len(row) > 1 else math.nan for row in rows]
        return np.array(means), np.array(errors)


def assess_overfitting(result: SweepResult) -> Overfitting:
    """Follow the generalisation gap of every lane through the epochs.

    Args:
      result: The run.

    Returns:
      The gaps, and their ratio to that of the reference epoch.
    """
    train, test = result.history["train_loss"], result.history["test_loss"]
    num_epochs = train.shape[2]
    reference = find_reference_epoch(result.config.training, num_epochs)
    gaps = np.asarray(test, float) - train
    at_reference = gaps[:, :, reference - 1]
    sound = (result.lanes.status == LaneStatus.OK) & (at_reference > 0)
    ratios = gaps / np.where(sound, at_reference, np.nan)[..., None]
    num_last = max(round(LAST_SHARE * num_epochs), 1)
    return Overfitting(reference, gaps, ratios, ratios[:, :, -num_last:].mean(axis=2))


def find_reference_epoch(training: TrainingConfig, num_epochs: int) -> int:
    """Find the first epoch, from 1, whose learning rate has dropped from the start on.

    That is the paper's 101st of 200. Without a drop it is the first one of the second half; under a
    rate that rises and falls, the first after its peak.
    """
    drops = training.decay_at or (0.5,)
    share = training.rise_until if training.schedule == "rise_fall" else min(drops)
    return min(math.floor(share * num_epochs) + 1, num_epochs)
