"""The numbers that the paper prints, as printed. Attack strengths are in units of 1/255.

Xing, Song and Cheng, "Phase Transition from Clean Training to Adversarial Training", NeurIPS 2022:
Tables 1 to 4 and B.2 to B.7, and section 5.3.2. Files in `published/` hold numbers only.
"""

from __future__ import annotations

import csv
import functools
import pathlib
from typing import NamedTuple

FOLDER = pathlib.Path(__file__).parent / "published"
METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
FROM_SCRATCH = "from_scratch"
UNSTABLE = "unstable_epsilon"
CLEAN_LANES = {
    "cifar10-preactresnet18-10k-l2": "cifar10-preactresnet18-10k-linf",
    "cifar10-preactresnet18-50k-l2": "cifar10-preactresnet18-50k-linf",
    "cifar10-preactresnet18-10k-linf-fgm": "cifar10-preactresnet18-10k-linf",
    "cifar10-preactresnet18-50k-linf-fgm": "cifar10-preactresnet18-50k-linf",
}
"""Settings whose clean lane the paper prints once, with another setting: epsilon is 0 in both."""


class PrintedLane(NamedTuple):
    """One printed row: a model trained at one attack strength."""

    epsilon_255: float
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float


class PrintedCurve(NamedTuple):
    """What the solver needs of a setting."""

    epsilons_255: tuple[float, ...]
    train_losses: tuple[float, ...]
    threshold: float
    """Clean test loss of the cleanly trained model."""


def list_lanes(setting: str) -> list[PrintedLane]:
    """List the printed lanes of a setting, its own rows only; empty where none were printed."""
    return [
        PrintedLane(
            *(
                float(row[name])
                for name in ("epsilon_255", "train_loss", "train_acc", "test_loss", "test_acc")
            )
        )
        for row in _read("from_scratch_losses")
        if row["setting"] == setting
    ]


def list_curve_lanes(setting: str) -> list[PrintedLane]:
    """List the printed lanes of a setting, the clean one first; empty where none were printed."""
    lanes = list_lanes(setting)
    if setting in CLEAN_LANES:
        lanes += [lane for lane in list_lanes(CLEAN_LANES[setting]) if not lane.epsilon_255]
    return sorted(lanes)


def find_curve(setting: str) -> PrintedCurve | None:
    """Find the printed train losses of a setting, its clean lane included."""
    lanes = list_curve_lanes(setting)
    if not lanes:
        return None
    return PrintedCurve(
        tuple(lane.epsilon_255 for lane in lanes),
        tuple(lane.train_loss for lane in lanes),
        threshold=lanes[0].test_loss,
    )


def find_fine_tuning_curve(setting: str, attack: str) -> PrintedCurve:
    """Find the train losses after fine-tuning (Table B.7), epsilon = 0 included."""
    rows = [
        row
        for row in _read("fine_tuning_losses")
        if row["setting"] == setting and row["attack"] == attack
    ]
    curve = find_curve(setting)
    if not rows or curve is None:
        raise KeyError(f"{setting}, {attack}: not printed")
    return PrintedCurve(
        tuple(float(row["epsilon_255"]) for row in rows),
        tuple(float(row["train_loss"]) for row in rows),
        curve.threshold,
    )


def find_star(setting: str, method: str = FROM_SCRATCH) -> float | None:
    """Find a printed critical attack strength, in 1/255.

    Args:
      setting: Name of the setting.
      method: `from_scratch`, `unstable_epsilon`, or `finetune_ATTACK_POINTS`.

    Returns:
      The value, or None where the paper prints none.
    """
    values = [
        float(row["epsilon_star_255"])
        for row in _read("epsilon_star")
        if row["setting"] == setting and row["method"] == method
    ]
    return values[0] if values else None


def find_epoch(setting: str, epsilon_255: float) -> int | None:
    """Find the printed epoch of a lane (Table 1 only)."""
    values = [
        int(row["epoch"])
        for row in _read("selected_epochs")
        if row["setting"] == setting and float(row["epsilon_255"]) == epsilon_255
    ]
    return values[0] if values else None


def list_regimes() -> list[tuple[int, int, float]]:
    """List the rows of Table B.1: n, d and the printed critical attack strength (not in 1/255)."""
    return [(int(row["n"]), int(row["d"]), float(row["epsilon_star"])) for row in _read("regimes")]


@functools.cache
def _read(name: str) -> tuple[dict[str, str], ...]:
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))
