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
            panels[1, column].set_xlabel("ε / √(d/n)   (dotted line: the paper's order)")
        panels[0, 0].set_ylabel("distance from clean training\n/ |Std θ̂(0)|  (median, 5-95 %)")
        panels[1, 0].set_ylabel("|θ̂(ε)| / |θ̂(0)|  (median, 5-95 %)")
        figure.suptitle(
            "Theorem 1: how far adversarial training is from clean training, ℓ2 attack, |θ₀| = σ"
        )
        return figure


def _draw_distances(axes: Axes, curves: list[list[dict[str, Any]]]) -> None:
    """Draw the distance at the minimisers and its maximum on the path, one colour a size."""
    for colour, own in zip(COLOURS, curves, strict=False):
        kappas = [row["kappa"] for row in own]
        low, middle, high, path = (
            np.array([row[name] for row in own])
            for name in ("minimiser_q05", "minimiser", "minimiser_q95", "path")
        )
        middle = np.where(middle > ROUNDING, middle, np.nan)
        low = np.where(high > ROUNDING, np.maximum(low, ROUNDING), np.nan)
        label = f"minimisers, n = {own[0]['n']}, d = {own[0]['d']}"
        axes.plot(kappas, middle, "o-", color=colour, markersize=3, label=label)
        axes.fill_between(kappas, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(kappas, path, "--", color=colour)
    last = curves[-1]
    if last[0]["d"] < last[0]["n"]:
        limit = [row["limit"] for row in last]
        label = f"minimisers, limit n → ∞ at d/n = {last[0]['d'] / last[0]['n']:g}"
        axes.plot(
            [row["kappa"] for row in last], limit, ":", color=THRESHOLD, label=label, zorder=3
        )
    axes.plot([], [], "--", color=THRESHOLD, label="largest distance on the path")
    axes.axhline(1.0, color=THRESHOLD, linewidth=0.8)
    _mark_order(axes)
    if all(row["minimiser"] <= ROUNDING for own in curves for row in own if row["kappa"] < 0.3):
        text = "minimisers equal,\ndistance 0, below"
        axes.text(0.3, 0.0045, text, fontsize=8, ha="right", color=THRESHOLD)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(3e-3, 100)
    axes.legend(fontsize=8, loc="upper left")


def _mark_order(axes: Axes) -> None:
    """Mark sqrt(d / n), where the theorem has its transition."""
    axes.axvline(1.0, color=THRESHOLD, linewidth=0.8, linestyle=(0, (1, 3)))


def _draw_lengths(axes: Axes, curves: list[list[dict[str, Any]]]) -> None:
    """Draw the length of the minimiser relative to clean training's."""
    for colour, own in zip(COLOURS, curves, strict=False):
        kappas = [row["kappa"] for row in own]
        low, middle, high = (
            [row[name] for row in own] for name in ("shrinkage_q05", "shrinkage", "shrinkage_q95")
        )
        axes.plot(kappas, middle, "o-", color=colour, markersize=3)
        axes.fill_between(kappas, low, high, color=colour, alpha=0.15, linewidth=0)
    _mark_order(axes)
    axes.set_ylim(-0.03, 1.08)
