"""The content of the page that sets runs beside each other, and rows of the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from phase_jax.report.document import build_document
from phase_jax.report.page.curves import NORMS, list_readings
from phase_jax.report.page.markup import (
    escape,
    shorten_numbers,
    show_choice,
    show_epsilon,
    show_interval,
    show_section,
    show_select,
    show_table,
)
from phase_jax.report.page.run import AXES, flatten_fields, name_run
from phase_jax.report.page.scale import ScaleRow, show_scale, show_star
from phase_jax.report.wording import describe_outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phase_jax.sweep import SweepResult

QUANTITIES = {
    "ratio": {"title": "train loss / threshold", "isShare": False, "level": 1},
    "train": {"title": "adversarial train loss", "isShare": False, "level": None},
    "test": {"title": "adversarial test loss", "isShare": False, "level": None},
    "testAccuracy": {"title": "adversarial test accuracy", "isShare": True, "level": None},
    "cleanAccuracy": {"title": "clean test accuracy", "isShare": True, "level": None},
}
NOT_COMPARED = ("data.data_dir", "lanes.", "target_epsilon", "epsilon_grid")


class PrintedRow(NamedTuple):
    """A setting of the paper, as printed; attack strengths are radii in pixel space [0, 1]."""

    name: str
    epsilons: tuple[float, ...]
    train_losses: tuple[float, ...]
    test_losses: tuple[float, ...]
    test_accuracies: tuple[float, ...]
    threshold: float | None
    epsilon_star: float | None


def show_comparison(runs: Sequence[tuple[str, SweepResult]], printed: Sequence[PrintedRow]) -> str:
    """Show epsilon* of all, one quantity of all, the numbers, and how the runs differ."""
    return "".join(
        (
            _show_stars(runs, printed),
            _show_curves(),
            _show_numbers(runs, printed),
            _show_differences(runs),
        )
    )


def describe_runs(
    runs: Sequence[tuple[str, SweepResult]], printed: Sequence[PrintedRow]
) -> dict[str, Any]:
    """Describe the curves of all on their common attack strengths; None where one has no lane."""
    grids = [result.epsilons for _, result in runs] + [np.array(row.epsilons) for row in printed]
    epsilons = sorted({float(f"{value:.6g}") for grid in grids for value in grid})
    places = {value: place for place, value in enumerate(epsilons)}

    def spread(grid: Sequence[float] | np.ndarray, rows: Sequence[Any]) -> list[Any]:
        """Put the rows of a grid in their places on the common one."""
        width = len(rows[0])
        spread_rows: list[Any] = [[None] * width for _ in epsilons]
        for value, row in zip(grid, rows, strict=True):
            spread_rows[places[float(f"{value:.6g}")]] = row
        return spread_rows

    described = []
    for name, result in runs:
        curves = {key: spread(result.epsilons, rows) for key, rows in _list_curves(result).items()}
        described.append({"name": name, "place": len(described), "curves": curves})
    for row in printed:
        if row.epsilons:
            curves = {
                key: spread(row.epsilons, [[value] for value in values])
                for key, values in _list_printed_curves(row).items()
            }
            described.append(
                {"name": f"paper: {row.name}", "place": len(described), "curves": curves}
            )
    norms = {NORMS[result.config.attack.norm] for _, result in runs}
    return {
        "norm": " or ".join(sorted(norms)),
        "epsilons": epsilons,
        "shown": _find_fullest(described, len(epsilons)),
        "quantities": QUANTITIES,
        "runs": described,
    }


def _find_fullest(described: list[dict[str, Any]], num_epsilons: int) -> int:
    """Find the last of the attack strengths at which the most rows have a value."""
    counts = [
        sum(any(value is not None for value in entry["curves"]["train"][e]) for entry in described)
        for e in range(num_epsilons)
    ]
    return max(range(num_epsilons), key=lambda e: (counts[e], e))


def _list_curves(result: SweepResult) -> dict[str, Any]:
    """List the curves [E][S] of a run by quantity; plain cross-entropy wherever a run has it."""
    reading = list_readings(result)[-1 if result.cross_entropy is not None else 0]
    threshold = reading["threshold"]
    lanes = result.lanes
    failed = np.where(lanes.status == 0, 0.0, np.nan)
    curves = {
        "train": reading["train"],
        "test": reading["test"],
        "testAccuracy": shorten_numbers(lanes.evaluated_test_accuracy + failed),
        "cleanAccuracy": shorten_numbers(lanes.clean_test_accuracy + failed),
    }
    if threshold:
        ratios = np.array(reading["train"], float) / threshold
        curves["ratio"] = shorten_numbers(ratios)
    return curves


def _list_printed_curves(row: PrintedRow) -> dict[str, list[float]]:
    curves = {
        "train": list(row.train_losses),
        "test": list(row.test_losses),
        "testAccuracy": list(row.test_accuracies),
    }
    if row.threshold:
        curves["ratio"] = shorten_numbers([loss / row.threshold for loss in row.train_losses])
    return curves


def _show_stars(runs: Sequence[tuple[str, SweepResult]], printed: Sequence[PrintedRow]) -> str:
    rows = [
        ScaleRow(escape(name), result.epsilon_star, result.epsilons.tolist())
        for name, result in runs
    ]
    rows += [
        ScaleRow(f"paper: {escape(row.name)}", epsilons=row.epsilons, printed=row.epsilon_star)
        for row in printed
    ]
    norms = {result.config.attack.norm for _, result in runs}
    caution = ""
    if len(norms) > 1:
        caution = (
            '<ul class="cautions"><li>The runs have attacks in different norms: their attack '
            "strengths are not on one scale.</li></ul>"
        )
    return (
        '<section class="card verdict" aria-labelledby="stars"><h2 id="stars">ε*</h2>\n'
        f"{show_scale(rows)}{caution}</section>\n"
    )


def _show_curves() -> str:
    options = [(name, quantity["title"]) for name, quantity in QUANTITIES.items()]
    body = (
        "<p>Losses have different sizes from run to run; divided by each run’s own threshold they "
        "meet 1 at ε*. Runs whose objective is not cross-entropy are shown by their plain "
        "cross-entropy.</p>\n"
        '<div class="controls js-only">'
        f"{show_select('quantity', 'Show', options, 'ratio')}"
        f"{show_choice('axis', 'ε axis', AXES, 'linear')}</div>\n"
        '<div class="card chart" id="curves"></div>'
    )
    return show_section("against", "Against ε", body)


def _show_numbers(runs: Sequence[tuple[str, SweepResult]], printed: Sequence[PrintedRow]) -> str:
    header = ("run", "ε*", "interval", "threshold", "seeds", "training images")
    rows = [
        (
            f'{escape(name)}<br><span class="soft">{escape(name_run(result))}</span>',
            show_star(result.epsilon_star),
            show_interval(result.epsilon_star),
            f"{result.threshold:.4g}",
            str(len(result.seeds)),
            f"{result.description['data']['num_train']:,}",
        )
        for name, result in runs
    ]
    rows += [
        (
            f"paper: {escape(row.name)}",
            "none printed" if row.epsilon_star is None else show_epsilon(row.epsilon_star),
            "none printed",
            "none printed" if row.threshold is None else f"{row.threshold:.4g}",
            "1",
            "",
        )
        for row in printed
    ]
    verdicts = "".join(
        f"<li><b>{escape(name)}</b>: {escape(describe_outcome(result))}</li>"
        for name, result in runs
    )
    table = show_table(header, rows, caption="From each run’s own train loss")
    return show_section("numbers", "Numbers", f"{table}<ul>{verdicts}</ul>")


def _show_differences(runs: Sequence[tuple[str, SweepResult]]) -> str:
    """Show the settings in which the runs differ: a comparison is as good as they are equal."""
    if len(runs) < 2:
        return ""
    documents = [build_document(result) for _, result in runs]
    fields = [
        dict(
            flatten_fields(
                {
                    **document["config"],
                    "data set": document["data"],
                    "network": document["model"],
                    "version": document["versions"].get("phase_jax"),
                }
            )
        )
        for document in documents
    ]
    names = list(dict.fromkeys(name for entry in fields for name in entry))
    rows = [
        (f"<code>{escape(name)}</code>", *(escape(entry.get(name, "")) for entry in fields))
        for name in names
        if not name.startswith(NOT_COMPARED) and len({entry.get(name) for entry in fields}) > 1
    ]
    if not rows:
        return show_section("differences", "How the runs differ", "<p>In no setting.</p>")
    header = ("setting", *(escape(name) for name, _ in runs))
    caption = "Settings and data in which the runs differ; grids aside"
    body = show_table(header, rows, caption=caption, kind="text")
    return show_section("differences", "How the runs differ", body)
