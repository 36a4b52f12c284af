"""Time PGD-10 on a batch, both norms, beside PyTorch and Foolbox.

    python benchmarks/attack_step.py [--networks ...] [--out FILE]

Eight attack strengths as lanes of one program against peers that attack the batch at one; numbers
are milliseconds an attack strength, medians over repeats, all in alternation. On a CPU lanes are
shared among one device a core, as on the command line.
"""

from __future__ import annotations

import argparse
import pathlib

from phase_jax.cli.cores import count_cores, divide_cores

NETWORKS = {"cpu": ("mlp", "mnist_cnn_small", "mnist_cnn")}
NETWORKS["gpu"] = (*NETWORKS["cpu"], "preactresnet18")
BATCH, LANES = 128, 8
EPSILONS = {"linf": 0.1, "l2": 1.0}


def measure_network(name, norm, repeats):
    """Measure one network and norm."""
    import jax
    import numpy as np
    import torch_peers
    from our_steps import build, count_flops, make_attack_run
    from timing import measure

    from phase_jax.sweep import choose_lane_width

    epsilon = EPSILONS[norm]
    params, _ = jax.eval_shape(build(name).init, jax.random.key(0))
    devices = jax.device_count()
    width = choose_lane_width(LANES, params, jax.default_backend(), devices)
    devices = min(devices, -(-LANES // width))
    many, compile_seconds = make_attack_run(
        name, BATCH, norm, np.linspace(epsilon / LANES, epsilon, LANES), width=width,
        num_devices=devices,
    )  # fmt: skip
    alone, _ = make_attack_run(name, BATCH, norm, [epsilon], width=1)
    runs = {
        f"ours, {LANES} lanes": many,
        "ours, alone": alone,
        "PyTorch loop": torch_peers.make_attack_run(name, BATCH, norm, epsilon),
        "PyTorch compiled": torch_peers.make_attack_run(name, BATCH, norm, epsilon, compiled=True),
        "Foolbox": torch_peers.make_foolbox_run(name, BATCH, norm, epsilon),
    }
    times = measure({key: run for key, run in runs.items() if run is not None}, repeats)
    share = {f"ours, {LANES} lanes": LANES}
    return {
        "network": name,
        "norm": norm,
        "flops": count_flops(name, BATCH, descend=False),
        "milliseconds": {
            key: {end: 1e3 * value / share.get(key, 1) for end, value in numbers.items()}
            for key, numbers in times.items()
        },
        "missing": [key for key, run in runs.items() if run is None],
        "compile_seconds": compile_seconds,
        "width": width,
        "devices": devices,
    }


def main():
    """Measure the networks asked for and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--networks", nargs="+")
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
        "unit": "milliseconds an attack strength",
        "batch": BATCH,
        **describe_environment(),
        "machine": machine,
        "rows": [],
    }
    for name in arguments.networks or NETWORKS[suite]:
        for norm in EPSILONS:
            row = measure_network(name, norm, arguments.repeats)
            report["rows"].append(row)
            times = row["milliseconds"]
            ours = times[f"ours, {LANES} lanes"]["median"]
            row["share_of_machine"] = (
                1e-9 * row["flops"] / (1e-3 * ours * machine["product_gflops"])
            )
            row["ours_over_peer"] = {
                key: ours / value["median"] for key, value in times.items() if key[:4] != "ours"
            }
            print(f"{name}, {norm}", flush=True)
            for key, value in times.items():
                print(f"  {key:24} {value['median']:9.2f} ms   ours {ours / value['median']:.2f} x")
    report["peak_memory"] = measure_peak_memory()
    write_report(report, arguments.out)


if __name__ == "__main__":
    main()
