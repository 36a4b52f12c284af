"""The Monte Carlo driver: statistics with a known answer, and runs that are cut up, or cut off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from phase_jax.linear.factorise import factor_cholesky
from phase_jax.monte_carlo import Summary, run_monte_carlo
from phase_jax.monte_carlo.program import ChunkProgram, choose_width, trace_chunk
from phase_jax.monte_carlo.statistics import (
    absorb,
    hash_indices,
    limit_num_kept,
    measure_moments,
    merge_moments,
    start_accumulator,
    summarize,
)
from phase_jax.types import InputError, InterruptedRunError

ROOT = Path(__file__).resolve().parents[1]
KEY = jax.random.key(20_240)
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def draw_normal(key):
    return jax.random.normal(key)


def draw_several(key):
    """Outputs of several shapes and types, with values that are not finite."""
    first, second = jax.random.split(key)
    x = jax.random.normal(first, (2, 3))
    u = jax.random.uniform(second)
    return {
        "matrix": x,
        "nested": (u, jnp.where(u < 0.3, jnp.nan, jnp.where(u > 0.9, jnp.inf, u))),
        "flag": u < 0.25,
        "count": jnp.floor(10 * u).astype(jnp.int32),
    }


def assert_equal_results(left, right):
    """Compare two runs bit for bit, kept values included."""
    jax.tree.map(np.testing.assert_array_equal, left.summary, right.summary)
    jax.tree.map(np.testing.assert_array_equal, left.values, right.values)


def kill_after(num_chunks):
    """Return a progress_fn that ends the run without a chance to save."""
    calls = []

    def progress_fn(progress):
        calls.append(progress)
        if len(calls) == num_chunks:
            raise SystemExit("killed")

    return progress_fn


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


@pytest.mark.parametrize("draw_fn", [draw_normal, draw_several], ids=["scalar", "pytree"])
@pytest.mark.parametrize("keep_values", [False, True])
def test_killed_run_resumes_to_the_bit(tmp_path, draw_fn, keep_values):
    options = {"batch_size": 32, "num_kept": 50, "keep_values": keep_values}
    uninterrupted = run_monte_carlo(draw_fn, KEY, 300, **options)
    options |= {"checkpoint": tmp_path / "run.npz", "checkpoint_seconds": 0}
    for num_chunks in (2, 3):
        with pytest.raises(SystemExit):
            run_monte_carlo(draw_fn, KEY, 300, progress_fn=kill_after(num_chunks), **options)
    del options["batch_size"]  # the checkpoint's is taken
    resumed = run_monte_carlo(draw_fn, KEY, 300, **options)
    assert resumed.num_resumed == 5 * 32
    assert resumed.batch_size == 32
    assert not resumed.notes
    assert_equal_results(resumed, uninterrupted)
    assert {path.name for path in tmp_path.iterdir()} == {"run.npz", "run.npz.previous"}
    again = run_monte_carlo(draw_fn, KEY, 300, **options)
    assert again.num_resumed == 288  # whole chunks
    assert_equal_results(again, uninterrupted)


def test_extended_run_equals_a_long_one_to_the_bit(tmp_path):
    options = {"batch_size": 32, "num_kept": 200, "keep_values": True}
    for num_replicates in (20, 100, 128, 301):
        extended = run_monte_carlo(
            draw_several, KEY, num_replicates, checkpoint=tmp_path / "run", **options
        )
        assert_equal_results(
            extended, run_monte_carlo(draw_several, KEY, num_replicates, **options)
        )
    with pytest.raises(InputError, match=r"num_replicates is 100, .* holds 288; .* at least 288"):
        run_monte_carlo(draw_several, KEY, 100, checkpoint=tmp_path / "run", **options)


def test_keyboard_interrupt_saves(tmp_path):
    def interrupt(progress):
        if progress.num_done == 60:
            raise KeyboardInterrupt

    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_monte_carlo(
            draw_normal, KEY, 100, batch_size=20, checkpoint=path, progress_fn=interrupt
        )
    seen = []
    resumed = run_monte_carlo(draw_normal, KEY, 100, checkpoint=path, progress_fn=seen.append)
    assert resumed.num_resumed == 60
    assert_equal_results(resumed, run_monte_carlo(draw_normal, KEY, 100, batch_size=20))
    assert [progress.num_done for progress in seen] == [80, 100]
    assert seen[-1].seconds_left == 0
    assert seen[0].seconds_left > 0


def spoil(file, damage):
    """Damage a checkpoint; the last way leaves a sound archive with another mean in it."""
    content = bytearray(file.read_bytes())
    with np.load(file) as archive:
        arrays = dict(archive)
    content[content.find(arrays["kept"].tobytes())] ^= 1
    arrays["moments_mean"] = arrays["moments_mean"] + 1
    if damage == "changed":
        with file.open("wb") as stream:
            np.savez(stream, **arrays)
    else:
        file.write_bytes({"cut": content[:-200], "flipped": content, "empty": b""}[damage])


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "changed"])
def test_damaged_checkpoint(tmp_path, damage):
    path = tmp_path / "run"
    options = {"batch_size": 20, "checkpoint": path, "checkpoint_seconds": 0}
    expected = run_monte_carlo(draw_normal, KEY, 100, batch_size=20)
    with pytest.raises(SystemExit):
        run_monte_carlo(draw_normal, KEY, 100, progress_fn=kill_after(3), **options)
    spoil(path, damage)
    with pytest.raises(SystemExit):  # the good one must outlive the first save
        run_monte_carlo(draw_normal, KEY, 100, progress_fn=kill_after(1), **options)
    spoil(path, damage)
    resumed = run_monte_carlo(draw_normal, KEY, 100, **options)
    assert resumed.num_resumed == 40
    assert len(resumed.notes) == 1
    assert "damaged; going on from 40 replicates" in resumed.notes[0]
    assert_equal_results(resumed, expected)
    spoil(path, damage)
    spoil(path.with_name("run.previous"), damage)
    resumed = run_monte_carlo(draw_normal, KEY, 100, **options)
    assert resumed.num_resumed == 0
    assert "starting again" in resumed.notes[0]
    assert_equal_results(resumed, expected)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("label", {"label": "other"}),
        ("key", {"key": jax.random.key(1)}),
        ("key", {"key": jax.random.key(20_240, impl="rbg")}),
        ("outputs", {"replicate_fn": draw_several}),
        ("outputs", {"replicate_fn": lambda key: jax.random.normal(key, (3,))}),
        ("num_kept", {"num_kept": 70}),
        ("keep_values", {"keep_values": True}),
        ("batch_size", {"batch_size": 21}),
    ],
)
def test_checkpoint_of_another_run(tmp_path, field, change):
    base = {
        "replicate_fn": draw_normal,
        "key": KEY,
        "num_replicates": 100,
        "batch_size": 20,
        "checkpoint": tmp_path / "run",
        "label": "one",
    }
    run_monte_carlo(**base)
    before = (tmp_path / "run").read_bytes()
    with pytest.raises(
        InputError, match=rf"^checkpoint .*run': {field} is .* there but .*$"
    ) as error:
        run_monte_carlo(**base | change)
    assert "\n" not in str(error.value)
    assert (tmp_path / "run").read_bytes() == before


def test_unwritable_checkpoint(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="No such file or directory"):
        run_monte_carlo(draw_normal, KEY, 10, checkpoint=tmp_path / "none" / "run")
    with pytest.raises(InputError, match="it is a directory"):
        run_monte_carlo(draw_normal, KEY, 10, checkpoint=tmp_path)
    path = tmp_path / "run"
    options = {"batch_size": 20, "checkpoint": path, "checkpoint_seconds": 0}
    run_monte_carlo(draw_normal, KEY, 40, **options)
    before = path.read_bytes()
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(np, "savez", lambda *_, **__: (_ for _ in ()).throw(full))
    with pytest.raises(InterruptedRunError, match=r"No space left .* the last good one is kept$"):
        run_monte_carlo(draw_normal, KEY, 100, **options)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".tmp-*"))


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


def test_compiles_once_and_moves_nothing_unasked():
    num_traces = []

    def draw(key):
        num_traces.append(1)
        return jax.random.normal(key)

    jax.config.update("jax_transfer_guard", "disallow")  # not the context: chunks have own threads
    try:
        run_monte_carlo(draw, KEY, 1000, batch_size=10)
    finally:
        jax.config.update("jax_transfer_guard", "allow")
    assert len(num_traces) == 1
    run_monte_carlo(draw, KEY, 7)  # no more than the program whose memory is looked at
    assert len(num_traces) == 2
    run_monte_carlo(draw, KEY, 1000)
    assert len(num_traces) == 4


@pytest.mark.parametrize("function", ["product", "one_by_one", "batched_lapack"])
def test_chunks_at_the_same_time(monkeypatch, function):
    """One chunk per core, unless the program hands batches to LAPACK, which can hang."""

    def draw(key):
        x = jax.random.normal(key, (5, 3))
        square = x.T @ x + jnp.eye(3)
        if function == "product":
            return square.sum()
        if function == "one_by_one":
            return factor_cholesky(square).sum()
        return jnp.linalg.cholesky(square).sum()

    counts = []

    def count_threads(program):
        counts.append(counted(program))
        return counts[-1]

    counted = ChunkProgram.count_threads
    monkeypatch.setattr(ChunkProgram, "count_threads", count_threads)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    with jax.enable_x64(True):  # what the caller has set for its thread holds for the chunks'
        several = run_monte_carlo(draw, KEY, 64, batch_size=4, devices=jax.devices()[:1])
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
        one = run_monte_carlo(draw, KEY, 64, batch_size=4, devices=jax.devices()[:1])
    assert counts == [1 if function == "batched_lapack" else 3, 1]
    assert_equal_results(several, one)


def test_width_follows_memory():
    def draw(key):
        square = jax.random.normal(key, (100, 100))  # 40 kB
        return (square @ square).sum()

    small = run_monte_carlo(draw, KEY, 64, memory_limit=10**6)
    assert 4 <= small.batch_size < 25


@pytest.mark.parametrize(
    ("num_replicates", "memory_limit", "known", "expected"),
    [
        (1000, 1, True, 2),  # one for each device is the least
        (100, 10**6, True, 100),
        (300, 10**6, True, 100),  # in three chunks: 128, 128, 44 would pad more
        (32_000, 10**6, True, 200),  # 100 of 10 kB on each device
        (32_000, 10**9, True, 2000),  # 16 chunks
        (10**9, 10**12, True, 131_072),
        (32_000, None, False, 128),
    ],
)
def test_width_is_chosen(num_replicates, memory_limit, known, expected):
    """A program of 16 replicates on two devices that needs 10 kB per replicate, or does not say."""
    memory = SimpleNamespace(temp_size_in_bytes=60_000, output_size_in_bytes=10_000)
    compiled = SimpleNamespace(memory_analysis=lambda: memory if known else None)
    sharding = SimpleNamespace(device_set=[SimpleNamespace(platform="cpu")] * 2)
    probe = SimpleNamespace(width=16, compiled=compiled, sharding=sharding)
    chosen = choose_width(probe, num_replicates, memory_limit)
    assert chosen == pytest.approx(expected, rel=0.01)
    assert chosen % 2 == 0


def test_memory_does_not_grow(tmp_path):
    def measure(num_replicates):
        path = tmp_path / str(num_replicates)
        tracemalloc.start()
        run_monte_carlo(
            draw_normal, KEY, num_replicates, batch_size=1000, num_kept=100, checkpoint=path
        )
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return path.stat().st_size, peak

    measure(1000)  # what Python allocates once
    size, peak = measure(2000)
    longer_size, longer_peak = measure(50_000)
    assert longer_size == size
    assert longer_peak < peak + 100_000  # the values would be 400 kB


DEVICES_SCRIPT = """
import json, sys
import jax, jax.numpy as jnp
from phase_jax.monte_carlo import run_monte_carlo

jax.config.update("jax_enable_x64", True)

def draw(key):
    x = jax.random.normal(key, (8, 8))
    count, total = jax.lax.while_loop(
        lambda carry: carry[1] < 3,
        lambda carry: (carry[0] + 1, carry[1] + jnp.abs(x[0, 0])),
        (0, 0.0),
    )
    return {"product": x @ x, "count": count, "total": total}

answers = []
for devices in (jax.devices(), jax.devices()[:1]):
    result = run_monte_carlo(
        draw, jax.random.key(3), 203, batch_size=29, devices=devices, keep_values=True
    )
    leaves = jax.tree.leaves((result.summary, result.values))
    answers.append([[leaf.tolist() for leaf in leaves], result.batch_size, result.num_devices])
program = __import__("phase_jax.monte_carlo.program").monte_carlo.program
text = program.trace_chunk(draw, jax.random.key(3), 32, jax.devices()).compile().compiled.as_text()
words = ("all-reduce", "all-gather", "collective-permute", "all-to-all")
print(json.dumps(answers + [[word for word in words if word in text]]))
"""


def test_four_devices_equal_one():
    flags = "--xla_force_host_platform_device_count=4"
    environment = os.environ | {"XLA_FLAGS": flags, "NPROC": "8", "JAX_PLATFORMS": "cpu"}
    finished = subprocess.run(
        [sys.executable, "-c", DEVICES_SCRIPT],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    (four, width, num_devices), (one, single_width, _), collectives = json.loads(finished.stdout)
    assert (width, num_devices, single_width) == (32, 4, 29)
    assert not collectives
    for found, expected in zip(four, one, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_padding_uses_the_indices_that_follow():
    program = trace_chunk(draw_normal, KEY, 4, jax.devices()[:1]).compile()
    first, second = (np.asarray(program.dispatch(start)) for start in (0, 2))
    np.testing.assert_array_equal(first[2:], second[:2])
    program.dispatch(2**32 - 2)  # the last index, and padding beyond it
