"""Streaming statistics: central moments merged pairwise, and a subsample for quantiles.

Numbers here are NumPy's float64 on the host, for M output elements side by side. Values that are
not finite are left out element by element. States are never changed in place, so that an interrupt
between two chunks leaves a whole state behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt64

RESERVOIR_BYTES = 64 * 2**20
QUANTILE_STEP = 2.0  # half the width of the interval behind a quantile's error, in standard errors


class Summary(NamedTuple):
    """Statistics over replicates of one output; every field has that output's shape.

    NaN stands where too few finite values exist: none, or one for whatever measures a spread.
    """

    num_finite: Any
    """Number of finite values; the other fields rest on these."""
    mean: Any
    standard_error: Any
    """Standard error of `mean`: std / sqrt(num_finite)."""
    std: Any
    """Standard deviation, the square root of `variance`."""
    variance: Any
    """Unbiased, with num_finite - 1 in the denominator."""
    variance_standard_error: Any
    """Standard error of `variance`, from the fourth central moment."""
    minimum: Any
    maximum: Any
    quantiles: Any
    """[Q, ...] in the order of the levels asked for; linear between order statistics."""
    quantile_standard_errors: Any
    """[Q, ...]; NaN at levels 0 and 1, which have no such error."""


class Moments(NamedTuple):
    """Count, mean, and sums of powers 2, 3, 4 of the deviations from the mean, per element."""

    count: Float[np.ndarray, " M"]
    mean: Float[np.ndarray, " M"]
    sum2: Float[np.ndarray, " M"]
    sum3: Float[np.ndarray, " M"]
    sum4: Float[np.ndarray, " M"]
    minimum: Float[np.ndarray, " M"]
    maximum: Float[np.ndarray, " M"]


class Reservoir(NamedTuple):
    """The replicates whose indices have the smallest hashes, at most `num_kept` of them."""

    hashes: UInt64[np.ndarray, "R"]
    values: Float[np.ndarray, "R M"]


class Accumulator(NamedTuple):
    """What is known after the first `num_done` replicates; its size does not grow with them."""

    num_done: int
    moments: Moments
    reservoir: Reservoir


def start_accumulator(num_elements: int) -> Accumulator:
    """Return the state before the first replicate, for `num_elements` output elements."""
    zero = np.zeros(num_elements)
    moments = Moments(zero, zero, zero, zero, zero, zero + np.inf, zero - np.inf)
    return Accumulator(
        0, moments, Reservoir(np.zeros(0, np.uint64), np.zeros((0, num_elements), np.float64))
    )


def limit_num_kept(num_kept: int, num_elements: int) -> int:
    """Return how many replicates a reservoir of at most `RESERVOIR_BYTES` can hold, at least 2."""
    return max(2, min(num_kept, RESERVOIR_BYTES // (8 * max(1, num_elements))))


def absorb(
    accumulator: Accumulator, values: Float[np.ndarray, "R M"], num_kept: int
) -> Accumulator:
    """Return the accumulator after the next replicates, which continue its indices.

    Args:
      accumulator: State after replicates 0 to num_done - 1.
      values: Outputs of the replicates that follow, in order.
      num_kept: Size of the reservoir.
    """
    first = accumulator.num_done
    indices = np.arange(first, first + len(values), dtype=np.uint64)
    return Accumulator(
        first + len(values),
        merge_moments(accumulator.moments, measure_moments(values)),
        _fill_reservoir(accumulator.reservoir, indices, values, num_kept),
    )


def measure_moments(values: Float[np.ndarray, "R M"]) -> Moments:
    """Measure the moments of one chunk in two passes, over its finite values."""
    finite = np.isfinite(values)
    count = finite.sum(0).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(finite, values, 0.0).sum(0) / np.maximum(count, 1.0)
        deviation = np.where(finite, values - mean, 0.0)
        square = deviation * deviation
        return Moments(
            count,
            mean,
            square.sum(0),
            (square * deviation).sum(0),
            (square * square).sum(0),
            np.where(finite, values, np.inf).min(0, initial=np.inf),
            np.where(finite, values, -np.inf).max(0, initial=-np.inf),
        )


def merge_moments(left: Moments, right: Moments) -> Moments:
    """Merge the moments of two disjoint sets of values.

    The pairwise update of Chan, Golub and LeVeque (1979), for powers 3 and 4 as in Pébay (2008,
    SAND2008-6212, eqs. 2.1-2.3 and section 3): unlike sums of powers it does not cancel.
    """
    count = left.count + right.count
    a = left.count / np.maximum(count, 1.0)  # shares: a + b = 1, or both 0 in two empty sets
    b = right.count / np.maximum(count, 1.0)
    shift = right.mean - left.mean
    with np.errstate(over="ignore", invalid="ignore"):
        # An empty side has mean 0, which is no value: there the shift counts in the mean alone.
        d = np.where(a * b > 0, shift, 0.0)
        weight = count * a * b
        return Moments(
            count,
            left.mean + shift * b,
            left.sum2 + right.sum2 + d**2 * weight,
            left.sum3
            + right.sum3
            + d**3 * weight * (a - b)
            + 3 * d * (a * right.sum2 - b * left.sum2),
            left.sum4
            + right.sum4
            + d**4 * weight * (a * a - a * b + b * b)
            + 6 * d**2 * (a * a * right.sum2 + b * b * left.sum2)
            + 4 * d * (a * right.sum3 - b * left.sum3),
            np.minimum(left.minimum, right.minimum),
            np.maximum(left.maximum, right.maximum),
        )


def hash_indices(indices: UInt64[np.ndarray, "R"]) -> UInt64[np.ndarray, "R"]:
    """Hash replicate indices with splitmix64: a bijection, so that no two are equal."""
    mixed = (indices + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _fill_reservoir(
    reservoir: Reservoir,
    indices: UInt64[np.ndarray, "R"],
    values: Float[np.ndarray, "R M"],
    num_kept: int,
) -> Reservoir:
    """Return the reservoir of the smallest hashes after more replicates.

    Whether a replicate is kept depends on its index only, so the kept ones are a uniform subsample
    whatever the values are, and the same one in whatever pieces the replicates come.
    """
    hashes = hash_indices(indices)
    full = len(reservoir.hashes) >= num_kept
    entering = hashes < reservoir.hashes.max() if full else np.ones(len(hashes), bool)
    if not entering.any():
        return reservoir
    hashes = np.concatenate([reservoir.hashes, hashes[entering]])
    values = np.concatenate([reservoir.values, values[entering]])
    if len(hashes) > num_kept:
        smallest = np.argpartition(hashes, num_kept - 1)[:num_kept]
        hashes, values = hashes[smallest], values[smallest]
    return Reservoir(hashes, values)


def summarize(accumulator: Accumulator, levels: tuple[float, ...]) -> Summary:
    """Turn an accumulator into statistics.

    Args:
      accumulator: State after all replicates.
      levels: Q quantile levels in [0, 1].

    Returns:
      Statistics of each of the M elements; arrays are [M], those of quantiles [Q, M].
    """
    moments = accumulator.moments
    n = moments.count
    with np.errstate(all="ignore"):
        mean = np.where(n >= 1, moments.mean, np.nan)
        variance = np.where(n >= 2, moments.sum2 / (n - 1), np.nan)
        # var(s^2) = (mu_4 - sigma^4 (n - 3)/(n - 1)) / n, with sample moments put in.
        spread = moments.sum4 / n - variance**2 * (n - 3) / (n - 1)
        std = np.sqrt(variance)
        quantiles, quantile_errors = _measure_quantiles(accumulator.reservoir.values, levels)
        return Summary(
            num_finite=n.astype(np.int64),
            mean=mean,
            standard_error=std / np.sqrt(n),
            std=std,
            variance=variance,
            variance_standard_error=np.sqrt(np.maximum(spread, 0.0) / n),
            minimum=np.where(n >= 1, moments.minimum, np.nan),
            maximum=np.where(n >= 1, moments.maximum, np.nan),
            quantiles=quantiles,
            quantile_standard_errors=quantile_errors,
        )


def _measure_quantiles(
    values: Float[np.ndarray, "R M"], levels: tuple[float, ...]
) -> tuple[Float[np.ndarray, "Q M"], Float[np.ndarray, "Q M"]]:
    """Measure quantiles and their standard errors, over finite values.

    The number of n values below the true quantile is binomial, so the level at which that quantile
    sits in the sample has standard error h = sqrt(q (1 - q) / n). The slope of the sample's own
    quantile function between q - 2 h and q + 2 h, cut at 0 and 1, turns h into the values' unit.
    """
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=0)
    count: Int[np.ndarray, " M"] = np.isfinite(ordered).sum(0)
    level = np.asarray(levels, np.float64)[:, None]
    error = np.sqrt(level * (1 - level) / count)
    low = np.clip(level - QUANTILE_STEP * error, 0.0, 1.0)
    high = np.clip(level + QUANTILE_STEP * error, 0.0, 1.0)
    rise = _interpolate(ordered, count, high) - _interpolate(ordered, count, low)
    errors = np.where((count >= 2) & (error > 0), rise / (high - low) * error, np.nan)
    return _interpolate(ordered, count, level + np.zeros_like(error)), errors


def _interpolate(
    ordered: Float[np.ndarray, "R M"], count: Int[np.ndarray, " M"], level: Float[np.ndarray, "Q M"]
) -> Float[np.ndarray, "Q M"]:
    """Read each column's quantile function at its levels; columns are sorted, NaN last."""
    if not len(ordered):
        return np.full(level.shape, np.nan)
    place = np.nan_to_num(level) * np.maximum(count - 1, 0)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    low = np.take_along_axis(ordered, below, axis=0)
    high = np.take_along_axis(ordered, above, axis=0)
    return low + (high - low) * (place - below)


def list_statistics(summary: Any, levels: tuple[float, ...]) -> list[dict[str, Any]]:
    """List statistics as rows, one for every output, or element of one that is an array.

    Args:
      summary: Pytree of `Summary`.
      levels: Quantile levels, in the order of its quantiles.
    """
    leaves = jax.tree_util.tree_leaves_with_path(summary, is_leaf=lambda x: isinstance(x, Summary))
    rows = []
    for path, statistics in leaves:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        fields = statistics._asdict()
        quantiles = fields.pop("quantiles"), fields.pop("quantile_standard_errors")
        for place in np.ndindex(np.shape(statistics.mean)):
            row = {"output": f"{name}{list(place)}" if place else name}
            row |= {field: np.asarray(values)[place].item() for field, values in fields.items()}
            for q, level in enumerate(levels):
                value, error = (np.asarray(values)[(q, *place)].item() for values in quantiles)
                row |= {f"quantile_{level}": value, f"quantile_{level}_standard_error": error}
            rows.append(row)
    return rows
