"""Run the benchmarks, one process each, and keep their JSON.

    python -m benchmarks.run [--suite cpu|gpu] [--only training_step ...] [--out DIR]

Each is a script that also runs on its own (`python benchmarks/NAME.py --help`). One that fails is
reported at the end, with exit status 1, and the others still run.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import time

PLACE = pathlib.Path(__file__).parent
SUITES = {
    "cpu": {
        "startup": [],
        "attack_step": [],
        "training_step": [],
        "sweep_epoch": [],
        "scaling": [],
        "strength": ["--problems", "digits"],
        "linear": [],
        "time_to_epsilon_star": ["--problem", "digits"],
    },
    "gpu": {
        "attack_step": [],
        "training_step": [],
        "sweep_epoch": ["--networks", "mlp", "mnist_cnn_small", "mnist_cnn"],
        "linear": [],
    },
}
"""Name -> arguments, in the order they run."""


def main():
    """Run the benchmarks asked for; return an exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--suite", choices=SUITES, default="cpu")
    parser.add_argument(
        "--only", nargs="+", choices=sorted({n for s in SUITES.values() for n in s})
    )
    parser.add_argument("--out", type=pathlib.Path, default=PLACE / "results")
    arguments = parser.parse_args()
    suite = SUITES[arguments.suite]
    names = [name for name in suite if not arguments.only or name in arguments.only]
    environment = dict(os.environ)
    if arguments.suite == "cpu":
        environment["JAX_PLATFORMS"] = "cpu"
    paths = [str(PLACE.parent), environment.get("PYTHONPATH")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    failed = []
    for name in names:
        out = arguments.out / f"{name}-{arguments.suite}.json"
        print(f"== {name}: {out}", flush=True)
        since = time.perf_counter()
        command = [sys.executable, str(PLACE / f"{name}.py"), *suite[name], "--out", str(out)]
        status = subprocess.run(command, env=environment, check=False).returncode
        if status:
            failed.append(name)
        print(f"== {name}: {time.perf_counter() - since:.0f} s", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
