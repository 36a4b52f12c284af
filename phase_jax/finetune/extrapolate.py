"""From fine-tuned train losses to epsilon*: several methods, and how far each can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from phase_jax.finetune.result import Extrapolation, LinearFit
from phase_jax.solver import estimate_epsilon_star
from phase_jax.types import LaneStatus

if TYPE_CHECKING:
    from jaxtyping import Float

    from phase_jax.sweep.result import SweepResult
    from phase_jax.types import EpsilonStarEstimate

METHODS = ("line", "regression", "isotonic", "monotone_spline")
NUM_RESAMPLES = 100
"""For values whose interval is not used: the fewest that the configuration allows."""


def take_train_losses(result: SweepResult) -> Float[np.ndarray, "E S"]:
    """Take the train losses that the configuration names, NaN where a lane failed."""
    logged = result.config.solver.train_loss == "logged"
    losses = result.lanes.train_loss if logged else result.lanes.evaluated_train_loss
    return np.where(result.lanes.status == LaneStatus.OK, losses, np.nan)


def extrapolate(result: SweepResult, supremum: float) -> tuple[Extrapolation, ...]:
    """Extrapolate a fine-tuned loss curve by every method.

    Args:
      result: Lanes of one attack, the clean ones first.
      supremum: The largest value that the loss can take.

    Returns:
      One extrapolation a method.
    """
    attack, num_points = result.config.attack.name, len(result.epsilons) - 1
    names = {"line": "1", "regression": f"{num_points}" if num_points > 1 else "regression"}
    return tuple(
        _extrapolate_by(method, f"{attack}_{names.get(method, method)}", result, supremum)
        for method in METHODS
    )


def fit_line(epsilons: Float[np.ndarray, "E"], losses: Float[np.ndarray, "E S"]) -> LinearFit:
    """Fit a straight line to the mean losses, epsilon = 0 included.

    Args:
      epsilons: Attack strengths, at least two.
      losses: Losses of every seed; seeds that lack a point are left out of all.

    Returns:
      The line; all NaN where no seed has every point.
    """
    whole = np.isfinite(losses).all(axis=0)
    if not whole.any():
        return LinearFit(*[float("nan")] * 4)
    means = losses[:, whole].mean(axis=1)
    slope, intercept = np.polyfit(epsilons, means, 1)
    residuals = means - (slope * epsilons + intercept)
    spread, rise = ((means - means.mean()) ** 2).sum(), np.ptp(means)
    return LinearFit(
        float(slope),
        float(intercept),
        float(1 - (residuals**2).sum() / spread) if spread else float("nan"),
        float(np.abs(residuals).max() / rise) if rise else float("nan"),
    )


def _extrapolate_by(method: str, name: str, result: SweepResult, supremum: float) -> Extrapolation:
    """Extrapolate by one method, with all points and without each."""
    losses = take_train_losses(result)
    estimate = _estimate(method, result, losses, supremum, result.config.solver.num_resamples)
    left_out: list[tuple[float, float | None]] = []
    if len(result.epsilons) > 2:
        for place in range(1, len(result.epsilons)):
            rest = losses.copy()
            rest[place] = np.nan
            value = _estimate(method, result, rest, supremum, NUM_RESAMPLES).value
            left_out.append((float(result.epsilons[place]), value))
    values = [v for v in (estimate.value, *(v for _, v in left_out)) if v is not None]
    return Extrapolation(
        name=name,
        attack=result.config.attack.name,
        method=method,
        estimate=estimate,
        left_out=tuple(left_out),
        points_low=min(values, default=None),
        points_high=max(values, default=None),
    )


def _estimate(
    method: str,
    result: SweepResult,
    losses: Float[np.ndarray, "E S"],
    supremum: float,
    num_resamples: int,
) -> EpsilonStarEstimate:
    """Estimate epsilon* from losses [E, S] by one method."""
    config = result.config
    return estimate_epsilon_star(
        result.epsilons,
        losses.T,
        result.clean_example_losses,
        method=method,
        confidence=config.solver.confidence,
        num_resamples=num_resamples,
        seed=config.seed,
        supremum=supremum,
    )
