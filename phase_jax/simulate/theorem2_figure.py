"""The figure of the study of Theorem 2."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from phase_jax.report.plots import STAR, STYLE, TEST, THRESHOLD, TRAIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (STAR, TRAIN, TEST, "#CC79A7")
MARKERS = "osD^"


def draw_theorem2(rows: list[dict[str, Any]]) -> Figure:
    """Draw the ratio where the theorem fails, elsewhere, and along counterexamples."""
    between = [row for row in rows if row["regime"] == rows[0]["regime"]]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.5, 5.0), layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        _draw_between(left, [row for row in between if row["line"] == "kappa"])
        _draw_elsewhere(middle, [row for row in rows if row["line"] == "kappa"])
        _draw_sequences(right, [row for row in rows if row["line"] != "kappa"])
        for axes in (left, middle):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlabel("κ = ε / √(d/n)")
            axes.set_ylim(5e-4, 20)
        left.set_ylabel("|R̂(ε) − R̂(0)| / |Δ|   (median, 95 % interval)")
        figure.suptitle(
            "Theorem 2: rise of the minimal train loss over the generalisation gap Δ, |θ₀| = σ"
        )
        return figure


def _draw_between(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Draw the regime where the theorem fails: one curve a size, with its limit."""
    sizes = sorted({(row["n"], row["d"]) for row in rows})
    for colour, size in zip(COLOURS, sizes, strict=False):
        own = [row for row in rows if (row["n"], row["d"]) == size]
        _draw_sizes(axes, own, colour, f"n = {size[0]}, d = {size[1]}")
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
    for colour, marker, name in zip(COLOURS, MARKERS, names, strict=False):
        own = [row for row in rows if row["regime"] == name]
        own = [row for row in own if row["n"] == max(row["n"] for row in own)]
        _draw_sizes(axes, own, colour, f"{name}; n = {own[0]['n']}", marker)
        if own[0]["d"] > 0.25 * own[0]["n"]:  # below, Delta is not near its limit
            axes.plot(
                [r["kappa"] for r in own], [r["limit"] for r in own], color=colour, linewidth=0.8
            )
    axes.set_title("elsewhere: → 0 with κ where d/n or d is fixed", loc="left", fontsize=10)
    axes.legend(fontsize=8, loc="upper left")


def _draw_sizes(
    axes: Axes, rows: list[dict[str, Any]], colour: str, label: str, marker: str = "o"
) -> None:
    """Draw median sizes with their intervals."""
    kappa, middle, low, high = (
        np.array([row[name] for row in rows]) for name in ("kappa", "size", "size_low", "size_high")
    )
    errors = np.abs(np.stack([middle - low, high - middle]))
    axes.errorbar(
        kappa, middle, errors, fmt=marker, color=colour, markersize=4, label=label, linewidth=1
    )


def _draw_sequences(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Draw the ratio against n along epsilon = (d / n)^(3/4), where d grows more slowly than n."""
    names = list(dict.fromkeys(row["regime"] for row in rows))
    for colour, name in zip((TEST, STAR), names, strict=False):
        own = [row for row in rows if row["regime"] == name]
        n, kappa, middle, low, high, limit = (
            np.array([row[column] for row in own])
            for column in ("n", "kappa", "size", "size_low", "size_high", "limit")
        )
        power = name.split("d = ")[1]
        axes.errorbar(
            n, middle, np.stack([middle - low, high - middle]), fmt="o-", color=colour, capsize=3,
            markersize=5, label=f"measured, d = {power}",
        )  # fmt: skip
        axes.plot(n, kappa, "s--", color=colour, markersize=4, label=f"κ → 0, d = {power}")
        if name == names[0]:
            label = "limit n → ∞ at this d/n"
            axes.plot(n, limit, "-", color=THRESHOLD, linewidth=0.8, label=label)
    axes.set_xscale("log")
    shown = [row for row in rows if row["regime"] in names[:2]]
    tops = [row[name] for row in shown for name in ("size", "size_high")]
    axes.set_ylim(0, 1.5 * max([top for top in tops if math.isfinite(top)], default=1.0))
    axes.set_xlabel("number of examples n")
    axes.set_title(
        r"along ε = $(d/n)^{3/4}$, κ → 0: should go to 0, doesn't", loc="left", fontsize=10
    )
    axes.legend(fontsize=8, loc="upper left", ncols=2)
