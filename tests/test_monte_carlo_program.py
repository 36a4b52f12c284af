"""The program of a Monte Carlo run: chunks, their width, threads, memory and devices."""

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
import threadpoolctl
from monte_carlo_draws import KEY, assert_equal_results, draw_normal

from phase_jax.linear.factorise import factor_cholesky
from phase_jax.monte_carlo import run_monte_carlo
from phase_jax.monte_carlo.program import ChunkProgram, choose_width, trace_chunk

ROOT = Path(__file__).resolve().parents[1]


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
    devices = [SimpleNamespace(platform="cpu")] * 2
    sharding = SimpleNamespace(device_set=devices, addressable_devices=devices)
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
    assert abs(longer_size - size) < 100  # digits of counts
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


def test_linear_algebra_below_chunks_takes_one_thread():
    def count_threads(key):
        """Count the threads of every BLAS while a replicate runs."""
        del key
        libraries = threadpoolctl.threadpool_info()
        return np.float32(max(lib["num_threads"] for lib in libraries if lib["user_api"] == "blas"))

    def replicate(key):
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        return jax.pure_callback(
            count_threads, shape, jax.random.key_data(key), vmap_method="sequential"
        )

    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"):
        result = run_monte_carlo(replicate, jax.random.key(0), 4, batch_size=2)
        assert result.summary.mean == 1
        assert count_threads(None) == 2  # as it was before
