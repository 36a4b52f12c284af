"""The figure of the phase diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from phase_jax.report.plots import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 1.5
"""Upper end of the colours: with d > n the linf attack leaves a longer minimiser than clean
training."""
LINES = (
    ("collapse", "-", "white", "collapse: θ̂ = 0 above"),
    ("interpolation", "--", "white", "interpolation below (d > n)"),
    ("loss_threshold", "o-", "#E69F00", "ε* of the loss, where its median is finite"),
)


def draw_phase_diagram(rows: list[dict[str, Any]], lines: list[dict[str, Any]]) -> Figure:
    """Draw |theta_hat(epsilon)| / |theta_hat(0)| over d / n and epsilon, one panel a norm."""
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(11.5, 5.6), layout="constrained")
        panels = figure.subplots(1, 2)
        for axes, norm in zip(panels, ("l2", "linf"), strict=True):
            mesh = _draw_lengths(axes, [row for row in rows if row["norm"] == norm])
            _draw_lines(axes, [line for line in lines if line["norm"] == norm])
            axes.set_title({"l2": "ℓ2 attack", "linf": "ℓ∞ attack"}[norm], loc="left", fontsize=10)
            axes.set_xlabel("d / n   (n d = 10,000)")
        panels[0].set_ylabel("attack strength ε, in the unit of x")
        figure.colorbar(
            mesh, ax=panels, label="|θ̂(ε)| / |θ̂(0)|, median of ℓ2 lengths", pad=0.01, extend="max"
        )
        handles, labels = panels[0].get_legend_handles_labels()
        extra, names = panels[1].get_legend_handles_labels()
        handles += [h for h, name in zip(extra, names, strict=True) if name not in labels]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=3, frameon=True, facecolor="#bbbbbb"
        )
        figure.suptitle("Phases of the minimiser of the adversarial train loss, |θ₀| = 2 σ")
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


def _draw_lines(axes: Axes, lines: list[dict[str, Any]]) -> None:
    """Draw the boundaries and the paper's sqrt(d / n)."""
    for name, style, colour, label in LINES:
        values = np.array([line.get(name, np.nan) for line in lines])
        values = np.where(np.isfinite(values), values, np.nan)
        if not np.isnan(values).all():
            ratio = [line["d"] / line["n"] for line in lines]
            axes.plot(ratio, values, style, color=colour, lw=2, ms=4,
                      label=label)  # fmt: skip
    ratio = np.array([line["d"] / line["n"] for line in lines])
    axes.plot(ratio, np.sqrt(ratio), ":", color="#D55E00", lw=2, label="√(d/n)")
    if lines[0]["norm"] == "linf":
        n = np.array([line["n"] for line in lines])
        axes.plot(ratio, n**-0.5, "-.", color="#D55E00", lw=2, label="√(d/n) / √d = 1/√n")
    axes.set_ylim(*_limit(lines[0]["norm"]))


def _limit(norm: str) -> tuple[float, float]:
    return (1e-2, 10**1.5) if norm == "l2" else (1e-3, 10**0.5)
