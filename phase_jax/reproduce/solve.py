"""The solver on the printed losses: no training, no data, no network."""

from __future__ import annotations

import math

import jax.numpy as jnp

from phase_jax.reproduce.entries import NO_LOSSES, Entry, find_unstable, name_star
from phase_jax.reproduce.paper import (
    FROM_SCRATCH,
    UNSTABLE,
    PrintedCurve,
    find_curve,
    find_fine_tuning_curve,
    find_star,
    list_lanes,
)
from phase_jax.reproduce.registry import FGM_ROWS, ITEMS, Kind
from phase_jax.solver import solve_epsilon_star

POINT_METHODS = {"1": "line", "3": "regression"}
OTHER_THRESHOLD = 0.179
"""What the paper's eight fine-tuning values on 50,000 images follow from; it prints 0.1837."""


def solve_published(name: str, rows: tuple[str, ...]) -> list[Entry]:
    """Solve the printed losses of an item.

    Args:
      name: Item of the registry, of kind STARS or LANES.
      rows: The rows wanted.

    Returns:
      One entry for every critical attack strength: printed, and solved here.
    """
    entries = []
    for row in rows:
        methods = ITEMS[name].methods if ITEMS[name].kind is Kind.STARS else (FROM_SCRATCH,)
        for method in methods:
            if method == FROM_SCRATCH:
                entries.append(solve_from_scratch(row))
            elif method == UNSTABLE:
                entries.append(read_unstable(row))
            else:
                entries.append(solve_fine_tuning(row, method))
    return entries


def solve_from_scratch(row: str) -> Entry:
    """Interpolate the printed train losses of a setting trained from scratch."""
    entry = Entry(row, name_star(), None, "1/255", find_star(row))
    curve = find_curve(row)
    if curve is None:
        return entry._replace(status=NO_LOSSES)
    value, status, last = _solve(curve, curve.threshold, "interpolation")
    notes = [f"threshold {curve.threshold:g}"]
    if last is not None and last != value:
        notes.append(f"the losses cross more than once, last at {last:.2f}/255")
    if status == "UNDEFINED":
        notes.append(f"train loss of clean training {curve.train_losses[0]:g}")
    return entry._replace(value=value, status=status, notes=tuple(notes))


def solve_fine_tuning(row: str, method: str) -> Entry:
    """Extrapolate the printed train losses after fine-tuning."""
    _, attack, points = method.split("_")
    curve = find_fine_tuning_curve(row, attack)
    value, status, _ = _solve(curve, curve.threshold, POINT_METHODS[points])
    notes = [f"threshold {curve.threshold:g}"]
    if "-50k-" in row:
        other, _, _ = _solve(curve, OTHER_THRESHOLD, POINT_METHODS[points])
        notes.append(f"{other:.2f}/255 with {OTHER_THRESHOLD}")
    return Entry(
        row, name_star(method), None, "1/255", find_star(row, method), value,
        status=status, notes=tuple(notes),
    )  # fmt: skip


def read_unstable(row: str) -> Entry:
    """Read from the printed FGM lanes where the accuracy under PGD is lost."""
    lanes = list_lanes(FGM_ROWS[row])
    value = find_unstable({lane.epsilon_255: lane.test_accuracy for lane in lanes})
    status = "FOUND" if value is not None else "BEYOND_GRID"
    published = find_star(FGM_ROWS[row], UNSTABLE)
    return Entry(
        row, UNSTABLE, None, "1/255", published, value, status=status, notes=("Table B.6",)
    )


def _solve(
    curve: PrintedCurve, threshold: float, method: str
) -> tuple[float | None, str, float | None]:
    """Solve a curve: value, status, last crossing; None for what does not exist."""
    solution = solve_epsilon_star(
        jnp.asarray(curve.epsilons_255), jnp.asarray(curve.train_losses), threshold, method=method
    )
    value, last = (
        None if math.isnan(number) else number
        for number in (solution.value, solution.last_crossing)
    )
    return value, solution.status.name, last
