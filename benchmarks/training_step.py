"""Time an adversarial training step over lanes, in every lane mode, beside PyTorch.

    python benchmarks/training_step.py [--networks ...] [--lanes 1 4 8 16] [--out FILE]

PGD-10, batch 128. A step is attack, gradient and update of every lane; numbers are milliseconds a
lane and step, medians over repeats with the smallest and the largest, ours and the peers in
alternation. On a CPU it starts as the command line does: one device a core, lanes shared among
them. `preactresnet18` computes in bfloat16 on an accelerator, PyTorch there in channels-last
bfloat16; `--forms` also times XLA's own convolution (`lax`) on a CPU.
"""

from __future__ import annotations

import argparse
import pathlib

from phase_jax.cli.cores import count_cores, divide_cores

NETWORKS = {"cpu": ("mlp", "mnist_cnn_small", "mnist_cnn")}
NETWORKS["gpu"] = (*NETWORKS["cpu"], "preactresnet18")
BATCH = 128
LANES = (1, 4, 8, 16)


def list_modes(num_lanes, automatic, num_devices):
    """List lane modes: widths, and numbers of devices; the package's own choice is marked."""
    modes = {}
    for width in sorted({1, 4, num_lanes, automatic}):
        if width > num_lanes:
            continue
        for devices in sorted({1, num_devices}):
            if devices > 1 and width * devices > num_lanes:
                continue
            label = "one by one" if width == 1 else f"{width} vectorised"
            name = f"ours, {label}, {devices} device{'s' * (devices > 1)}"
            modes[name] = (width, devices)
    return modes


def measure_lanes(name, num_lanes, forms, repeats):
    """Measure one network at one number of lanes."""
    import jax
    import numpy as np
    import torch_peers
    from our_steps import build, count_flops, make_training_run
    from timing import measure

    from phase_jax.sweep import choose_lane_width

    on_cpu = jax.default_backend() == "cpu"
    dtype = "bfloat16" if name == "preactresnet18" and not on_cpu else "float32"
    epsilons = np.linspace(0, 0.3, num_lanes)
    params, _ = jax.eval_shape(build(name).init, jax.random.key(0))
    automatic = choose_lane_width(num_lanes, params, jax.default_backend(), jax.device_count())
    used = min(jax.device_count(), -(-num_lanes // automatic))
    runs, compile_seconds, modes = {}, {}, list_modes(num_lanes, automatic, jax.device_count())
    for form in forms if name != "mlp" else ("auto",):
        for label, (width, devices) in modes.items():
            key = label if form == "auto" else f"{label}, {form}"
            runs[key], compile_seconds[key] = make_training_run(
                name, BATCH, epsilons, width=width, num_devices=devices, dtype=dtype, form=form
            )
    options = {"bfloat16": dtype == "bfloat16"}
    runs["PyTorch loop"] = torch_peers.make_training_run(name, BATCH, epsilons, **options)
    if not on_cpu:
        runs["PyTorch compiled"] = torch_peers.make_training_run(
            name, BATCH, epsilons, compiled=True, **options
        )
    missing = [key for key, run in runs.items() if run is None]
    times = measure({key: run for key, run in runs.items() if run is not None}, repeats)
    times = {
        key: {end: 1e3 * value / num_lanes for end, value in numbers.items()}
        for key, numbers in times.items()
    }
    chosen = next(key for key, mode in modes.items() if mode == (automatic, used))
    return {
        "network": name,
        "lanes": num_lanes,
        "dtype": dtype,
        "flops": count_flops(name, BATCH, descend=True),
        "milliseconds": times,
        "missing": missing,
        "compile_seconds": compile_seconds,
        "automatic": chosen,
        "best": min((k for k in times if k.startswith("ours")), key=lambda k: times[k]["median"]),
    }


def main():
    """Measure the networks asked for and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--networks", nargs="+")
    parser.add_argument("--lanes", nargs="+", type=int, default=LANES)
    parser.add_argument("--forms", nargs="+", default=["auto"], choices=["auto", "lax", "matmul"])
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    divide_cores(None, count_cores())
    import jax
    import jax.numpy as jnp
    from timing import measure_machine, measure_peak_memory, write_report

    from phase_jax.environment import describe_environment

    suite = "cpu" if jax.default_backend() == "cpu" else "gpu"
    machine = measure_machine(jnp.dtype("float32"))
    report = {
        "unit": "milliseconds a lane and step",
        "batch": BATCH,
        **describe_environment(),
        "machine": machine,
        "rows": [],
    }
    for name in arguments.networks or NETWORKS[suite]:
        for num_lanes in arguments.lanes:
            row = measure_lanes(name, num_lanes, arguments.forms, arguments.repeats)
            report["rows"].append(row)
            times = row["milliseconds"]
            ours = times[row["automatic"]]["median"]
            row["share_of_machine"] = (
                1e-9 * row["flops"] / (1e-3 * ours * machine["product_gflops"])
            )
            row["automatic_over_best"] = ours / times[row["best"]]["median"]
            row["ours_over_peer"] = {
                key: ours / value["median"] for key, value in times.items() if key[:4] != "ours"
            }
            print(f"{name}, {num_lanes} lanes (automatic: {row['automatic']})", flush=True)
            for key, value in times.items():
                print(f"  {key:36} {value['median']:9.2f} ms   ours {ours / value['median']:.2f} x")
    report["peak_memory"] = measure_peak_memory()
    write_report(report, arguments.out)


if __name__ == "__main__":
    main()
