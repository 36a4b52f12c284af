"""Rows of the paper for a page that compares runs."""

from __future__ import annotations

from phase_jax.report.page import PrintedRow
from phase_jax.reproduce.catalogue import SETTINGS
from phase_jax.reproduce.paper import find_star, list_curve_lanes
from phase_jax.types import InputError

SCALE = 255.0


def list_printed_rows(settings: str | None) -> list[PrintedRow]:
    """List what the paper prints for a comma list of settings; nothing for None.

    Raises:
      InputError: A setting is not known.
    """
    return [find_printed_row(name.strip()) for name in settings.split(",")] if settings else []


def find_printed_row(setting: str) -> PrintedRow:
    """Find what the paper prints for a setting: its curve, threshold and epsilon*, or parts of it.

    Raises:
      InputError: The setting is not known.
    """
    if setting not in SETTINGS:
        raise InputError(f"--paper: {setting!r} is not known; allowed: {', '.join(SETTINGS)}")
    lanes, star = list_curve_lanes(setting), find_star(setting)
    return PrintedRow(
        name=setting,
        epsilons=tuple(lane.epsilon_255 / SCALE for lane in lanes),
        train_losses=tuple(lane.train_loss for lane in lanes),
        test_losses=tuple(lane.test_loss for lane in lanes),
        test_accuracies=tuple(lane.test_accuracy for lane in lanes),
        threshold=lanes[0].test_loss if lanes else None,
        epsilon_star=None if star is None else star / SCALE,
    )
