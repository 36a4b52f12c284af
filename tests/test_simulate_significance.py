"""Tests of significance: against direct formulas, exact sizes, and power."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from phase_jax.simulate.significance import (
    TESTS,
    check_uniform,
    find_p_values,
    measure_distances,
)
from phase_jax.types import InputError

NUM_DRAWS = 30


def draw_p_values(draw_fn, num_features, num_replicates=1000, shift=0.0):
    """P-values of fresh points, each against a fresh sample.

    The first 4,000 points of this key in four dimensions lie closer in than they should, by 3.7
    standard errors of their mean squared length: samples of that size say more of the key.
    """

    def replicate(key):
        draws = draw_fn(key, (NUM_DRAWS + 1, num_features))
        return measure_distances(draws[:-1], draws[-1:] + shift)

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), num_replicates)
        distances = jax.jit(jax.vmap(replicate))(keys)
    return find_p_values(distances, NUM_DRAWS, num_features)


@pytest.fixture(scope="module")
def example():
    rng = np.random.default_rng(5)
    sample = rng.normal(size=(12, 3)) @ rng.normal(size=(3, 3)) + 2.0
    points = rng.normal(size=(4, 3)) * 3
    with jax.enable_x64(True):
        return sample, points, jax.jit(measure_distances)(jnp.asarray(sample), jnp.asarray(points))


def test_distances_are_those_of_the_formulas(example):
    sample, points, distances = example
    centred = points - sample.mean(0)
    inverse = np.linalg.inv(np.cov(sample.T))
    expected = np.einsum("ei,ij,ej->e", centred, inverse, centred)
    np.testing.assert_allclose(distances.mahalanobis, expected, rtol=1e-10)
    plain = (centred**2 / sample.var(0, ddof=1)).sum(1)
    np.testing.assert_allclose(distances.standardised, plain, rtol=1e-10)


def test_ranks_are_those_of_sample_and_point_together(example):
    sample, points, distances = example
    for point, rank in zip(points, distances.rank, strict=True):
        together = np.vstack([sample, point])
        centred = together - together.mean(0)
        lengths = np.einsum("ri,ij,rj->r", centred, np.linalg.inv(centred.T @ centred), centred)
        assert float(rank) == pytest.approx(np.mean(lengths >= lengths[-1]), abs=1e-12)


def test_hotelling_in_one_dimension_is_the_t_test_of_a_prediction(example):
    sample, points, _ = example
    with jax.enable_x64(True):
        distances = measure_distances(jnp.asarray(sample[:, :1]), jnp.asarray(points[:, :1]))
    found = find_p_values(distances, len(sample), 1)["hotelling"]
    spread = sample[:, 0].std(ddof=1) * np.sqrt(1 + 1 / len(sample))
    t = (points[:, 0] - sample[:, 0].mean()) / spread
    np.testing.assert_allclose(found, 2 * stats.t.sf(abs(t), len(sample) - 1), rtol=1e-10)


@pytest.mark.parametrize("num_features", [1, 4])
def test_hotelling_and_ranks_are_uniform_under_the_null(num_features):
    found = draw_p_values(jax.random.normal, num_features, num_replicates=40_000)
    assert check_uniform(found["hotelling"]).p_value > 1e-3
    check_ranks(found["rank"])


def test_only_ranks_are_uniform_whatever_the_distribution():
    found = draw_p_values(jax.random.cauchy, 2, num_replicates=40_000)
    check_ranks(found["rank"])
    assert check_uniform(found["hotelling"]).p_value < 1e-6


def check_ranks(p_values):
    """Ranks take each of their M + 1 values equally often, and pass as uniform when spread."""
    step = 1 / (NUM_DRAWS + 1)
    places = np.round(np.ravel(p_values) / step).astype(int)
    np.testing.assert_allclose(np.ravel(p_values), places * step, rtol=1e-12)
    counts = np.bincount(places, minlength=NUM_DRAWS + 2)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > 1e-3
    assert check_uniform(p_values, step).p_value > 1e-3


def test_calibration_sees_the_gaps_between_ranks_unless_told():
    ranks = np.tile(np.arange(1, NUM_DRAWS + 2), 200) / (NUM_DRAWS + 1)
    assert check_uniform(ranks).p_value < 1e-3
    spread = check_uniform(ranks, 1 / (NUM_DRAWS + 1))
    assert spread.p_value > 0.05
    assert spread.mean == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("num_features", [1, 4])
def test_plain_means_and_variances_reject_too_often(num_features):
    """In one dimension (z - mean)^2 / variance is (1 + 1/M) F(1, M - 1)."""
    count, level = 40_000, 0.05
    found = draw_p_values(jax.random.normal, num_features, num_replicates=count)
    rejected = np.mean(found["normal"] <= level)
    error = np.sqrt(level * (1 - level) / count)
    assert rejected > level + 2 * error
    assert abs(np.mean(found["hotelling"] <= level) - level) < 4 * error
    if num_features == 1:
        critical = stats.chi2.isf(level, 1) / (1 + 1 / NUM_DRAWS)
        expected = stats.f.sf(critical, 1, NUM_DRAWS - 1)
        assert abs(rejected - expected) < 4 * np.sqrt(expected * (1 - expected) / count)


def test_every_test_sees_a_shift():
    found = draw_p_values(jax.random.normal, 2, shift=6.0)
    assert all(np.median(found[test]) < 0.05 for test in TESTS)


def test_too_few_draws_are_refused():
    with pytest.raises(InputError, match="allowed: 4"):
        measure_distances(jnp.zeros((3, 3)), jnp.zeros((1, 3)))
