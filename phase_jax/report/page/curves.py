"""What the charts of a page draw, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phase_jax.report.page.markup import shorten_numbers
from phase_jax.types import LaneStatus

if TYPE_CHECKING:
    from phase_jax.sweep import SweepResult
    from phase_jax.types import EpsilonStarEstimate

MAX_POINTS = 200  # epochs drawn; longer histories are thinned
HISTORIES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
NORMS = {"linf": "ℓ∞", "l2": "ℓ2"}


def describe_curves(result: SweepResult) -> dict[str, Any]:
    """Describe loss, accuracy and learning curves of a run; lanes that failed are None."""
    sound = result.lanes.status == LaneStatus.OK
    num_epochs = result.history["train_loss"].shape[2]
    places = np.arange(num_epochs)
    if num_epochs > MAX_POINTS:
        spread = np.linspace(0, num_epochs - 1, MAX_POINTS).round().astype(int)
        chosen = result.lanes.selected_epoch[sound] - 1  # their dots need their points
        places = np.unique(np.concatenate([spread, chosen]))
    return {
        "norm": NORMS[result.config.attack.norm],
        "epsilons": shorten_numbers(result.epsilons, 6),
        "seeds": result.seeds.tolist(),
        "sound": sound.tolist(),
        "failed": np.flatnonzero(~sound.all(axis=1)).tolist(),
        "selected": result.lanes.selected_epoch.tolist(),
        "shown": find_shown(result),
        "readings": list_readings(result),
        "testAccuracy": _keep_sound(result.lanes.evaluated_test_accuracy, sound),
        "cleanAccuracy": _keep_sound(result.lanes.clean_test_accuracy, sound),
        "epochs": (places + 1).tolist(),
        "history": {name: shorten_numbers(result.history[name][..., places]) for name in HISTORIES},
    }


def list_readings(result: SweepResult) -> list[dict[str, Any]]:
    """List the ways to read epsilon* off a run, the main one first.

    Returns:
      For each its `title`, `unit`, curves [E][S], `threshold` and `star`.
    """
    chosen = result.config.solver.train_loss
    other = "evaluated" if chosen == "logged" else "logged"
    own = result.cross_entropy is not None
    name = f"{result.description['objective']} loss" if own else "loss"
    readings = [
        _describe_reading(result, train, "loss", name, result.thresholds, star)
        for train, star in (
            (chosen, result.epsilon_star),
            (other, result.epsilon_star_other),
        )
    ]
    if result.cross_entropy is not None:
        plain = result.cross_entropy
        readings.append(
            _describe_reading(
                result,
                chosen,
                "cross_entropy",
                "cross-entropy",
                plain.thresholds,
                plain.epsilon_star,
            )
        )
    return readings


def find_shown(result: SweepResult) -> int:
    """Find the attack strength that a page opens with: nearest epsilon*, or the last."""
    value = result.epsilon_star.value
    if value is None:
        return len(result.epsilons) - 1
    return int(np.argmin(np.abs(result.epsilons - value)))


def _describe_reading(
    result: SweepResult,
    train_loss: str,
    quantity: str,
    unit: str,
    thresholds: np.ndarray,
    star: EpsilonStarEstimate,
) -> dict[str, Any]:
    lanes = result.lanes
    sound = lanes.status == LaneStatus.OK
    prefix = "" if train_loss == "logged" else "evaluated_"
    source = "as logged" if train_loss == "logged" else "as evaluated"
    return {
        "title": f"{unit} {source}".replace("loss", "train loss", 1),
        "unit": unit,
        "train": _keep_sound(getattr(lanes, f"{prefix}train_{quantity}"), sound),
        "test": _keep_sound(getattr(lanes, f"evaluated_test_{quantity}"), sound),
        "trainAccuracy": _keep_sound(getattr(lanes, f"{prefix}train_accuracy"), sound),
        "threshold": shorten_numbers(result.average_thresholds(thresholds), 5),
        "star": {
            name: shorten_numbers(getattr(star, name), 6) for name in ("value", "low", "high")
        },
    }


def _keep_sound(values: np.ndarray, sound: np.ndarray) -> list[list[float | None]]:
    return shorten_numbers(np.where(sound, values, np.nan))
