"""Monte Carlo statistics: with a known answer, merged, subsampled; and what is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monte_carlo_draws import KEY, draw_normal, draw_several
from scipy import stats

from phase_jax.monte_carlo import Summary, run_monte_carlo
from phase_jax.monte_carlo.statistics import (
    absorb,
    hash_indices,
    limit_num_kept,
    measure_moments,
    merge_moments,
    start_accumulator,
    summarize,
)
from phase_jax.types import InputError

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


@pytest.mark.parametrize(
    ("draw_fn", "distribution"),
    [
        (lambda key: 3 + 2 * jax.random.normal(key), stats.norm(3, 2)),
        (jax.random.uniform, stats.uniform()),
        (jax.random.exponential, stats.expon()),
    ],
    ids=["normal", "uniform", "exponential"],
)
@pytest.mark.parametrize("num_kept", [16_384, 1000], ids=["exact", "subsample"])
def test_known_distribution(draw_fn, distribution, num_kept):
    result = run_monte_carlo(draw_fn, KEY, 10_000, batch_size=1024, num_kept=num_kept)
    found = result.summary
    mean, variance, kurtosis = (float(x) for x in distribution.stats(moments="mvk"))
    assert found.num_finite == 10_000
    assert result.num_kept == min(num_kept, 10_000)
    assert abs(found.mean - mean) < 4 * found.standard_error
    assert abs(found.variance - variance) < 4 * found.variance_standard_error
    expected_error = variance * np.sqrt((kurtosis + 2) / 10_000)
    np.testing.assert_allclose(found.variance_standard_error, expected_error, rtol=0.2)
    np.testing.assert_allclose(found.standard_error, np.sqrt(variance / 10_000), rtol=0.05)
    truth = distribution.ppf(LEVELS)
    assert np.all(np.abs(found.quantiles - truth) < 4 * found.quantile_standard_errors)
    level = np.asarray(LEVELS)
    asymptotic = np.sqrt(level * (1 - level) / result.num_kept) / distribution.pdf(truth)
    np.testing.assert_allclose(found.quantile_standard_errors, asymptotic, rtol=0.5)


def test_standard_errors_are_calibrated():
    """Over many runs the error, in standard errors, has variance about 1."""
    draws = np.random.default_rng(5).normal(size=(400, 2000))  # 2000 runs side by side
    found = summarize(absorb(start_accumulator(2000), draws, 1000), LEVELS)
    truth = stats.norm.ppf(LEVELS)[:, None]
    scores = {
        "mean": found.mean / found.standard_error,
        "variance": (found.variance - 1) / found.variance_standard_error,
        "quantiles": (found.quantiles - truth) / found.quantile_standard_errors,
    }
    for name, score in scores.items():
        covered = np.mean(np.abs(score) < 1.96, axis=-1)
        # 0.95 has standard error 0.005 over 2000 runs; small samples lose up to three points
        np.testing.assert_allclose(covered, 0.95, atol=0.035, err_msg=name)


def test_flag_is_a_share():
    share = run_monte_carlo(draw_several, KEY, 3000, batch_size=500).summary["flag"]
    expected = np.sqrt(share.mean * (1 - share.mean) / 2999)
    np.testing.assert_allclose(share.standard_error, expected, rtol=1e-12)
    assert abs(share.mean - 0.25) < 4 * share.standard_error
    assert (share.minimum, share.maximum) == (0.0, 1.0)


def test_statistics_are_numpys():
    with jax.enable_x64(True):
        result = run_monte_carlo(draw_several, KEY, 1111, batch_size=100, keep_values=True)
    assert result.values["matrix"].shape == (1111, 2, 3)
    assert result.values["flag"].dtype == bool
    assert result.values["count"].dtype == np.int32
    for path, values in jax.tree_util.tree_leaves_with_path(result.values):
        found = result.summary
        for step in path:
            found = found[step.key if hasattr(step, "key") else step.idx]
        kept = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
        assert isinstance(found, Summary)
        np.testing.assert_array_equal(found.num_finite, np.isfinite(values).sum(0))
        np.testing.assert_allclose(found.mean, np.nanmean(kept, 0), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(found.variance, np.nanvar(kept, 0, ddof=1), rtol=1e-12)
        np.testing.assert_array_equal(found.minimum, np.nanmin(kept, 0))
        np.testing.assert_array_equal(found.maximum, np.nanmax(kept, 0))
        expected = np.nanquantile(kept, LEVELS, axis=0)
        np.testing.assert_allclose(found.quantiles, expected, rtol=1e-12)


def test_nothing_finite_and_one_value():
    def run(num_replicates):
        draw_fn = lambda key: (jnp.nan * jax.random.normal(key), jax.random.normal(key))  # noqa: E731
        return run_monte_carlo(draw_fn, KEY, num_replicates, batch_size=4).summary

    empty, single = run(1)
    assert empty.num_finite == 0
    assert all(np.all(np.isnan(field)) for field in empty[1:])
    assert single.mean == single.minimum == single.maximum == single.quantiles[2]
    assert np.isnan([single.std, single.standard_error, single.variance_standard_error]).all()
    assert np.isnan(single.quantile_standard_errors).all()
    assert np.isnan(run(9)[0].mean)


def test_types_that_numpy_lacks(tmp_path):
    def draw_short(key):
        return jax.random.normal(key, dtype=jnp.bfloat16)

    for num_replicates in (8, 12):
        options = {"batch_size": 4, "keep_values": True, "checkpoint": tmp_path / "run"}
        result = run_monte_carlo(draw_short, KEY, num_replicates, **options)
    assert result.values.dtype == np.float32
    assert result.num_resumed == 8
    np.testing.assert_allclose(result.summary.mean, result.values.mean(), rtol=1e-6)


def test_replicates_have_the_keys_they_should():
    values = run_monte_carlo(draw_normal, KEY, 23, batch_size=8, keep_values=True).values
    alone = [jax.jit(draw_normal)(jax.random.fold_in(KEY, i)) for i in range(23)]
    np.testing.assert_allclose(values, alone, rtol=1e-6)


def test_chunk_width_does_not_matter():
    with jax.enable_x64(True):
        results = [
            run_monte_carlo(draw_several, KEY, 300, batch_size=width) for width in (7, 512, None)
        ]
    assert [result.batch_size for result in results[:2]] == [7, 512]
    for other in results[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14),
            results[0].summary,
            other.summary,
        )


FINITE = st.floats(-1e6, 1e6, allow_subnormal=False)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(FINITE | st.sampled_from([np.nan, np.inf, -np.inf]), min_size=1, max_size=60),
    st.lists(st.integers(0, 60), max_size=5),
)
def test_merge_does_not_depend_on_the_split(values, cuts):
    column = np.asarray(values)[:, None]
    parts = np.split(column, sorted(min(cut, len(values)) for cut in cuts))
    merged = measure_moments(parts[0])
    for part in parts[1:]:
        merged = merge_moments(merged, measure_moments(part))
    whole = measure_moments(column)
    scale = max(1.0, float(np.max(np.abs(column[np.isfinite(column)]), initial=0.0)))
    for power, name in enumerate(("count", "mean", "sum2", "sum3", "sum4")):
        tolerance = 1e-11 * scale**power
        found, expected = getattr(merged, name), getattr(whole, name)
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=tolerance, err_msg=name)
    np.testing.assert_array_equal(merged.minimum, whole.minimum)
    np.testing.assert_array_equal(merged.maximum, whole.maximum)


def test_moments_do_not_cancel():
    values = 1e8 + np.random.default_rng(0).normal(size=(1000, 1))
    merged = start_accumulator(1)
    for part in np.split(values, 50):
        merged = absorb(merged, part, 10)
    np.testing.assert_allclose(merged.moments.sum2 / 999, values.var(0, ddof=1), rtol=1e-7)


def test_subsample_is_that_of_the_smallest_hashes():
    indices = np.arange(500, dtype=np.uint64)
    expected = np.sort(np.argsort(hash_indices(indices))[:40]).astype(float)
    for width in (1, 39, 130, 500):
        accumulator = start_accumulator(1)
        for start in range(0, 500, width):
            rows = np.arange(start, min(500, start + width), dtype=float)[:, None]
            accumulator = absorb(accumulator, rows, 40)
        np.testing.assert_array_equal(np.sort(accumulator.reservoir.values[:, 0]), expected)
    assert stats.kstest(expected / 500, "uniform").pvalue > 0.01


def test_large_outputs_shorten_the_subsample():
    assert limit_num_kept(16_384, 512) == 16_384
    assert limit_num_kept(16_384, 1024) == 8192
    assert limit_num_kept(16_384, 10**8) == 2
    result = run_monte_carlo(
        lambda key: jnp.zeros(2**20) + jax.random.normal(key),
        KEY,
        10,
        batch_size=5,
        quantiles=[0.5],
    )
    assert result.num_kept == 8
    assert len(result.notes) == 1
    assert "8 replicates" in result.notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_replicates": 0}, "num_replicates is 0; allowed: an integer of at least 1"),
        ({"num_replicates": 2.0}, "num_replicates is 2.0"),
        ({"num_replicates": True}, "num_replicates is True"),
        ({"num_replicates": 2**32 + 1}, "at most 4294967296"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"memory_limit": -1}, "memory_limit is -1"),
        ({"num_kept": 1}, "num_kept is 1; allowed: an integer of at least 2"),
        ({"quantiles": (0.5, 1.5)}, "quantiles has 1.5"),
        ({"quantiles": (np.nan,)}, "quantiles has nan"),
        ({"quantiles": 0.5}, "quantiles is 0.5"),
        ({"checkpoint_seconds": -1.0}, "checkpoint_seconds is -1.0"),
        ({"label": 3}, "label is 3"),
        ({"devices": []}, r"devices is \[\]"),
        ({"key": 7}, "key is 7; allowed: one typed key"),
        ({"key": jnp.zeros(2, jnp.uint32)}, r"key is uint32\[2\]"),
        ({"key": jax.random.split(KEY, 3)}, r"key is key<fry>\[3\]"),
        ({"replicate_fn": lambda key: ()}, "replicate_fn returns no numbers"),
        ({"replicate_fn": lambda key: jnp.zeros((0, 3))}, "replicate_fn returns no numbers"),
        ({"replicate_fn": lambda key: {"z": 1j}}, r"output \['z'\] has type complex"),
        ({"replicate_fn": lambda key: key}, "output has type key<fry>"),
        ({"replicate_fn": lambda key: "text"}, "output has type <U4"),
    ],
)
def test_wrong_input(change, message):
    arguments = {"replicate_fn": draw_normal, "key": KEY, "num_replicates": 10}
    with pytest.raises(InputError, match=message) as error:
        run_monte_carlo(**arguments | change)
    assert "\n" not in str(error.value)


def test_errors_of_the_function_come_through():
    def fail(key):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        run_monte_carlo(fail, KEY, 10)


def test_quantile_levels_at_the_ends():
    found = run_monte_carlo(draw_normal, KEY, 500, batch_size=100, quantiles=[1, 0]).summary
    np.testing.assert_array_equal(found.quantiles, [found.maximum, found.minimum])
    assert np.isnan(found.quantile_standard_errors).all()
    none = run_monte_carlo(draw_normal, KEY, 500, batch_size=100, quantiles=[]).summary
    assert none.quantiles.shape == (0,)
