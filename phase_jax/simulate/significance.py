"""Does a new point come from the distribution of a sample? Three tests, and their calibration.

What a test needs of sample and point is computed by JAX, inside a simulation; SciPy turns it into
p-values afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import stats

from phase_jax.linear.factorise import factor_cholesky, solve_cholesky
from phase_jax.linear.model import multiply
from phase_jax.types import InputError

if TYPE_CHECKING:
    from jaxtyping import Array, Float

TESTS = ("hotelling", "normal", "rank")


class Distances(NamedTuple):
    """How far points lie from a sample; every field is [E]."""

    mahalanobis: Any
    """D^2 = (z - mean)^T S^-1 (z - mean), S the sample's covariance."""
    standardised: Any
    """Sum over coordinates of (z - mean)^2 / variance."""
    rank: Any
    """Share of sample and point that lie at least as far out as the point; see `measure_rank`."""


class Calibration(NamedTuple):
    """Kolmogorov-Smirnov's test of p-values against the uniform distribution."""

    statistic: float
    p_value: float
    mean: float
    num_values: int


def measure_distances(sample: Float[Array, "R D"], points: Float[Array, "E D"]) -> Distances:
    """Measure how far each point lies from a sample.

    Args:
      sample: M > D draws of the null distribution.
      points: Points, each to be tested by itself.

    Returns:
      The distances.

    Raises:
      InputError: The sample is too small.
    """
    num_draws, num_features = sample.shape
    if num_draws <= num_features:
        raise InputError(f"sample: {num_draws} draws are too few; allowed: {num_features + 1}")
    mean = sample.mean(0)
    sample, points = sample - mean, points - mean
    scatter = multiply(sample.T, sample)
    lower = factor_cholesky(scatter)
    pulled = solve_cholesky(lower, points.T)
    lengths = (points * pulled.T).sum(-1)
    own = (sample * solve_cholesky(lower, sample.T).T).sum(-1)
    variance = (sample * sample).sum(0) / (num_draws - 1)
    return Distances(
        mahalanobis=lengths * (num_draws - 1),
        standardised=(points**2 / variance).sum(-1),
        rank=measure_rank(own, multiply(sample, pulled), lengths),
    )


def measure_rank(
    own: Float[Array, "R"], products: Float[Array, "R E"], lengths: Float[Array, "E"]
) -> Float[Array, "E"]:
    """Rank a point among sample and point together by how far out they lie.

    Sample and point are treated alike: mean and scatter are those of all R + 1, written as a rank-
    one change of the sample's. So the rank is uniform on 1 / (M + 1), ..., 1 whatever the common
    distribution is.

    Args:
      own: z_i^T A^-1 z_i of the sample, about its mean; A its scatter.
      products: z_i^T A^-1 v of sample and points v.
      lengths: v^T A^-1 v.

    Returns:
      Share of the M + 1 that lie at least as far out as the point, itself included.
    """
    num_draws = own.shape[0]
    shift = 1 / (num_draws + 1)  # of the mean, in units of v
    weight = (1 - shift) / (1 + (1 - shift) * lengths)
    along = products - shift * lengths
    distances = own[:, None] - 2 * shift * products + shift**2 * lengths - weight * along**2
    point = (1 - shift) ** 2 * (lengths - weight * lengths**2)
    return ((distances >= point).sum(0) + 1) * shift


def find_p_values(
    distances: Distances, num_draws: int, num_features: int
) -> dict[str, Float[np.ndarray, "..."]]:
    """Find the p-values of all tests.

    `hotelling`: M (M - D) / ((M + 1) (M - 1) D) D^2 ~ F(D, M - D), exact for Gaussian draws;
    `normal`: the sample's means and variances taken as true and coordinates as independent, so
    that the sum of squares is chi-squared; `rank`: k / (M + 1), at or below any level a with
    probability floor(a (M + 1)) / (M + 1), whatever the distribution.

    Args:
      distances: From `measure_distances`, in any shape; NaN stays NaN.
      num_draws: M, size of the sample.
      num_features: D.

    Returns:
      Name of the test -> p-values.
    """
    scale = num_draws * (num_draws - num_features)
    scale /= (num_draws + 1) * (num_draws - 1) * num_features
    statistic = scale * np.asarray(distances.mahalanobis)
    return {
        "hotelling": stats.f.sf(statistic, num_features, num_draws - num_features),
        "normal": stats.chi2.sf(np.asarray(distances.standardised), num_features),
        "rank": np.asarray(distances.rank),
    }


def check_uniform(p_values: Float[np.ndarray, "R"], step: float = 0.0) -> Calibration:
    """Test whether independent p-values are uniform.

    Args:
      p_values: In [0, 1].
      step: 1 / (M + 1) for ranks, which take no values between k `step`. Each is spread evenly
        over the `step` below it, by fixed random numbers: exactly uniform if the ranks are. Without
        it the gaps themselves are refuted, at M = 30 by 1,000 ranks already.

    Returns:
      Outcome of the test.
    """
    p_values = np.ravel(p_values)
    p_values = p_values - step * np.random.default_rng(0).random(p_values.size)
    found = stats.kstest(p_values, "uniform")
    return Calibration(
        float(found.statistic), float(found.pvalue), float(np.mean(p_values)), len(p_values)
    )
