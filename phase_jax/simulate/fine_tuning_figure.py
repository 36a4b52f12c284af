"""The figure of the bound in the `fine-tuning-bound` study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from phase_jax.report.plots import STAR, STYLE, TEST, TRAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = {"clean": "the clean solution", "zero": "zero"}
FLOOR = 1e-6
"""Ratios below are drawn here."""
COLOURS = {"clean": TRAIN, "zero": TEST, "optimum": STAR}


def draw_bound(
    rows: list[dict[str, Any]], starts: Sequence[str], fractions: Sequence[float]
) -> Figure:
    """Draw, for each setting and start, the excess after the last step over its bound."""
    settings = list(dict.fromkeys((row["norm"], row["n"], row["d"]) for row in rows))
    sizes = sorted({row["step_size"] for row in rows})
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 4.4), layout="constrained")
        panels = figure.subplots(1, len(settings), sharey=True)
        for axes, setting in zip(panels, settings, strict=True):
            here = [row for row in rows if (row["norm"], row["n"], row["d"]) == setting]
            for index, start in enumerate(s for s in starts if s != "optimum"):
                for size, marker in zip(sizes, "o^s", strict=False):
                    chosen = [r for r in here if (r["start"], r["step_size"]) == (start, size)]
                    low, middle, high = (
                        np.maximum([row[name] for row in chosen], FLOOR)
                        for name in ("ratio_low", "ratio", "ratio_high")
                    )
                    axes.errorbar(
                        np.arange(len(fractions)) + 0.09 * (3 * index + sizes.index(size) - 2.5),
                        middle,
                        yerr=(middle - low, high - middle),
                        fmt=marker,
                        color=COLOURS[start],
                        markersize=4,
                        linewidth=1,
                        label=f"from {NAMES[start]}, η = {size:g} / curvature",
                    )
            axes.axhline(1.0, color="#444444", linewidth=1, label="the bound")
            axes.set_ylim(0.5 * FLOOR, 3)
            axes.set_yscale("log")
            axes.set_xticks(range(len(fractions)), [f"{f:g}" for f in fractions])
            axes.set_xlabel("attack strength ε / collapse threshold")
            norm, num_examples, num_features = setting
            name = {"l2": "ℓ2", "linf": "ℓ∞"}[norm]
            axes.set_title(
                f"{name}, n = {num_examples}, d = {num_features}", loc="left", fontsize=10
            )
        panels[0].set_ylabel(
            "excess loss / bound after 200 steps\nmedian and 5-95 %; lowest: 10⁻⁶ or less"
        )
        figure.suptitle(
            "Proposition 2, corrected: excess loss of fine-tuning over its bound, never above 1",
            fontsize=11,
        )
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
        return figure
