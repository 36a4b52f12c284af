"""Time what a user waits for: `--help`, and the default sweep the first time and the second.

    python benchmarks/startup.py [--repeats 3] [--out FILE]

Process start to exit. The first sweep of each repeat has an empty compilation cache, the second
that of the first. The peer of `--help` is `python -c pass`, which nothing in Python can beat.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from timing import write_report

from phase_jax.environment import describe_environment


def time_command(arguments, environment):
    """Run a command to its end and return the seconds."""
    since = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - since


def main():
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    times = {"python -c pass": [], "--help": [], "first sweep": [], "second sweep": []}
    for repeat in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as place:
            environment = {**os.environ, "PHASE_JAX_CACHE_DIR": f"{place}/cache"}
            times["python -c pass"].append(time_command(["-c", "pass"], environment))
            times["--help"].append(time_command(["-m", "phase_jax", "--help"], environment))
            for name in ("first sweep", "second sweep"):
                sweep = ["-m", "phase_jax.sweep", "--out", f"{place}/{name}"]
                times[name].append(time_command(sweep, environment))
        print({name: round(values[repeat], 2) for name, values in times.items()}, flush=True)
    report = {
        "unit": "seconds, process start to exit",
        **describe_environment(),
        "seconds": {
            name: {"median": statistics.median(t), "min": min(t), "max": max(t)}
            for name, t in times.items()
        },
    }
    write_report(report, arguments.out)


if __name__ == "__main__":
    main()
