"""Measure how the cost of a training step grows with lanes, and falls with devices.

    python benchmarks/scaling.py [--networks ...] [--out FILE]

Each number of devices is a process of its own, because JAX fixes it when it starts. On a CPU the
devices are simulated: the shape of the curve is what counts, and beyond one device a core it can
only show that nothing is lost. Peers are the fewest lanes and the single device of the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys

LANES = (1, 2, 4, 8, 16, 32)
DEVICES = (1, 2, 4)
NUM_LANES = 8
"""Lanes of the rows over devices."""
BATCH, REPEATS = 128, 5


def measure_here(name, lanes, num_devices):
    """Measure in this process: milliseconds a lane and step at each number of lanes."""
    import jax
    import numpy as np
    from our_steps import build, make_training_run
    from timing import measure

    from phase_jax.sweep import choose_lane_width

    params, _ = jax.eval_shape(build(name).init, jax.random.key(0))
    runs, compile_seconds = {}, {}
    for number in lanes:
        width = choose_lane_width(number, params, jax.default_backend(), num_devices)
        used = min(num_devices, -(-number // width))
        runs[number], compile_seconds[number] = make_training_run(
            name, BATCH, np.linspace(0, 0.3, number), width=width, num_devices=used
        )
    times = measure(runs, REPEATS)
    return [
        {
            "lanes": number,
            "devices": num_devices,
            "compile_seconds": compile_seconds[number],
            "milliseconds": {end: 1e3 * value / number for end, value in times[number].items()},
        }
        for number in lanes
    ]


def measure_apart(name, lanes, num_devices):
    """Measure in a new process with so many devices."""
    flags = f"--xla_force_host_platform_device_count={num_devices}"
    if num_devices > 1:
        flags += " --xla_cpu_multi_thread_eigen=false"  # as the command line starts
    environment = {**os.environ, "XLA_FLAGS": flags}
    command = [sys.executable, __file__, "--here", name, str(num_devices), *map(str, lanes)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--networks", nargs="+", default=["mlp", "mnist_cnn_small"])
    parser.add_argument("--here", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        name, num_devices, *lanes = arguments.here
        print(json.dumps(measure_here(name, [int(n) for n in lanes], int(num_devices))))
        return
    from timing import write_report

    from phase_jax.environment import describe_environment

    report = {
        "unit": "milliseconds a lane and step",
        **describe_environment(),
        "over_lanes": {},
        "over_devices": {},
    }
    for name in arguments.networks:
        report["over_lanes"][name] = rows = measure_apart(name, LANES, 1)
        for row in rows:
            print(
                name, row["lanes"], "lanes", f"{row['milliseconds']['median']:.2f} ms", flush=True
            )
        rows = [row for n in DEVICES for row in measure_apart(name, [NUM_LANES], n)]
        report["over_devices"][name] = rows
        for row in rows:
            print(name, row["devices"], "devices", f"{row['milliseconds']['median']:.2f} ms")
    write_report(report, arguments.out)


if __name__ == "__main__":
    main()
