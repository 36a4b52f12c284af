"""The figure of the study of Theorem 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from phase_jax.report.plots import STAR, STYLE, TEST, THRESHOLD, TRAIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (STAR, TRAIN, TEST)
ROUNDING = 1e-9
"""Distances below it are those of equal minimisers."""


def draw_theorem1(rows: list[dict[str, Any]]) -> Figure:
    """Draw distances above and lengths below, one column a regime."""
    regimes = list(dict.fromkeys(row["regime"] for row in rows))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 6.6), layout="constrained")
        panels = figure.subplots(2, len(regimes), sharex=True, sharey="row", squeeze=False)
        for column, regime in enumerate(regimes):
            own = [row for row in rows if row["regime"] == regime]
            sizes = sorted({(row["n"], row["d"]) for row in own})
            curves = [[row for row in own if (row["n"], row["d"]) == size] for size in sizes]
            _draw_distances(panels[0, column], curves)
            _draw_lengths(panels[1, column], curves)
            panels[0, column].set_title(regime, loc="left", fontsize=10)
            panels[1, column].set_xlabel("ε / √(d/n)")
        panels[0, 0].set_ylabel("distance from clean training\n/ |Std θ̂(0)|  (median)")
        panels[1, 0].set_ylabel("|θ̂(ε)| / |θ̂(0)|  (median, 5-95 %)")
        figure.suptitle("Theorem 1: adversarial against clean training, exact and on the path")
        return figure


def _draw_distances(axes: Axes, curves: list[list[dict[str, Any]]]) -> None:
    """Draw the distance at the minimisers and its maximum on the path, one colour a size."""
    for colour, own in zip(COLOURS, curves, strict=False):
        kappas = [row["kappa"] for row in own]
        label = f"n = {own[0]['n']}, d = {own[0]['d']}: minimisers"
        for name, style, text in (("minimiser", "o-", label), ("path", "--", None)):
            values = np.array([row[name] for row in own])
            shown = np.where(values > ROUNDING, values, np.nan)
            axes.plot(kappas, shown, style, color=colour, markersize=3, label=text)
    last = curves[-1]
    if last[0]["d"] < last[0]["n"]:
        limit = [row["limit"] for row in last]
        label = "minimisers, limit n → ∞ at the last d/n"
        axes.plot([row["kappa"] for row in last], limit, ":", color=THRESHOLD, label=label)
    axes.plot([], [], "--", color=THRESHOLD, label="largest on the path")
    axes.axhline(1.0, color=THRESHOLD, linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(3e-3, 30)
    axes.legend(fontsize=8, loc="upper left")


def _draw_lengths(axes: Axes, curves: list[list[dict[str, Any]]]) -> None:
    """Draw the length of the minimiser relative to clean training's."""
    for colour, own in zip(COLOURS, curves, strict=False):
        kappas = [row["kappa"] for row in own]
        low, middle, high = (
            [row[name] for row in own] for name in ("shrinkage_q05", "shrinkage", "shrinkage_q95")
        )
        axes.plot(kappas, middle, "o-", color=colour, markersize=3)
        axes.fill_between(kappas, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_ylim(-0.03, 1.08)
