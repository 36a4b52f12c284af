"""Printed and measured numbers side by side: the entries of a table. No JAX."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

from phase_jax.config import FINE_TUNING_ATTACKS
from phase_jax.reproduce.paper import (
    FROM_SCRATCH,
    METRICS,
    UNSTABLE,
    find_epoch,
    find_star,
    list_lanes,
)
from phase_jax.reproduce.registry import (
    FGM_ROWS,
    FINE_TUNING,
    ITEMS,
    Kind,
    name_connection,
    name_fine_tuning,
)

if TYPE_CHECKING:
    from phase_jax.reproduce.runs import Run

MISSING = "missing"
NO_LOSSES = "no printed losses"
SCALE = 255.0
UNSTABLE_ACCURACY = 0.05
"""FGM is unstable where the accuracy under PGD is below this, half of chance for ten classes."""
MATCH = 1e-3
"""Two attack strengths are the same if they differ by less than this, in 1/255."""
LANE_FIELDS = {
    "train_loss": ("train_loss",),
    "train_accuracy": ("train_accuracy",),
    "test_loss": ("evaluated_test_cross_entropy", "evaluated_test_loss"),
    "test_accuracy": ("evaluated_test_accuracy",),
    "selected_epoch": ("selected_epoch",),
}
"""Printed metric -> the fields of a lane in result.json that measure it, the first one there.

Printed train losses are the objective's own. Printed test losses are read as cross-entropy for all
objectives: MART's lie below its train losses, at lower accuracies.
"""


class Entry(NamedTuple):
    """One number of a table: as printed, and as measured.

    Attributes:
      row: Setting or study row.
      quantity: `epsilon_star`, one of the metrics of a lane, ...
      epsilon_255: Attack strength of a lane in 1/255; None for quantities of the whole row.
      unit: Unit of the numbers; empty for losses and shares.
      published: As printed, or None.
      value: As measured, or None. Never filled from `published`.
      low: Lower end of the interval, or None.
      high: Upper end, or None.
      status: `FOUND`, another status of the solver, `OK`, `missing`, `not available yet`, ...
      notes: What a reader must know, a sentence each.
      is_comparable: Whether the measured number is meant to agree with the printed one.
    """

    row: str
    quantity: str
    epsilon_255: float | None = None
    unit: str = ""
    published: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    status: str = MISSING
    notes: tuple[str, ...] = ()
    is_comparable: bool = True

    @property
    def difference(self) -> float | None:
        """Measured minus printed, None unless both are there and comparable."""
        if self.value is None or self.published is None or not self.is_comparable:
            return None
        return self.value - self.published


def build_entries(
    name: str, rows: tuple[str, ...], runs: dict[str, Run], reasons: dict[str, str]
) -> list[Entry]:
    """Set a table's printed numbers beside those of the runs that are there.

    Args:
      name: Item of the registry, of a kind that is trained.
      rows: The rows wanted.
      runs: Finished runs by setting.
      reasons: Why a setting has no run, in words.

    Returns:
      Entries in the table's order.
    """
    item, entries = ITEMS[name], []
    for row in rows:
        if item.kind is Kind.BARRIERS:
            run = runs.get(name_connection(row))
            entries += describe_barriers(row, item.epsilons_255, run, reasons)
            continue
        if item.kind is Kind.GAPS:
            entries += describe_gaps(row, runs.get(row), reasons)
            continue
        if item.kind is Kind.LANES:
            entries += describe_lanes(row, item.epsilons_255, runs.get(row), reasons)
            entries += describe_stars(row, runs.get(row), reasons)
            continue
        for method in item.methods:
            if method == FROM_SCRATCH:
                entries += describe_stars(row, runs.get(row), reasons)
            elif method == UNSTABLE:
                entries.append(describe_unstable(row, runs.get(FGM_ROWS[row]), reasons))
            elif method in FINE_TUNING:
                run = runs.get(name_fine_tuning(row))
                entries.append(describe_extrapolation(row, method, run, reasons))
    return entries


def describe_barriers(
    row: str, epsilons_255: tuple[float, ...], run: Run | None, reasons: dict[str, str]
) -> list[Entry]:
    """Describe the barriers between clean networks and those of every attack strength drawn."""
    entries = []
    for epsilon in epsilons_255:
        entry = Entry(row, "barrier", epsilon)
        if run is None:
            entries.append(entry._replace(notes=_find_reason(reasons, name_connection(row))))
            continue
        found = [
            summary["barrier"]
            for summary in run.document["summaries"]
            if abs(summary["epsilon"] * SCALE - epsilon) < MATCH
        ]
        notes = (*run.differences, *run.document["cautions"])
        if not found or found[0]["value"] is None:
            lack = "no pair of networks here; two clean ones need --seeds 2"
            entries.append(entry._replace(notes=notes or (lack,)))
            continue
        value, low, high = (found[0][field] for field in ("value", "low", "high"))
        entries.append(entry._replace(value=value, low=low, high=high, status="OK", notes=notes))
    return entries


def describe_gaps(row: str, run: Run | None, reasons: dict[str, str]) -> list[Entry]:
    """Describe how far the generalisation gap has grown at the end, at every attack strength."""
    if run is None:
        return [Entry(row, "gap_ratio", notes=_find_reason(reasons, row))]
    entries = []
    for found in run.document["overfitting"]["final_ratios"]:
        entry = Entry(row, "gap_ratio", found["epsilon"] * SCALE, notes=run.differences)
        if found["ratio"] is None:
            entries.append(entry._replace(status="no usable lane"))
            continue
        half = _find_half_width(found["standard_error"], len(run.document["epsilon_star"]["seeds"]))
        ends = {} if half is None else {"low": found["ratio"] - half, "high": found["ratio"] + half}
        entries.append(entry._replace(value=found["ratio"], status="OK", **ends))
    return entries


def _find_half_width(standard_error: float | None, number: int) -> float | None:
    """Find half the width of a Student t interval, None where there is no standard error."""
    if standard_error is None or number < 2:
        return None
    from scipy.stats import t

    return float(t.ppf(0.975, number - 1)) * standard_error


def name_star(method: str = FROM_SCRATCH) -> str:
    """Name the quantity of a method: `epsilon_star`, `epsilon_star_finetune_pgd_1`."""
    return "epsilon_star" if method == FROM_SCRATCH else f"epsilon_star_{method}"


def describe_stars(row: str, run: Run | None, reasons: dict[str, str]) -> list[Entry]:
    """Describe epsilon* of a setting, for every reading of the train loss that the run solved."""
    published = find_star(row)
    if run is None:
        return [Entry(row, name_star(), None, "1/255", published, notes=_find_reason(reasons, row))]
    notes = (*run.differences, *run.document["cautions"])
    entries = []
    for quantity, estimate in run.estimates.items():
        printed = published if quantity == name_star() else None
        value, low, high = (_scale(estimate[field]) for field in ("value", "low", "high"))
        status = estimate["status"]
        entries.append(
            Entry(row, quantity, None, "1/255", printed, value, low, high, status, notes)
        )
    return entries


def describe_extrapolation(
    row: str, method: str, run: Run | None, reasons: dict[str, str]
) -> Entry:
    """Describe an epsilon* by fine-tuning: `finetune_ATTACK_POINTS`."""
    entry = Entry(row, name_star(method), None, "1/255", find_star(row, method))
    if run is None:
        return entry._replace(notes=_find_reason(reasons, name_fine_tuning(row)))
    name = method.removeprefix("finetune_")
    found = [e for e in run.document["extrapolations"] if e["name"] == name]
    if not found:
        return entry._replace(notes=(f"the fine-tuning has no {name}",))
    value, low, high = (_scale(found[0][field]) for field in ("value", "low", "high"))
    others = tuple(f"{attack}: " for attack in FINE_TUNING_ATTACKS if not name.startswith(attack))
    cautions = (text for text in run.document["cautions"] if not text.startswith(others))
    notes = (*run.differences, *cautions)
    return entry._replace(value=value, low=low, high=high, status=found[0]["status"], notes=notes)


def describe_lanes(
    row: str, epsilons_255: tuple[float, ...], run: Run | None, reasons: dict[str, str]
) -> list[Entry]:
    """Describe losses and accuracies at every attack strength printed (or wanted)."""
    entries = []
    for printed in list_lanes(row):
        epsilon = printed.epsilon_255
        if epsilons_255 and epsilon not in epsilons_255:
            continue
        for metric in METRICS:
            measured = _measure_lane(run, epsilon, metric)
            entry = Entry(row, metric, epsilon, "", getattr(printed, metric), **measured)
            entries.append(entry if run else entry._replace(notes=_find_reason(reasons, row)))
        epoch = find_epoch(row, epsilon)
        if epoch is not None:
            measured = _measure_lane(run, epsilon, "selected_epoch")
            entries.append(Entry(row, "selected_epoch", epsilon, "", epoch, **measured))
    return entries


def describe_unstable(row: str, run: Run | None, reasons: dict[str, str]) -> Entry:
    """Describe the smallest FGM strength at which the accuracy under PGD is lost by the end."""
    published = find_star(f"{row}-fgm", UNSTABLE)
    entry = Entry(row, UNSTABLE, None, "1/255", published)
    if run is None:
        return entry._replace(notes=_find_reason(reasons, FGM_ROWS[row]))
    if run.last_accuracies is None:
        return entry._replace(notes=("the run has no history.npz",))
    value = find_unstable(run.last_accuracies)
    status = "FOUND" if value is not None else "BEYOND_GRID"
    return entry._replace(value=value, status=status, notes=run.differences)


def find_unstable(accuracies: dict[float, float]) -> float | None:
    """Find the smallest attack strength whose accuracy under PGD is below `UNSTABLE_ACCURACY`."""
    return min((e for e, value in accuracies.items() if value < UNSTABLE_ACCURACY), default=None)


def _measure_lane(run: Run | None, epsilon_255: float, metric: str) -> dict[str, Any]:
    """Average a metric over the seeds of one attack strength, with a Student t interval."""
    if run is None:
        return {"status": MISSING}
    lanes = [
        lane for lane in run.document["lanes"] if abs(lane["epsilon"] * SCALE - epsilon_255) < MATCH
    ]
    if not lanes:
        return {"status": MISSING, "notes": ("the run has no lane at this strength",)}
    field = next(name for name in LANE_FIELDS[metric] if name in lanes[0])
    values = [lane[field] for lane in lanes if lane["status"] == "OK" and lane[field] is not None]
    lost = len(lanes) - len(values)
    notes = (f"{lost} of {len(lanes)} lanes diverged or collapsed",) if lost else ()
    if not values:
        return {"status": "no usable lane", "notes": notes}
    mean = statistics.fmean(values)
    measured = {"status": "OK", "notes": notes, "value": mean}
    if len(values) >= 2:
        error = statistics.stdev(values) / math.sqrt(len(values))
        half = _find_half_width(error, len(values)) or 0.0
        measured |= {"low": mean - half, "high": mean + half}
    return measured


def _scale(value: float | None) -> float | None:
    return None if value is None else value * SCALE


def _find_reason(reasons: dict[str, str], name: str) -> tuple[str, ...]:
    return (reasons[name],) if reasons.get(name) else ()
