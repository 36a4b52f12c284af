"""Compare float32 with float64 in every study of the linear model, on the same random numbers.

    python benchmarks/linear_precision.py [--replicates 4] [--out FILE.json] [--studies NAME ...]

Every output of every replicate is compared: |float32 - float64| over the root mean square of that
output in float64, or over 1e-4 where that is larger. Random numbers are drawn in float32 both
times, so that data are the same bits.
About ten minutes on 2 CPU cores, nearly all of it compilation.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import tempfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.environment import describe_environment
from phase_jax.simulate.registry import STUDIES, load_study
from phase_jax.simulate.study import StudyContext

DRAWS = ("normal", "uniform")
ZERO = 1e-4  # smaller outputs are compared with this: some are zero but for rounding


@dataclasses.dataclass(frozen=True)
class RecordingContext(StudyContext):
    """A context that keeps what every replicate returned."""

    values: dict = dataclasses.field(default_factory=dict)

    def simulate(self, name, replicate_fn, num_replicates, **options):
        """Run one simulation and keep its values."""
        options |= {"keep_values": True}
        result = super().simulate(name, replicate_fn, num_replicates, **options)
        for path, leaf in jax.tree_util.tree_leaves_with_path(result.values):
            self.values[name + jax.tree_util.keystr(path)] = np.asarray(leaf, np.float64)
        return result


def draw_single(draw_fn):
    """Return a draw that takes float32 numbers, in whatever type they are wanted."""

    def draw(key, shape=(), dtype=None, **options):
        return draw_fn(key, shape, jnp.float32, **options).astype(dtype or jnp.float32)

    return draw


def run_study(name, replicates, precision):
    """Return every output of a study at its default sizes."""
    with tempfile.TemporaryDirectory() as folder, jax.enable_x64(precision == "float64"):
        context = RecordingContext(
            pathlib.Path(folder), name, replicates=replicates, dtype=jnp.dtype(precision)
        )
        patches = [
            mock.patch.object(jax.random, draw, draw_single(getattr(jax.random, draw)))
            for draw in DRAWS
        ]
        for patch in patches:
            patch.start()
        try:
            load_study(name).run(context)
        finally:
            for patch in patches:
                patch.stop()
    return context.values


def compare(single, double):
    """Return the relative differences of one study's outputs, and the largest's name."""
    largest, everything, num_unlike = {}, [], 0
    for name, exact in double.items():
        unlike = np.isfinite(exact) != np.isfinite(single[name])
        num_unlike += int(unlike.sum())
        sound = np.isfinite(exact) & np.isfinite(single[name])
        # One scale for each output, over replicates.
        counts = np.maximum(sound.sum(0), 1)
        scale = np.sqrt((np.where(sound, exact, 0) ** 2).sum(0) / counts)
        scale = np.maximum(scale, ZERO)
        pair = (np.where(sound, kind[name], 0) for kind in (single, double))
        difference = np.abs(np.subtract(*pair)) / scale
        largest[name] = float(difference.max())
        everything.append(difference[sound])
    joined = np.concatenate(everything)
    worst = max(largest, key=lambda name: largest[name])
    return {
        "num_values": int(joined.size),
        "median": float(np.median(joined)),
        "quantile_99": float(np.quantile(joined, 0.99)),
        "largest": largest[worst],
        "largest_at": worst,
        "num_finite_in_one_only": num_unlike,
    }


def main():
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    folder = pathlib.Path(__file__).parent / "results"
    parser.add_argument("--out", type=pathlib.Path, default=folder / "linear-precision-cpu.json")
    parser.add_argument("--replicates", type=int, default=4)
    parser.add_argument("--studies", nargs="+", choices=STUDIES, default=STUDIES)
    arguments = parser.parse_args()
    report = {**describe_environment(), "replicates": arguments.replicates, "studies": {}}
    if arguments.out.exists():
        report["studies"] = json.loads(arguments.out.read_text())["studies"]
    for name in arguments.studies:
        runs = [run_study(name, arguments.replicates, kind) for kind in ("float32", "float64")]
        report["studies"][name] = compare(*runs)
        print(name, json.dumps(report["studies"][name]), flush=True)
        arguments.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
