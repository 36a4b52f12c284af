"""What training size and width do to epsilon* (section 5.3.2), from results/effects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from result_sections import show_interval, show_star, tabulate
from scipy import stats

if TYPE_CHECKING:
    import pathlib

DATA_SETS = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}
REFERENCE = "10000_128"
CHANGES = {
    "2500_128": "2,500 images instead of 10,000",
    "10000_16": "16 hidden units instead of 128",
}
CONFIDENCE = 0.95
INTRODUCTION = """\
## Training size and width

Section 5.3.2 of the paper: ε\\* falls as the training set grows, and rises with the width of the
network on MNIST (Table 3: 26.1/255 with 16 hidden units, 48/255 with 128). Here `mnist_cnn_small`
on real images, for the same number of gradient steps in every run. The ratio compares networks of
the same seed on the same test images; its interval is Student's t on its logarithm over seeds.
"""


def describe_effects(results: pathlib.Path) -> list[str]:
    """Compare the runs of results/effects with their reference; empty where there are none."""
    rows = []
    for data, name in DATA_SETS.items():
        reference = read_estimate(results, f"{data}_{REFERENCE}")
        if reference is None:
            continue
        rows.append((name, "10,000 images, 128 hidden units", *show(reference), "-", "-"))
        for change, text in CHANGES.items():
            changed = read_estimate(results, f"{data}_{change}")
            if changed is not None:
                rows.append((name, text, *show(changed), *compare(changed, reference)))
    if not rows:
        return []
    header = ("data", "network", "ε\\*", "interval", "times the reference", "interval of the ratio")
    return [INTRODUCTION, *tabulate(header, rows), ""]


def read_estimate(results: pathlib.Path, name: str) -> dict | None:
    """Read the estimate of epsilon* of a run."""
    path = results / "effects" / name / "result.json"
    if not path.is_file():
        return None
    return json.loads(path.read_text(encoding="utf-8"))["epsilon_star"]


def show(estimate) -> tuple[str, str]:
    """Show a value and its interval."""
    return show_star(estimate), show_interval(estimate)


def compare(changed, reference) -> tuple[str, str]:
    """Return the ratio of epsilon* seed by seed, and its interval; seeds without one are left out.

    The geometric mean over the seeds that have a value in both runs.
    """
    logs = np.array(
        [
            np.log(ours["value"] / theirs["value"])
            for ours, theirs in zip(changed["seeds"], reference["seeds"], strict=True)
            if ours["value"] and theirs["value"]
        ]
    )
    if not logs.size:
        return "-", "no seed has both"
    mean = f"{np.exp(logs.mean()):.2f} ({logs.size} {'seed' if logs.size == 1 else 'seeds'})"
    if logs.size < 2:
        return mean, "one seed"
    error = logs.std(ddof=1) / np.sqrt(logs.size)
    half = stats.t.ppf(0.5 + CONFIDENCE / 2, logs.size - 1) * error
    return mean, f"{np.exp(logs.mean() - half):.2f} to {np.exp(logs.mean() + half):.2f}"
