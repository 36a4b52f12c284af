"""The figure of the `two-layer` study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from phase_jax.report.plots import STAR, STYLE, TEST, THRESHOLD, TRAIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (THRESHOLD, TRAIN, STAR, TEST)
MARKERS = {0.5: "^", 1.0: "o", 2.0: "v"}
LINES = {"matched": "-", "zero": "--"}


def draw_gaps(rows: list[dict[str, Any]], unit_rows: list[dict[str, Any]]) -> Figure:
    """Draw gaps against the width: at the end of training for both sizes, and after one step."""
    sizes = list(dict.fromkeys((row["n"], row["d"]) for row in rows))
    last = max(row["steps"] for row in rows)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.5, 5.2), layout="constrained")
        panels = figure.subplots(1, len(sizes) + 1, sharey=True)
        for axes, (num_examples, num_features) in zip(panels, sizes, strict=False):
            here = [row for row in rows if (row["n"], row["d"]) == (num_examples, num_features)]
            _draw_starts(axes, [row for row in here if row["steps"] == last and row["delta"] == 1])
            title = f"n = {num_examples}, d = {num_features}: after {last} steps, δ = 1"
            axes.set_title(title, loc="left", fontsize=10)
        size = dict(zip(("n", "d"), sizes[0], strict=True))
        first = [row for row in rows if row["steps"] == 1 and size.items() <= row.items()]
        _draw_first_step(panels[-1], first, [r for r in unit_rows if size.items() <= r.items()])
        panels[-1].set_title(
            f"n = {size['n']}, d = {size['d']}: after one step", loc="left", fontsize=10
        )
        panels[0].set_ylabel("root mean square of f(x) − xᵀθ, unit of y")
        for axes in panels:
            axes.set_xlabel("width h")
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
        handles, labels = panels[0].get_legend_handles_labels()
        more, names = panels[-1].get_legend_handles_labels()
        figure.legend(
            handles + more, labels + names, loc="outside lower center", ncols=5, fontsize=9
        )
        figure.suptitle(
            "Proposition 1: gap of the predictions of network and linear model (median; bands: "
            "5-95 %, matched start)",
            fontsize=11,
        )
        return figure


def _draw_starts(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Draw both starts, a colour an epsilon, with a guide of slope -1."""
    epsilons = sorted({row["epsilon"] for row in rows})
    for colour, epsilon in zip(COLOURS, epsilons, strict=False):
        for start, line in LINES.items():
            chosen = [r for r in rows if r["epsilon"] == epsilon and r["start"] == start]
            widths, gap, low, high = _columns(chosen, "width", "gap", "low", "high")
            label = f"ε = {epsilon:g}, {start} start"
            axes.plot(widths, gap, line, color=colour, marker="o", markersize=3, label=label)
            if start == "matched":
                axes.fill_between(widths, low, high, color=colour, alpha=0.12, linewidth=0)
    matched = [r for r in rows if r["start"] == "matched" and r["epsilon"] == 0]
    widths, gap = _columns(matched, "width", "gap")
    axes.plot(widths, 0.4 * gap[0] * widths[0] / widths, ":", color=THRESHOLD, label="slope −1")


def _draw_first_step(
    axes: Axes, rows: list[dict[str, Any]], unit_rows: list[dict[str, Any]]
) -> None:
    """Draw three deltas at the matched start, and the zero start beside its prediction."""
    epsilons = sorted({row["epsilon"] for row in unit_rows})
    middle = epsilons[len(epsilons) // 2]
    for delta, marker in MARKERS.items():
        chosen = [
            r for r in rows if (r["delta"], r["epsilon"], r["start"]) == (delta, middle, "matched")
        ]
        widths, gap = _columns(chosen, "width", "gap")
        label = f"δ = {delta:g}, ε = {middle:g}, matched start"
        axes.plot(widths, gap, color=STAR, marker=marker, markersize=4, linewidth=0.8, label=label)
    for colour, epsilon in zip(COLOURS[1:], epsilons, strict=False):
        chosen = [
            r for r in rows if (r["delta"], r["epsilon"], r["start"]) == (1.0, epsilon, "zero")
        ]
        widths, gap = _columns(chosen, "width", "gap")
        axes.plot(widths, gap, "--", color=colour, marker="o", markersize=3)
        unit = next(r["unit"] for r in unit_rows if r["epsilon"] == epsilon)
        label = "zero start predicted, η ε mean|y|" if epsilon == epsilons[0] else None
        axes.axhline(unit, color=colour, linewidth=0.8, linestyle=":", label=label)


def _columns(rows: list[dict[str, Any]], *names: str) -> list[np.ndarray]:
    return [np.array([row[name] for row in rows]) for name in names]
