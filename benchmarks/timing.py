"""What the benchmarks measure with: timing in alternation, and the machine's own rates."""

from __future__ import annotations

import json
import resource
import statistics
import time

import jax
import jax.numpy as jnp

from phase_jax.compilation import choose_compiler_options

REPEATS = 7


def measure(runs, repeats=REPEATS):
    """Time every run in alternation, after one to warm up; return seconds."""
    for run in runs.values():
        run()
    times = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            since = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - since)
    return {
        name: {"median": statistics.median(t), "min": min(t), "max": max(t)}
        for name, t in times.items()
    }


def measure_peak_memory():
    """Return the largest resident memory of this process so far, in MiB, and the devices' own."""
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in jax.devices()]
    return {
        "host_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "devices_mib": [None if peak is None else peak / 2**20 for peak in peaks],
    }


def write_report(report, out):
    """Write a report as JSON to a file, or print it."""
    text = json.dumps(report, indent=2) + "\n"
    if out is None:
        print(text)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)


def compile_timed(function, *arguments):
    """Compile as the package does.

    Returns:
      A function that waits for its result, and the seconds it took to compile.
    """
    since = time.perf_counter()
    compiler_options = choose_compiler_options(jax.default_backend())
    compiled = jax.jit(function, compiler_options=compiler_options).lower(*arguments).compile()
    return lambda *a: jax.block_until_ready(compiled(*a)), time.perf_counter() - since


def measure_machine(dtype):
    """Measure what bounds everything: the rates of matrix products and of streaming memory."""
    matrix = jax.random.normal(jax.random.key(0), (2048, 2048), dtype)
    vector = jnp.ones(2**26 // dtype.itemsize, dtype)
    product, _ = compile_timed(lambda a: jnp.matmul(a, a, precision="highest"), matrix)
    triad, _ = compile_timed(lambda a, b: a + 3 * b, vector, vector)
    times = measure({"product": lambda: product(matrix), "triad": lambda: triad(vector, vector)})
    return {
        "product_gflops": 2e-9 * 2048**3 / times["product"]["min"],
        "triad_gbytes": 3e-9 * vector.nbytes / times["triad"]["min"],
    }


def compare_with_machine(seconds, flops, num_bytes, machine):
    """Say what share of the machine's rate a time is, by what bounds it."""
    product = 1e-9 * flops / machine["product_gflops"]
    stream = 1e-9 * num_bytes / machine["triad_gbytes"]
    return {
        "gflops": 1e-9 * flops / seconds,
        "gbytes": 1e-9 * num_bytes / seconds,
        "bound_by": "matrix products" if product > stream else "memory",
        "share": max(product, stream) / seconds,
    }


def find_best(times):
    """Return the name of ours with the smallest median."""
    return min((n for n in times if n.startswith("ours")), key=lambda n: times[n]["median"])


def print_times(title, seconds, best):
    """Print a block of a table, in milliseconds."""
    print(title)
    for name, value in seconds.items():
        low, middle, high = (1e3 * value[key] for key in ("min", "median", "max"))
        ratio = value["median"] / seconds[best]["median"]
        print(f"  {name:40} {middle:9.2f} ms ({low:.2f} to {high:.2f}) {ratio:8.1f} x ours")
