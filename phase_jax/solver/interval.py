"""The critical attack strength over seeds, with an interval.

Two sources of variation are combined on the scale of log epsilon*: seeds (initialisation, order,
noise) and the finite test set behind the threshold. All seeds share one test set, so its images
are resampled once for all seeds. Seeds whose own solve has no value are censored, not dropped:
above the grid (BEYOND_GRID, INFINITE) or at zero (UNDEFINED).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

from phase_jax.solver.solve import solve_thresholds
from phase_jax.types import EpsilonStar, EpsilonStarEstimate, EpsilonStatus

if TYPE_CHECKING:
    from jaxtyping import Float

MIN_BOOTSTRAP_SEEDS = 6
_ABOVE = (EpsilonStatus.BEYOND_GRID, EpsilonStatus.INFINITE)
_MISSING = (EpsilonStatus.NONFINITE, EpsilonStatus.INSUFFICIENT)


class _Logs(NamedTuple):
    """log epsilon* per seed: -inf where censored at zero, +inf where censored above."""

    point: Float[np.ndarray, "S"]
    resampled: Float[np.ndarray, "S R"]


def estimate_epsilon_star(
    epsilons: Float[np.ndarray, "E"],
    losses: Float[np.ndarray, "S E"],
    test_losses: Float[np.ndarray, "S N"],
    *,
    method: str = "interpolation",
    confidence: float = 0.95,
    num_resamples: int = 2_000,
    seed: int = 0,
    supremum: float = math.inf,
) -> EpsilonStarEstimate:
    """Estimate epsilon* over seeds with an interval on log epsilon*.

    Each seed's threshold is its clean model's mean clean test loss. With every seed FOUND the
    estimate is the geometric mean of the seeds' values; with censored seeds it is their median,
    and the interval is one-sided where censoring leaves no bound.

    Below 6 seeds: half-width sqrt(t^2 s^2 / S + z^2 v), s the seeds' standard deviation with
    S - 1 degrees of freedom, v the bootstrap variance from the test set (each part is exact where
    the other vanishes, and their combination is conservative). From 6 seeds: percentiles of a
    bootstrap over seeds and test images together, moved outwards to the Student-t level for S - 1
    degrees of freedom. One seed: the test set's part alone, and the method says so.

    Args:
      epsilons: Attack strengths.
      losses: Train loss of each seed at each; NaN for lanes that are not to count.
      test_losses: Clean loss of each seed's clean model on each test image.
      method: As in `solve_epsilon_star`.
      confidence: Nominal coverage.
      num_resamples: Bootstrap resamples.
      seed: Seed of the resampling.
      supremum: As in `solve_epsilon_star`.

    Returns:
      The estimate.

    References:
      Graybill and Wang, "Confidence intervals on nonnegative linear combinations of variances",
      1980, DOI 10.1080/01621459.1980.10477565; Hesterberg, "What teachers should know about the
      bootstrap", 2015, DOI 10.1080/00031305.2015.1089789.
    """
    epsilons, losses = np.asarray(epsilons, float), np.asarray(losses, float)
    test_losses = np.asarray(test_losses, float)
    rng = np.random.default_rng(seed)
    thresholds = test_losses.mean(axis=1)
    resampled = _resample_means(test_losses, num_resamples, rng)
    everything = np.concatenate([thresholds[:, None], resampled], axis=1)
    solutions = solve_thresholds(epsilons, losses, everything, method=method, supremum=supremum)
    seeds = _split_seeds(solutions)
    used = np.array([solution.status not in _MISSING for solution in seeds])
    logs = _take_logs(solutions, used)
    value, status = _summarise_point(logs.point, seeds)
    low, high, how = _make_interval(logs, _clip_range(epsilons), confidence, rng)
    found = logs.point[np.isfinite(logs.point)]
    several = [s.last_crossing for s in seeds if s.num_crossings > 1]
    limits = _censoring_limits(logs, _clip_range(epsilons))
    resampled_mean = np.clip(logs.resampled, *limits).mean(axis=0) if used.any() else None
    return EpsilonStarEstimate(
        value=value,
        status=status,
        low=low,
        high=high,
        confidence=confidence,
        method=method,
        interval_method=how,
        num_censored=int(used.sum() - len(found)),
        num_missing=int((~used).sum()),
        seeds=seeds,
        last_crossing=float(np.median(several)) if several else None,
        seed_std=float(found.std(ddof=1)) if len(found) > 1 else None,
        test_set_std=float(resampled_mean.std()) if resampled_mean is not None else None,
    )


def _resample_means(
    test_losses: Float[np.ndarray, "S N"], num_resamples: int, rng: np.random.Generator
) -> Float[np.ndarray, "S R"]:
    """Resample test images, the same ones for every seed, and average their losses.

    A seed with a loss that is not finite has no averages: nor has it a threshold.
    """
    sound = np.isfinite(test_losses).all(axis=1, keepdims=True)
    test_losses = np.where(sound, test_losses, np.nan)  # of infinity, an image left out is NaN
    num_images = test_losses.shape[1]
    means = np.empty((num_resamples, len(test_losses)))
    for r in range(num_resamples):
        counts = np.bincount(rng.integers(0, num_images, num_images), minlength=num_images)
        means[r] = test_losses @ counts / num_images
    return means.T


def _split_seeds(solutions: EpsilonStar) -> tuple[EpsilonStar, ...]:
    """Take each seed's own solve (the first threshold) out of the batch."""
    return tuple(
        EpsilonStar(
            value=float(solutions.value[s, 0]),
            status=EpsilonStatus(int(solutions.status[s, 0])),
            last_crossing=float(solutions.last_crossing[s, 0]),
            num_crossings=int(solutions.num_crossings[s, 0]),
            slope=float(solutions.slope[s, 0]),
        )
        for s in range(solutions.value.shape[0])
    )


def _take_logs(solutions: EpsilonStar, used: np.ndarray) -> _Logs:
    """Move to the log scale, with censored solves at plus or minus infinity."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(solutions.status == EpsilonStatus.FOUND, solutions.value, 1.0))
    logs = np.where(np.isin(solutions.status, _ABOVE), np.inf, logs)
    logs = np.where(solutions.status == EpsilonStatus.UNDEFINED, -np.inf, logs)[used]
    return _Logs(logs[:, 0], logs[:, 1:])


def _clip_range(epsilons: np.ndarray) -> tuple[float, float]:
    """Take logs of the smallest positive and the largest attack strength, for censored logs."""
    positive = epsilons[np.isfinite(epsilons) & (epsilons > 0)]
    if not positive.size:
        return 0.0, 0.0
    return math.log(positive.min()), math.log(positive.max())


def _censoring_limits(logs: _Logs, clip_range: tuple[float, float]) -> tuple[float, float]:
    """Finite stand-ins for -inf and +inf: the grid's ends, or beyond them where values are."""
    values = np.concatenate([logs.point, logs.resampled.ravel()])
    finite = values[np.isfinite(values)]
    return (
        min(clip_range[0], finite.min(initial=clip_range[0])),
        max(clip_range[1], finite.max(initial=clip_range[1])),
    )


def _summarise_point(
    logs: np.ndarray, seeds: tuple[EpsilonStar, ...]
) -> tuple[float | None, EpsilonStatus]:
    """Combine the seeds' solves: geometric mean, or median of the censored sample."""
    statuses = [solution.status for solution in seeds]
    if not logs.size:
        return None, max(set(statuses), key=statuses.count)
    if np.isfinite(logs).all():
        return float(np.exp(logs.mean())), EpsilonStatus.FOUND
    ordered = np.sort(logs)
    lower, upper = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    if np.isfinite(lower) and np.isfinite(upper):
        return float(np.exp(0.5 * (lower + upper))), EpsilonStatus.FOUND
    if lower == -np.inf:
        return None, EpsilonStatus.UNDEFINED
    above = [status for status in statuses if status in _ABOVE]
    return None, max(set(above), key=above.count)


def _make_interval(
    logs: _Logs, clip_range: tuple[float, float], confidence: float, rng: np.random.Generator
) -> tuple[float | None, float | None, str]:
    """Bound log epsilon*; see `estimate_epsilon_star`.

    Where seeds are censored above, the lower end uses logs clipped at the grid's end; where they
    are censored at zero, the upper end uses logs clipped at its smallest positive value. Clipping
    moves the mean that is bounded to the safe side.
    """
    if not logs.point.size:
        return None, None, "none: no seed could be solved"
    tail = 0.5 * (1 - confidence)
    columns = np.concatenate([logs.point[:, None], logs.resampled], axis=1)
    at_zero = _reaches(np.isneginf(logs.point), np.isneginf(columns), tail)
    above = _reaches(np.isposinf(logs.point), np.isposinf(columns), tail)
    floor, ceiling = _censoring_limits(logs, clip_range)
    for_low = np.clip(columns, floor, ceiling)
    for_high = np.clip(columns, clip_range[0] if at_zero else floor, ceiling)
    num_found = int(np.isfinite(logs.point).sum())
    num_sound = len(logs.point)  # seeds that say how much seeds differ, for an uncensored end
    if len(logs.point) < MIN_BOOTSTRAP_SEEDS:
        low = _bound_by_t(for_low, tail, num_found if above else num_sound)[0]
        high = _bound_by_t(for_high, tail, num_found if at_zero else num_sound)[1]
    else:
        low, _ = _bound_by_bootstrap(for_low, tail, rng)
        _, high = _bound_by_bootstrap(for_high, tail, rng)
    low = 0.0 if at_zero else math.exp(low)
    high = None if above or not math.isfinite(high) else math.exp(high)
    return low, high, _describe(len(logs.point), at_zero, above)


def _reaches(points: np.ndarray, columns: np.ndarray, tail: float) -> bool:
    """Say whether any seed, or more resamples than the tail holds, are censored on one side."""
    return bool(points.any() or columns.any(axis=0).mean() > tail)


def _bound_by_t(
    columns: Float[np.ndarray, "S R"], tail: float, num_informative: int
) -> tuple[float, float]:
    """Student-t part for seeds, normal part for the test set, added in quadrature.

    Censored seeds do not tell how much seeds differ, so they give no degrees of freedom; with
    fewer than two others nothing bounds that end.
    """
    point, resampled = columns[:, 0], columns[:, 1:]
    num_seeds = len(point)
    square = stats.norm.ppf(tail) ** 2 * resampled.mean(axis=0).var(ddof=1)
    if num_seeds > 1:
        if num_informative < 2:
            return -math.inf, math.inf
        square += stats.t.ppf(tail, num_informative - 1) ** 2 * point.var(ddof=1) / num_seeds
    half = math.sqrt(square)
    return point.mean() - half, point.mean() + half


def _bound_by_bootstrap(
    columns: Float[np.ndarray, "S R"], tail: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Percentiles over resampled seeds and images, moved out to the Student-t level."""
    num_seeds, num_resamples = columns[:, 1:].shape
    picks = rng.integers(0, num_seeds, (num_seeds, num_resamples))
    means = np.take_along_axis(columns[:, 1:], picks, axis=0).mean(axis=0)
    wider = stats.t.ppf(tail, num_seeds - 1) * math.sqrt(num_seeds / (num_seeds - 1))
    tail = float(stats.norm.cdf(wider))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _describe(num_seeds: int, at_zero: bool, above: bool) -> str:
    if num_seeds == 1:
        text = "test-set bootstrap only (one seed: variation between seeds is not included)"
    elif num_seeds < MIN_BOOTSTRAP_SEEDS:
        text = f"Student t over {num_seeds} seeds with test-set bootstrap, on log epsilon*"
    else:
        text = f"bootstrap over {num_seeds} seeds and test images, Student-t level, on log epsilon*"
    if at_zero:
        text += "; zero is not excluded (seeds or resamples without a crossing above zero)"
    if above:
        text += "; no upper end (seeds or resamples that do not reach the threshold)"
    return text
