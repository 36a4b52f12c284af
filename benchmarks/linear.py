"""Time the linear model: trajectories and exact solves, beside NumPy, SciPy and CVXPY.

    python benchmarks/linear.py [--out FILE.json] [--plot FILE.png] [--parts trajectories ...]

About five minutes on 2 CPU cores. Peers are measured in alternation with our code, in one process;
every time is a median over repeats, with the smallest and the largest. BLAS gets one thread (set
OPENBLAS_NUM_THREADS to choose): at these sizes a second one helps neither NumPy nor SciPy nor the
LAPACK inside JAX, and on a machine that is not idle it costs each of them many times its gain.
XLA's own products use all cores.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read once, when NumPy and SciPy are imported

import argparse
import concurrent.futures
import functools
import json
import pathlib
import statistics

import jax
import jax.numpy as jnp
import numpy as np
from linear_peers import descend_batched, descend_loop, make_cvxpy, make_scipy
from linear_plot import draw_benchmark
from timing import (
    REPEATS,
    compare_with_machine,
    compile_timed,
    find_best,
    measure,
    measure_machine,
    print_times,
)

from phase_jax.environment import describe_environment
from phase_jax.linear.descent import descend
from phase_jax.linear.model import collapse_epsilon, sample_data
from phase_jax.linear.solve import solve

TRAJECTORIES = {"R": 300, "N": 100, "D": 10, "E": 24, "T": 100}
CHUNKS = (75, 100, 150)
STEP_SIZE = 0.2
LOOP_REPLICATES = 15  # of the NumPy loop; its time is scaled to all replicates
SOLVES = {"N": 1000, "D": 20}
INSTANCES = 64
WIDTHS = ((1, 1), (1, 2), (4, 2), (8, 1), (8, 2), (16, 2), (64, 1))
"""Instances in a chunk, and chunks in flight."""
BATCHED, LOOP = "NumPy, batched over epsilon", "NumPy, loop over epsilon"
FRACTIONS = (0.05, 0.2, 0.5, 0.9)
SCALING = {
    "trajectories": {
        "R": (75, 150, 300, 600, 1200),
        "E": (1, 4, 12, 24, 48, 96),
        "N": (25, 50, 100, 200, 400, 800),
        "D": (2, 5, 10, 20, 40, 80),
    },
    "solves": {"N": (100, 300, 1000, 3000), "D": (5, 10, 20, 40, 80, 160)},
}


def draw_sets(num_sets, num_examples, num_features, dtype):
    """Draw data sets; return x [R, N, D] and y [R, N]."""
    theta_0 = jnp.full(num_features, num_features**-0.5, dtype)
    keys = jax.random.split(jax.random.key(1), num_sets)
    return jax.jit(jax.vmap(lambda key: sample_data(key, num_examples, theta_0)))(keys)


def make_chunks(function, arguments, width, num_threads):
    """Return a run over all instances in chunks, so many in flight, and its compile seconds."""
    parts = [
        tuple(part[i : i + width] for part in arguments) for i in range(0, len(arguments[0]), width)
    ]
    compiled, seconds = compile_timed(jax.vmap(function), *parts[0])
    if num_threads == 1:
        return lambda: [compiled(*part) for part in parts], seconds
    pool = concurrent.futures.ThreadPoolExecutor(num_threads)
    return lambda: list(pool.map(lambda part: compiled(*part), parts)), seconds


def make_descent(x, y, epsilons, chunk, num_threads):
    """Return a run of all trajectories, [T + 1, E, D] a replicate, and its compile seconds."""

    def train(x, y):
        steps = {"num_steps": TRAJECTORIES["T"], "step_size": STEP_SIZE}
        return descend(x, y, epsilons, **steps).records

    return make_chunks(train, (x, y), chunk, num_threads)


def gather_descents(dtype):
    """Return runs of all trajectories by name, compile seconds, and ours' distance from NumPy's."""
    size = TRAJECTORIES
    x, y = draw_sets(size["R"], size["N"], size["D"], dtype)
    epsilons = np.linspace(0, 1, size["E"], dtype=dtype)
    runs, compile_seconds, name = {}, {}, ""
    for chunk in CHUNKS:
        for num_threads in (1, 2):
            name = f"ours, chunks of {chunk}, {num_threads} in flight"
            runs[name], compile_seconds[name] = make_descent(x, y, epsilons, chunk, num_threads)
    rest = {"num_steps": size["T"], "step_size": dtype.type(STEP_SIZE), "epsilons": epsilons}
    data = np.asarray(x), np.asarray(y)
    first = [part[:LOOP_REPLICATES] for part in data]
    runs[BATCHED] = functools.partial(descend_batched, *data, **rest)
    runs[LOOP] = functools.partial(descend_loop, *first, **rest)
    ours = np.concatenate([np.asarray(part) for part in runs[name]()])[:LOOP_REPLICATES]
    return runs, compile_seconds, np.abs(ours - np.swapaxes(runs[LOOP](), 1, 2)).max()


def benchmark_trajectories(dtype, machine):
    """Time gradient descent at all attack strengths and replicates."""
    size = TRAJECTORIES
    runs, compile_seconds, difference = gather_descents(dtype)
    times = measure(runs)
    scale = size["R"] / LOOP_REPLICATES
    times[LOOP] = {key: scale * value for key, value in times[LOOP].items()}
    best = find_best(times)
    seconds = times[best]["median"]
    flops = size["R"] * size["T"] * 4 * size["N"] * (size["D"] + 1) * size["E"]
    num_bytes = dtype.itemsize * size["R"] * (size["T"] + 1) * size["E"] * size["D"]
    return {
        "sizes": size,
        "seconds": times,
        "compile_seconds": compile_seconds,
        "best": best,
        "times_faster": {name: times[name]["median"] / seconds for name in (BATCHED, LOOP)},
        "loop_measured_on_replicates": LOOP_REPLICATES,
        "largest_difference_from_numpy": float(difference),
        "machine": compare_with_machine(seconds, flops, num_bytes, machine),
        "between": "two products a step of only N x (D + 1) x E, and between them the signs of "
        "N x E residuals, which no product unit takes",
    }


def draw_problems(num_sets, num_examples, num_features, norm):
    """Draw data sets and attack strengths at several fractions of collapse."""
    x, y = draw_sets(num_sets, num_examples, num_features, jnp.dtype("float64"))
    collapse = jax.vmap(lambda x, y: collapse_epsilon(x, y, norm))(x, y)
    return x, y, collapse * np.resize(FRACTIONS, num_sets)


def gather_solvers(norm):
    """Return runs by name, how many instances each solves, and what is known without timing."""
    runs, counts, compile_seconds, accuracy, own_seconds = {}, {}, {}, {}, []
    arguments = draw_problems(INSTANCES, SOLVES["N"], SOLVES["D"], norm)
    solve_one = functools.partial(solve, norm=norm)
    for width, num_threads in WIDTHS:
        name = f"ours, chunks of {width}, {num_threads} in flight"
        runs[name], compile_seconds[name] = make_chunks(solve_one, arguments, width, num_threads)
        counts[name] = INSTANCES
    result = jax.jit(jax.vmap(solve_one))(*arguments)
    problems = [[np.asarray(part[i]) for part in arguments] for i in range(len(FRACTIONS))]
    peers = {f"SciPy {method}": make_scipy(method) for method in ("L-BFGS-B", "BFGS")}
    if cvxpy := make_cvxpy(own_seconds):
        peers["CVXPY with Clarabel"] = cvxpy
    for name, peer in peers.items():
        runs[name] = lambda peer=peer: [peer(*problem, norm) for problem in problems]
        counts[name] = len(problems)
        accuracy[name] = [
            float((loss - best) / np.mean(problem[1] ** 2))
            for loss, best, problem in zip(runs[name](), result.loss, problems, strict=False)
        ]
    known = {
        "compile_seconds": compile_seconds,
        "missing": [] if cvxpy else ["CVXPY with Clarabel: not installed"],
        "largest_gap_of_ours_over_mean_squared_y": float(
            (result.gap / (arguments[1] ** 2).mean(1)).max()
        ),
        "loss_above_ours_over_mean_squared_y": accuracy,
        "mean_iterations": float(result.num_iterations.mean()),
    }
    return runs, counts, known, own_seconds


def benchmark_solves(norm, machine):
    """Time exact solves in batches, per instance, and peers one instance after the other."""
    runs, counts, known, own_seconds = gather_solvers(norm)
    times = {
        name: {key: value / counts[name] for key, value in seconds.items()}
        for name, seconds in measure(runs).items()
    }
    best = find_best(times)
    seconds = times[best]["median"]
    peers = {name: times[name]["median"] / seconds for name in times if name[:4] != "ours"}
    if own_seconds:
        peers["Clarabel without CVXPY"] = statistics.median(own_seconds) / seconds
    num_examples, num_features = SOLVES["N"], SOLVES["D"]
    work = known["mean_iterations"] * num_examples * num_features
    # One Gram matrix and nine products of X with a vector an iteration; X fits into a cache, so
    # memory has to deliver it once.
    flops, num_bytes = work * (2 * num_features + 18), 8 * num_examples * num_features
    return known | {
        "sizes": SOLVES | {"fractions_of_collapse": FRACTIONS},
        "seconds_per_instance": times,
        "best": best,
        "times_faster": peers,
        "machine": compare_with_machine(seconds, flops, num_bytes, machine),
        "between": "an iteration is some 200 short operations, half of them on scalars and on "
        "vectors of length D, which XLA hands to its threads one by one: about half the time, "
        "with a quarter for the Gram matrix; and a batch runs until its slowest instance is done",
    }


def benchmark_scaling():
    """Time ours along each size, the others as above."""
    curves: dict[str, dict[str, list]] = {"trajectories": {}, "solves": {}}
    dtype = jnp.dtype("float64")
    for axis, values in SCALING["trajectories"].items():
        for value in values:
            size = TRAJECTORIES | {axis: value}
            x, y = draw_sets(size["R"], size["N"], size["D"], dtype)
            epsilons = np.linspace(0, 1, size["E"])
            run, _ = make_descent(x, y, epsilons, min(CHUNKS), 2)
            curves["trajectories"].setdefault(axis, []).append((value, measure({"": run}, 3)[""]))
    for axis, values in SCALING["solves"].items():
        for value in values:
            size = SOLVES | {axis: value}
            arguments = draw_problems(16, size["N"], size["D"], "l2")
            run, _ = make_chunks(solve, arguments, 8, 2)
            seconds = {k: v / 16 for k, v in measure({"": run}, 3)[""].items()}
            curves["solves"].setdefault(axis, []).append((value, seconds))
    return curves


def run_parts(parts, report, plot):
    """Measure the parts asked for, print them, and put them into the report."""
    if "trajectories" in parts:
        report["trajectories"] = {}
        for name in ("float64", "float32"):
            part = benchmark_trajectories(jnp.dtype(name), report["machine"][name])
            report["trajectories"][name] = part
            print_times(f"trajectories, {name}", part["seconds"], part["best"])
    if "solves" in parts:
        report["solves"] = {}
        for norm in ("l2", "linf"):
            part = benchmark_solves(norm, report["machine"]["float64"])
            report["solves"][norm] = part
            print_times(f"solves, {norm}", part["seconds_per_instance"], part["best"])
    if "scaling" in parts:
        report["scaling"] = benchmark_scaling()
        draw_benchmark(report["scaling"], plot)


def main():
    """Measure, print, write JSON and the plot."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    folder = pathlib.Path(__file__).parent / "results"
    parser.add_argument("--out", type=pathlib.Path, default=folder / "linear-cpu.json")
    parser.add_argument("--plot", type=pathlib.Path, default=folder / "linear-cpu.png")
    parts = ("trajectories", "solves", "scaling")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    report = {
        **describe_environment(),
        "blas_threads": os.environ["OPENBLAS_NUM_THREADS"],
        "load_average_before": os.getloadavg(),
        "repeats": REPEATS,
        "machine": {name: measure_machine(jnp.dtype(name)) for name in ("float64", "float32")},
    }
    print(json.dumps(report["machine"], indent=2))
    arguments.plot.parent.mkdir(parents=True, exist_ok=True)
    run_parts(arguments.parts, report, arguments.plot)
    report["load_average_after"] = os.getloadavg()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
