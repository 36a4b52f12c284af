"""Estimates with intervals of a given level: shares, and medians of values that may be infinite."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from jaxtyping import Float

LEVEL = 0.95


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    value: float
    low: float
    high: float


def estimate_share(num_hits: int, num_trials: int, level: float = LEVEL) -> Interval:
    """Estimate a probability, with Wilson's score interval.

    Args:
      num_hits: Hits, 0 to `num_trials`.
      num_trials: Independent trials; without any the share is nan, between 0 and 1.
      level: Coverage.

    Returns:
      The share.
    """
    if not num_trials:
        return Interval(np.nan, 0.0, 1.0)
    share = num_hits / num_trials
    z2 = float(stats.norm.ppf((1 + level) / 2)) ** 2
    center = (share + z2 / (2 * num_trials)) / (1 + z2 / num_trials)
    spread = share * (1 - share) / num_trials + z2 / (4 * num_trials**2)
    half = (z2 * spread) ** 0.5 / (1 + z2 / num_trials)
    return Interval(share, max(center - half, 0.0), min(center + half, 1.0))


def estimate_median(values: Float[np.ndarray, "R"], level: float = LEVEL) -> Interval:
    """Estimate a median, with the interval between two order statistics.

    The number of values below the true median is Binomial(R, 1/2), whatever the distribution: the
    interval asks for no moments, and values may be infinite.

    Args:
      values: Independent draws; nan is left out.
      level: Coverage, at least.

    Returns:
      The median. With too few values for the level its interval is infinite.
    """
    ordered = np.sort(values[~np.isnan(values)])
    count = ordered.size
    if not count:
        return Interval(np.nan, -np.inf, np.inf)
    below = int(stats.binom.ppf((1 - level) / 2, count, 0.5)) - 1  # P(count below <= it) < tail
    middle = ordered[[(count - 1) // 2, count // 2]]
    value = middle[0] if middle[0] == middle[1] else middle.mean()
    if below < 0:
        return Interval(float(value), -np.inf, np.inf)
    return Interval(float(value), float(ordered[below]), float(ordered[count - 1 - below]))
