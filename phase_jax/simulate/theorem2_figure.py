"""The figure of the study of Theorem 2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from phase_jax.report.plots import STAR, STYLE, TEST, THRESHOLD, TRAIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (STAR, TRAIN, TEST, "#CC79A7")


def draw_theorem2(rows: list[dict[str, Any]]) -> Figure:
    """Draw the ratio where the theorem fails, elsewhere, and along a counterexample."""
    between = [row for row in rows if row["regime"] == rows[0]["regime"]]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.0, 4.6), layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        _draw_between(left, [row for row in between if row["line"] == "kappa"])
        _draw_elsewhere(middle, [row for row in rows if row["line"] == "kappa"])
        _draw_sequence(right, [row for row in between if row["line"] != "kappa"])
        for axes in (left, middle):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlabel("ε / √(d/n)")
        left.set_ylabel("(R̂(ε) − R̂(0)) / Δ   (median, 95 % interval)")
        figure.suptitle("Theorem 2: rise of the minimal train loss over the generalisation gap Δ")
        return figure


def _draw_between(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Draw the regime where the theorem fails: one curve a size, with its limit."""
    sizes = sorted({(row["n"], row["d"]) for row in rows})
    for colour, size in zip(COLOURS, sizes, strict=False):
        own = [row for row in rows if (row["n"], row["d"]) == size]
        _draw_medians(axes, own, colour, f"n = {size[0]}, d = {size[1]}")
        kappas = [row["kappa"] for row in own]
        axes.plot(kappas, [row["first_order"] for row in own], ":", color=colour)
        axes.plot(kappas, [row["limit"] for row in own], "-", color=colour, linewidth=0.8)
    axes.plot([], [], ":", color=THRESHOLD, label="first order, 0.8 κ √(n/d)")
    axes.plot([], [], "-", color=THRESHOLD, linewidth=0.8, label="limit n → ∞ at this d/n")
    axes.set_title("√n ≪ d ≪ n: grows with n, fails", loc="left", fontsize=10)
    axes.legend(fontsize=8, loc="lower right")


def _draw_elsewhere(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Draw the other regimes, each at its largest size."""
    names = list(dict.fromkeys(row["regime"] for row in rows))[1:]
    for colour, name in zip(COLOURS[1:], names, strict=False):
        own = [row for row in rows if row["regime"] == name]
        own = [row for row in own if row["n"] == max(row["n"] for row in own)]
        _draw_medians(axes, own, colour, f"{name}, n = {own[0]['n']}")
        if own[0]["d"] > own[0]["n"]:
            kappas = np.array([row["kappa"] for row in own])
            axes.plot(kappas, kappas**2, ":", color=colour, label="κ² (interpolation)")
    axes.set_title("elsewhere: falls with ε/√(d/n), holds", loc="left", fontsize=10)
    axes.legend(fontsize=8, loc="lower right")


def _draw_medians(axes: Axes, rows: list[dict[str, Any]], colour: str, label: str) -> None:
    """Draw medians that are positive, with their intervals."""
    kappa, middle, low, high = (
        np.array([row[name] for row in rows])
        for name in ("kappa", "median", "median_low", "median_high")
    )
    shown = middle > 0
    errors = np.abs(np.stack([middle - low, high - middle]))[:, shown]
    axes.errorbar(
        kappa[shown], middle[shown], errors, fmt="o", color=colour, markersize=4, label=label
    )


def _draw_sequence(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Draw the ratio against n along epsilon = (d / n)^(3/4), d = n^(2/3)."""
    n, kappa, middle, low, high, limit = (
        np.array([row[name] for row in rows])
        for name in ("n", "kappa", "median", "median_low", "median_high", "limit")
    )
    axes.errorbar(
        n, middle, np.stack([middle - low, high - middle]), fmt="o-", color=TEST, capsize=3,
        label="measured (median, 95 % interval)",
    )  # fmt: skip
    axes.plot(n, limit, "-", color=THRESHOLD, linewidth=0.8, label="limit n → ∞ at this d/n")
    axes.plot(n, kappa, "s--", color=TRAIN, markersize=4, label="ε / √(d/n), → 0")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(r"n, with d = $n^{2/3}$")
    axes.set_title(r"along ε = $(d/n)^{3/4}$ ≪ √(d/n): should go to 0", loc="left", fontsize=10)
    axes.legend(fontsize=8, loc="lower right")
