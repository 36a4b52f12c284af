"""What is read off p-value curves: means, where they fall, thresholds, with their uncertainty."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from phase_jax.simulate.intervals import LEVEL, Interval, estimate_median, estimate_share
from phase_jax.simulate.p_value_curves import AXES, LOG_RATIOS
from phase_jax.simulate.significance import TESTS

if TYPE_CHECKING:
    from jaxtyping import Float

    from phase_jax.simulate.p_value_curves import Curves

REJECTED = 0.05
FALLEN = 0.25
"""A curve has fallen where its mean p-value is half of a true null's."""
NUM_RESAMPLES = 400


def average(values: Float[np.ndarray, "R"]) -> tuple[float, float]:
    """Average the values that exist; return mean and standard error."""
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return (float(values.mean()) if len(values) else math.nan), math.nan
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def list_rows(curves: list[Curves]) -> list[dict[str, Any]]:
    """List means and rejections over the grid; the row without a log ratio is epsilon = 0."""
    rows = []
    for curve in curves:
        for test in TESTS:
            rows.append(_build_row(curve, test, None, None, curve.clean[test]))
            for a, axis in enumerate(AXES):
                for g, log_ratio in enumerate(LOG_RATIOS):
                    values = curve.p_values[test][:, a, g]
                    rows.append(_build_row(curve, test, axis, log_ratio, values))
    return rows


def _build_row(
    curve: Curves, test: str, axis: str | None, log_ratio: float | None, values: np.ndarray
) -> dict[str, Any]:
    """Describe the p-values at one attack strength."""
    mean, error = average(values)
    known = values[~np.isnan(values)]
    share = estimate_share(int((known <= REJECTED).sum()), known.size)
    return {
        "d": curve.num_features,
        "test": test,
        "epsilon_star": axis,
        "log_ratio": log_ratio,
        "num_replicates": known.size,
        "mean_p": mean,
        "standard_error": error,
        "rejected": share.value,
        "rejected_low": share.low,
        "rejected_high": share.high,
    }


def describe_stars(curve: Curves) -> dict[str, Any]:
    """Describe epsilon* in its readings: medians, and shares without a finite value.

    In `median` an undefined epsilon* counts as smaller than any other.
    """
    described = {}
    for axis, stars in curve.stars.items():
        described[axis] = {
            "median": estimate_median(stars)._asdict(),
            "median_where_finite": estimate_median(stars[np.isfinite(stars)])._asdict(),
            "undefined": estimate_share(int(np.isneginf(stars).sum()), stars.size)._asdict(),
            "infinite": estimate_share(int(np.isposinf(stars).sum()), stars.size)._asdict(),
            "failed": int(np.isnan(stars).sum()),
        }
    return described


def read_mean(
    curve: Curves, axis: str, log_ratio: float = 0.0, test: str = TESTS[0]
) -> tuple[float, float]:
    """Read the mean p-value at a point of the grid, and its standard error."""
    values = curve.p_values[test][:, list(AXES).index(axis)]
    return average(values[:, LOG_RATIOS.index(log_ratio)])


def read_clean(curve: Curves, axis: str, test: str = TESTS[0]) -> tuple[float, float]:
    """Read the mean p-value at epsilon = 0 in the draws whose epsilon* is finite, and its error."""
    return average(curve.clean[test][np.isfinite(curve.stars[axis])])


def compare_tests(curve: Curves) -> float:
    """Measure how far the other tests' mean p-values lie from the first one's, at most."""
    means = [np.array([average(c)[0] for c in _list_columns(curve, test)]) for test in TESTS]
    gaps = np.abs(np.array(means[1:]) - means[0])
    return float(gaps[np.isfinite(gaps)].max(initial=0.0))


def _list_columns(curve: Curves, test: str) -> Float[np.ndarray, "G R"]:
    """List the p-values of one test, all axes, one row a point of the grid."""
    values = curve.p_values[test]
    return values.reshape(len(values), -1).T


def find_fall(curve: Curves, axis: str, test: str = TESTS[0]) -> Interval:
    """Find the log ratio at which the mean p-value last crosses a quarter, going down.

    Linear between grid points; nan where it does not fall so far. The interval is the middle 95 %
    of resampled replicates, an end of it infinite where they don't cross.
    """
    values = curve.p_values[test][:, list(AXES).index(axis)]
    values = values[~np.isnan(values[:, 0])]
    if not len(values):
        return Interval(math.nan, -math.inf, math.inf)
    rng = np.random.default_rng(0)
    shares = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), NUM_RESAMPLES)
    falls = [_cross(means) for means in shares @ values / len(values)]
    falls = np.sort(np.where(np.isnan(falls), math.inf, falls))
    outside = round(NUM_RESAMPLES * (1 - LEVEL) / 2)
    return Interval(_cross(values.mean(0)), float(falls[outside]), float(falls[-1 - outside]))


def _cross(means: Float[np.ndarray, " G"]) -> float:
    """Find where a curve on the grid crosses a quarter for the last time; nan where not."""
    above = np.flatnonzero(means >= FALLEN)
    if not above.size or above[-1] == len(means) - 1:
        return math.nan
    left = int(above[-1])
    share = (means[left] - FALLEN) / (means[left] - means[left + 1])
    return LOG_RATIOS[left] + share * (LOG_RATIOS[left + 1] - LOG_RATIOS[left])
