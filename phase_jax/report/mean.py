"""Means with intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from jaxtyping import Float


class Mean(NamedTuple):
    """A mean with its interval; None where fewer than one or two values are there."""

    value: float | None
    low: float | None
    high: float | None
    number: int


def average(values: Float[np.ndarray, "N"], confidence: float, *, floor: float = -math.inf) -> Mean:
    """Average independent values, with a Student t interval.

    Args:
      values: Those that are not finite do not count.
      confidence: Nominal coverage.
      floor: What no value can lie below; nor does the interval.

    Returns:
      The mean and its interval.
    """
    values = values[np.isfinite(values)]
    if not values.size:
        return Mean(None, None, None, 0)
    mean = float(values.mean())
    if values.size < 2:
        return Mean(mean, None, None, 1)
    half = float(stats.t.ppf(0.5 + confidence / 2, values.size - 1) * stats.sem(values))
    return Mean(mean, max(mean - half, floor), mean + half, int(values.size))


def format_mean(mean: Mean, *, interval: bool = True) -> str:
    """Write a mean with its interval: `0.012 (0.008 to 0.016)`."""
    if mean.value is None:
        return "unknown"
    if mean.low is None or not interval:
        return f"{mean.value:.3g}"
    return f"{mean.value:.3g} ({mean.low:.3g} to {mean.high:.3g})"
