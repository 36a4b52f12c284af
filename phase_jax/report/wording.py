"""Numbers and verdicts in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from phase_jax.sweep.stability import assess_stability
from phase_jax.types import EpsilonStarEstimate, EpsilonStatus, LaneStatus

if TYPE_CHECKING:
    from phase_jax.sweep import SweepResult

FAR_RATIO = 4.0
REGIMES = {
    "before": "before the transition: it behaves like clean training",
    "at": "at the transition: the interval does not tell the sides apart",
    "past": "past the transition",
    "far_past": "far past the transition",
    "unknown": "not placed: epsilon* has no value here",
}
WHY_NO_VALUE = {
    EpsilonStatus.UNDEFINED: (
        "epsilon* is undefined: the clean test loss lies below the train loss of clean training"
    ),
    EpsilonStatus.BEYOND_GRID: (
        "epsilon* lies beyond the grid: no attack strength trained reaches the clean test loss; "
        "extend --eps-grid"
    ),
    EpsilonStatus.INFINITE: "epsilon* is infinite: the clean test loss is never reached",
    EpsilonStatus.INSUFFICIENT: (
        "epsilon* cannot be solved: fewer than two attack strengths have a finite train loss"
    ),
    EpsilonStatus.NONFINITE: (
        "epsilon* cannot be solved: clean training diverged or collapsed in every seed"
    ),
}


class Target(NamedTuple):
    """An attack strength compared with epsilon*."""

    epsilon: float
    ratio: float | None
    regime: str


def compare_target(epsilon: float, estimate: EpsilonStarEstimate, largest_epsilon: float) -> Target:
    """Place an attack strength before, at or past epsilon*.

    Args:
      epsilon: The attack strength.
      estimate: The solved epsilon* with its interval.
      largest_epsilon: End of the grid; up to there a train loss that never reached the threshold
        says `before`.

    Returns:
      The ratio epsilon / epsilon* (None without a value) and the regime, a key of `REGIMES`:
      `before` and `past` are outside the interval, `far_past` is past by a factor of 4 or more.
    """
    value, low, high = estimate.value, estimate.low, estimate.high
    ratio = epsilon / value if value else None
    if value is not None and low is not None:
        if epsilon < low:
            return Target(epsilon, ratio, "before")
        if high is None or epsilon <= high:
            return Target(epsilon, ratio, "at")
        return Target(epsilon, ratio, "far_past" if epsilon >= FAR_RATIO * value else "past")
    if estimate.status == EpsilonStatus.INFINITE:
        return Target(epsilon, ratio, "before")
    if estimate.status == EpsilonStatus.BEYOND_GRID and epsilon <= largest_epsilon:
        return Target(epsilon, ratio, "before")
    return Target(epsilon, ratio, "unknown")


def format_epsilon(value: float) -> str:
    """Write an attack strength in pixel units of 1/255, as the field does: `8/255`."""
    scaled = f"{value * 255:.3g}" if value * 255 < 1000 else f"{value * 255:.0f}"
    return f"{scaled}/255" if value else "0"


def format_interval(estimate: EpsilonStarEstimate) -> str:
    """Write an interval: `95 % interval 0.3/255 to 0.7/255`."""
    level = f"{100 * estimate.confidence:g} % interval"
    if estimate.low is None:
        return "no interval"
    if estimate.high is None:
        return f"{level} from {format_epsilon(estimate.low)}, no upper end"
    return f"{level} {format_epsilon(estimate.low)} to {format_epsilon(estimate.high)}"


def format_duration(seconds: float) -> str:
    """Write a time: 40 s, 5 min, 2 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"


def describe_outcome(result: SweepResult) -> str:
    """Say in one sentence what a sweep found, for its target where it has one."""
    estimate, target = result.epsilon_star, result.config.target_epsilon
    if estimate.value is None:
        text = WHY_NO_VALUE[estimate.status]
        if estimate.low is not None and estimate.status == EpsilonStatus.BEYOND_GRID:
            text += f" ({format_interval(estimate)})"
    else:
        star = f"epsilon* = {format_epsilon(estimate.value)} ({format_interval(estimate)})"
        text = f"{star}: up to there, adversarial training behaves like clean training"
    if target is None:
        return text + "."
    placed = compare_target(target, estimate, float(result.epsilons[-1]))
    name, regime = format_epsilon(target), REGIMES[placed.regime]
    if placed.ratio is None:
        return f"{text}; adversarial training at {name} is {regime}."
    return f"{name} is {placed.ratio:.2g} times {star}: adversarial training here is {regime}."


def describe_cautions(result: SweepResult) -> list[str]:
    """List what a reader of the result must know: failed lanes, several crossings, odd seeds."""
    cautions = []
    status = result.lanes.status
    for kind, what in (
        (LaneStatus.DIVERGED, "diverged (a train loss was not finite)"),
        (LaneStatus.COLLAPSED, "predict one class for every test image"),
    ):
        rows = [
            format_epsilon(result.epsilons[e])
            for e in range(len(status))
            if (status[e] == kind).any()
        ]
        if rows:
            number = int((status == kind).sum())
            cautions.append(
                f"{number} of {status.size} lanes {what}, at epsilon {', '.join(rows)}; they are "
                "left out of the solve"
            )
    estimate = result.epsilon_star
    if estimate.last_crossing is not None:
        cautions.append(
            "the train loss crosses the threshold more than once, last at "
            f"{format_epsilon(estimate.last_crossing)}: look for catastrophic overfitting"
        )
    if estimate.num_censored or estimate.num_missing:
        cautions.append(
            f"{estimate.num_censored + estimate.num_missing} of {len(estimate.seeds)} seeds have "
            "no epsilon* of their own; see seeds in result.json"
        )
    return cautions + _describe_instability(result)


def _describe_instability(result: SweepResult) -> list[str]:
    """Say from where on lanes overfit catastrophically, and whether epsilon* lies before that."""
    stability = assess_stability(result)
    if stability.smallest_epsilon is None:
        return []
    text = (
        f"catastrophic overfitting from {format_epsilon(stability.smallest_epsilon)} on: lanes "
        "there resist the attack of their training, and PGD not at all"
    )
    if stability.is_below is not None:
        text += (
            "; epsilon* lies below"
            if stability.is_below
            else "; epsilon* lies at or beyond it and cannot be relied upon"
        )
    return [text]
