"""The figure of the phase diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure

from phase_jax.report.plots import STYLE
from phase_jax.simulate.phase_diagram_findings import FEW

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 1.5
"""Upper end of the colours: with d > n the linf attack leaves a longer minimiser than clean
training."""
PAPER, STAR = "#D55E00", "#F0E442"
THIN = (patheffects.withStroke(linewidth=2, foreground="black"),)
OUTLINE = (patheffects.withStroke(linewidth=4, foreground="black"),)
"""Keeps lines apart from every colour beneath them."""


def draw_phase_diagram(rows: list[dict[str, Any]], lines: list[dict[str, Any]]) -> Figure:
    """Draw |theta_hat(epsilon)| / |theta_hat(0)| over d / n and epsilon, one panel a norm."""
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(12.0, 6.2), layout="constrained")
        panels = figure.subplots(1, 2)
        for axes, norm in zip(panels, ("l2", "linf"), strict=True):
            own = [row for row in rows if row["norm"] == norm]
            mesh = _draw_lengths(axes, own)
            bounds = [line for line in lines if line["norm"] == norm]
            _draw_boundaries(axes, bounds)
            _draw_star(axes, bounds)
            axes.set_title({"l2": "ℓ2 attack", "linf": "ℓ∞ attack"}[norm], loc="left", fontsize=10)
            axes.set_xlabel("features per example, d / n   (n d = 10,000)")
            axes.set_ylim(min(row["epsilon"] for row in own), max(row["epsilon"] for row in own))
        panels[0].set_ylabel("attack strength ε, in the unit of x")
        figure.colorbar(
            mesh, ax=panels, label="|θ̂(ε)| / |θ̂(0)|, median of ℓ2 lengths", pad=0.01, extend="max"
        )
        handles, labels = panels[1].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=3,
            frameon=True,
            facecolor="#c8c8c8",
            fontsize=9,
        )
        figure.suptitle(
            "Phases of the minimiser of the adversarial train loss (Theorem 1), |θ₀| = 2 σ"
        )
        return figure


def _draw_lengths(axes: Axes, rows: list[dict[str, Any]]) -> Any:
    """Draw the heat map."""
    ratios = sorted({row["d"] / row["n"] for row in rows})
    epsilons = sorted({row["epsilon"] for row in rows})
    lengths = np.full((len(epsilons), len(ratios)), np.nan)
    for row in rows:
        lengths[epsilons.index(row["epsilon"]), ratios.index(row["d"] / row["n"])] = row["length"]
    mesh = axes.pcolormesh(
        _find_edges(ratios), _find_edges(epsilons), lengths, cmap="viridis", vmin=0, vmax=LONGEST
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    return mesh


def _find_edges(centers: list[float]) -> np.ndarray:
    """Find the edges of cells around their centers, in the logarithm."""
    logs = np.log(centers)
    inner = (logs[1:] + logs[:-1]) / 2
    return np.exp([2 * logs[0] - inner[0], *inner, 2 * logs[-1] - inner[-1]])


def _draw_boundaries(axes: Axes, lines: list[dict[str, Any]]) -> None:
    """Draw collapse, interpolation, and the paper's sqrt(d / n)."""
    ratio = np.array([line["d"] / line["n"] for line in lines])
    for name, style, label in (
        ("collapse", "-", "collapse (median): θ̂ = 0 above"),
        ("interpolation", "--", "interpolation below (median), d > n"),
    ):
        values = np.array([line.get(name, np.nan) for line in lines])
        axes.plot(ratio, values, style, color="white", lw=2, label=label, path_effects=OUTLINE)
    strokes = [("√(d/n), the paper's order of ε*", ":", np.sqrt(ratio))]
    if lines[0]["norm"] == "linf":
        scaled = np.array([line["n"] ** -0.5 for line in lines])
        strokes.append(("1/√n, its ℓ∞ counterpart", "-.", scaled))
    for label, style, values in strokes:
        axes.plot(ratio, values, style, color=PAPER, lw=2, label=label, path_effects=OUTLINE)


def _draw_star(axes: Axes, lines: list[dict[str, Any]]) -> None:
    """Draw the loss threshold where most draws have one, with the share of those that do."""
    ratio = np.array([line["d"] / line["n"] for line in lines])
    share = np.array([line["share_finite"] for line in lines])
    middle, low, high = (
        np.where(share >= FEW, [line[name] for line in lines], np.nan)
        for name in ("loss_threshold", "loss_threshold_low", "loss_threshold_high")
    )
    low, high = np.where(np.isfinite(low), low, middle), np.where(np.isfinite(high), high, middle)
    bars = np.clip(np.stack([middle - low, high - middle]), 0, None)
    label = f"ε* of the loss, median of the finite draws (their share; at least {FEW:.0%})"
    axes.errorbar(
        ratio, middle, bars, fmt="o-", color=STAR, lw=2, ms=5, mec="black", ecolor=STAR,
        capsize=3, label=label, path_effects=OUTLINE,
    )  # fmt: skip
    for place, height, part in zip(ratio, middle, share, strict=True):
        if np.isfinite(height):
            axes.annotate(
                f"{part:.0%}", (place, height), (8, -12), textcoords="offset points",
                color="white", fontsize=8, path_effects=THIN,
            )  # fmt: skip
