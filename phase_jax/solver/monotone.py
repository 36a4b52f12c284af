"""Monotone curves through the points, on the host: isotonic regression and a monotone spline."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

from phase_jax.types import EpsilonStar, EpsilonStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

NUM_BISECTIONS = 60


class MonotoneCurve(NamedTuple):
    """A nondecreasing curve on [knots[0], knots[-1]], continued by a straight line.

    The continuation has the mean slope of the whole fitted curve, (last - first) value over
    (last - first) knot: one noisy end segment does not decide it.
    """

    knots: Float[np.ndarray, "E"]
    values: Float[np.ndarray, "E"]
    evaluate: Callable[[np.ndarray], np.ndarray]
    end_slope: float


def fit_monotone(epsilons: np.ndarray, losses: np.ndarray, method: str) -> MonotoneCurve:
    """Fit a nondecreasing curve.

    Args:
      epsilons: [E] finite attack strengths, any order; repeats are averaged and weighted.
      losses: [E] finite losses.
      method: `isotonic` (pool adjacent violators, linear in between) or `monotone_spline`
        (Fritsch-Carlson cubic through the isotonic values).

    Returns:
      The curve; at least two distinct attack strengths are needed.
    """
    knots, inverse, counts = np.unique(epsilons, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=losses) / counts
    values = np.asarray(isotonic_regression(means, weights=counts.astype(float)).x)
    end_slope = (values[-1] - values[0]) / (knots[-1] - knots[0])
    if method == "monotone_spline":
        return MonotoneCurve(knots, values, PchipInterpolator(knots, values), end_slope)
    return MonotoneCurve(knots, values, lambda x: np.interp(x, knots, values), end_slope)


def cross_monotone(curve: MonotoneCurve, thresholds: np.ndarray) -> EpsilonStar:
    """Find where a monotone curve leaves each threshold.

    Args:
      curve: The curve.
      thresholds: [...] finite thresholds.

    Returns:
      Solutions of the shape of `thresholds`; BEYOND_GRID only where the continuation is flat.
    """
    thresholds = np.asarray(thresholds, float)
    after = np.searchsorted(curve.values, thresholds, side="right")
    last = len(curve.knots) - 1
    low = curve.knots[np.clip(after - 1, 0, last)].copy()
    high = curve.knots[np.clip(after, 0, last)].copy()
    for _ in range(NUM_BISECTIONS):
        middle = 0.5 * (low + high)
        below = curve.evaluate(middle) <= thresholds
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    inside = 0.5 * (low + high)
    rise = thresholds - curve.values[-1]
    flat = curve.end_slope <= 0
    outside = curve.knots[-1] + rise / (1.0 if flat else curve.end_slope)
    beyond = after > last
    value = np.where(beyond, outside, inside)
    status = np.where(after == 0, EpsilonStatus.UNDEFINED, EpsilonStatus.FOUND)
    status = np.where(beyond & (rise > 0) & flat, EpsilonStatus.BEYOND_GRID, status)
    width = np.maximum(1e-6 * (curve.knots[-1] - curve.knots[0]), 1e-300)
    local = curve.evaluate(np.minimum(inside + width, curve.knots[-1])) - curve.evaluate(
        inside - width
    )
    slope = np.where(beyond, curve.end_slope, local / (2 * width))
    found = status == EpsilonStatus.FOUND
    value = np.where(found, value, np.nan)
    return EpsilonStar(value, status, value, found.astype(int), np.where(found, slope, np.nan))
