"""The figures of the scaling study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from scipy import stats

from phase_jax.linear import moments
from phase_jax.report.plots import STAR, STYLE, TEST, THRESHOLD, TRAIN
from phase_jax.simulate.limit import (
    MEAN_ABSOLUTE,
    limit_epsilon_star,
    limit_trajectory_epsilon,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {0.5: STAR, 1.0: TRAIN, 2.0: TEST}
MARKERS = "ovs^D<P*X"
RATIOS = np.logspace(-3.2, 2, 40)
"""Where the limits are drawn; beyond 1 the trajectory threshold's limit is not known."""
LIMITS = {"loss": limit_epsilon_star, "trajectory": limit_trajectory_epsilon}
NAMES = {
    "loss": "loss threshold: train loss reaches the clean test loss",
    "trajectory": "trajectory threshold: minimisers |Std θ̂(0)| apart",
}


def draw_scaling(rows: list[dict[str, Any]]) -> Figure:
    """Draw both thresholds against d / n, and the shares of undefined and infinite draws."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.5, 9.0), layout="constrained")
        panels = figure.subplots(2, 2)
        for axes, threshold in zip(panels[0], NAMES, strict=True):
            _draw_threshold(axes, [row for row in rows if row["threshold"] == threshold])
            axes.set_title(NAMES[threshold], loc="left", fontsize=10)
        loss = [row for row in rows if row["threshold"] == "loss"]
        _draw_undefined(panels[1, 0], loss)
        _draw_infinite(panels[1, 1], loss)
        panels[0, 0].set_ylabel("ε*, in the unit of x   (median, 95 % interval)")
        figure.suptitle(
            "Critical attack strength ε* of the linear model (Theorems 1 and 2), ℓ2 attack, exact"
        )
        return figure


def _draw_threshold(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Draw medians, their limits and the two laws."""
    threshold = rows[0]["threshold"]
    sizes = sorted({row["n"] for row in rows})
    for snr, colour in COLOURS.items():
        axes.plot(*_trace_limit(threshold, snr), color=colour, linewidth=1,
                  label=f"|θ₀|/σ = {snr:g}: limit n → ∞")  # fmt: skip
        for marker, size in zip(MARKERS, sizes, strict=False):
            own = [row for row in rows if row["snr"] == snr and row["n"] == size]
            own = [row for row in own if 0 < row["median"] < np.inf]
            ratio, middle, low, high = (
                np.array([row[name] for row in own])
                for name in ("ratio", "median", "median_low", "median_high")
            )
            low, high = np.clip(low, 1e-9, None), np.where(np.isfinite(high), high, middle)
            axes.errorbar(ratio, middle, np.stack([middle - low, high - middle]), fmt=marker,
                          color=colour, markersize=4, linewidth=0.8)  # fmt: skip
    for marker, size in zip(MARKERS, sizes, strict=False):
        axes.plot([], [], marker, color=THRESHOLD, markersize=4, label=f"n = {size}")
    label = "1.25 √(d/n), the order the paper gives"
    axes.plot(RATIOS, RATIOS**0.5 / MEAN_ABSOLUTE, "--", color=THRESHOLD, label=label)
    if threshold == "loss":
        axes.plot(RATIOS, RATIOS / MEAN_ABSOLUTE, ":", color=THRESHOLD,
                  label="1.25 (σ/|θ₀|) d/n, |θ₀| = σ")  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("d / n")
    axes.set_ylim(2e-5 if threshold == "loss" else 2e-2, 30)
    axes.legend(fontsize=7.5, ncols=2, loc="lower right" if threshold == "loss" else "upper left")


def _trace_limit(threshold: str, snr: float) -> tuple[np.ndarray, np.ndarray]:
    """Compute a threshold's limit along `RATIOS`; nan where it is infinite or not known."""
    limits = [
        LIMITS[threshold](float(ratio), snr) if threshold == "loss" or ratio < 1 else np.nan
        for ratio in RATIOS
    ]
    return RATIOS, np.where(np.isfinite(limits), limits, np.nan)


def _draw_undefined(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Draw the share of undefined draws against d / sqrt(n)."""
    own = [row for row in rows if row["snr"] == 1.0 and row["ratio"] <= 0.1]
    for marker, size in zip(MARKERS, sorted({row["n"] for row in own}), strict=False):
        some = [row for row in own if row["n"] == size]
        _draw_shares(axes, some, "undefined", [r["d"] / size**0.5 for r in some], marker, THRESHOLD,
                     f"n = {size}")  # fmt: skip
    size = max(row["n"] for row in own)
    root = size**0.5
    features = np.unique(np.geomspace(max(1.0, 0.1 * root), min(4 * root, size / 2), 40).round())
    places = features / root
    shares = [predict_undefined(size, int(count)) for count in features]
    axes.plot(places, shares, color=TEST, label=f"normal, corrected moments of Δ, n = {size}")
    axes.set_xscale("log")
    axes.set_xticks([0.1, 0.2, 0.5, 1, 2, 4], ["0.1", "0.2", "0.5", "1", "2", "4"])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("d / √n")
    axes.set_ylabel("share of draws   (95 % interval)")
    axes.set_title(
        "ε* of the loss undefined: Δ < 0  (|θ₀| = σ, d/n ≤ 0.1)", loc="left", fontsize=10
    )
    axes.legend(fontsize=8)


def predict_undefined(num_examples: int, num_features: int) -> float:
    """Predict the share of undefined draws: Delta normal, with Lemma 2's corrected moments."""
    mean = float(moments.gap_mean(num_examples, num_features, 1.0, 1.0))
    variance = float(moments.gap_variance(num_examples, num_features, 1.0, 1.0))
    return float(stats.norm.cdf(-mean / variance**0.5))


def _draw_infinite(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Draw the share of infinite draws against d / n, and where the limit has them."""
    sizes = sorted({row["n"] for row in rows})
    for snr, colour in COLOURS.items():
        for marker, size in zip(MARKERS, sizes, strict=False):
            own = [r for r in rows if r["snr"] == snr and r["n"] == size and r["ratio"] >= 0.03]
            if own:
                label = f"n = {size}" if snr == 1 else None
                places = [r["ratio"] for r in own]
                _draw_shares(axes, own, "infinite", places, marker, colour, label)
        square = snr**2
        start, end = square / (1 + square), square / (square - 1) if snr > 1 else 200.0
        axes.plot([0.01, start, start, end, end, 200], [0, 0, 1, 1, 0, 0], color=colour,
                  linewidth=1, label=f"|θ₀|/σ = {snr:g}: limit")  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(0.03, 110)
    axes.set_xlabel("d / n")
    axes.set_title("ε* of the loss infinite: clean risk ≥ mean(y²)", loc="left", fontsize=10)
    axes.set_ylim(-0.04, 1.45)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.legend(fontsize=8, loc="upper left", ncols=2)


def _draw_shares(
    axes: Axes,
    rows: list[dict[str, Any]],
    name: str,
    places: list[float],
    marker: str,
    colour: str,
    label: str | None,
) -> None:
    """Draw shares with their intervals."""
    share, low, high = (
        np.array([row[key] for row in rows]) for key in (name, f"{name}_low", f"{name}_high")
    )
    axes.errorbar(places, share, np.clip(np.stack([share - low, high - share]), 0, None),
                  fmt=marker, color=colour, markersize=4, linewidth=0.8, label=label)  # fmt: skip


def draw_exponents(local: list[dict[str, Any]], fits: list[dict[str, Any]]) -> Figure:
    """Draw exponents fitted and between neighbouring cells, with the limit's and the laws'."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 4.6), layout="constrained")
        for axes, threshold in zip(figure.subplots(1, 2), NAMES, strict=True):
            _draw_local(axes, threshold, [row for row in local if row["threshold"] == threshold])
            own = [fit for fit in fits if fit["is_main"] and fit["threshold"] == threshold]
            _draw_fits(axes, [fit for fit in own if fit["estimate"] == own[-1]["estimate"]])
            axes.set_title(NAMES[threshold], loc="left", fontsize=10)
            axes.set_xscale("log")
            axes.set_xlabel("d / n")
            axes.legend(fontsize=8, loc="upper left")
        figure.axes[0].set_ylabel("exponent of ε* in d/n   (95 % interval)")
        figure.suptitle(
            "Exponent of ε* in d/n: the paper has ½ for both; points between neighbouring d, "
            "bars fitted"
        )
        return figure


def _draw_local(axes: Axes, threshold: str, local: list[dict[str, Any]]) -> None:
    """Draw one threshold's exponents."""
    for snr, colour in COLOURS.items():
        ratios, limits = _trace_limit(threshold, snr)
        ratios, limits = ratios[ratios < 1], limits[ratios < 1]
        slopes = np.diff(np.log(limits)) / np.diff(np.log(ratios))
        axes.plot(np.sqrt(ratios[1:] * ratios[:-1]), slopes, color=colour, linewidth=1,
                  label=f"|θ₀|/σ = {snr:g}: limit n → ∞")  # fmt: skip
        own = [row for row in local if row["snr"] == snr and row["ratio"] < 1]
        axes.errorbar(
            [row["ratio"] for row in own],
            [row["exponent"] for row in own],
            [1.96 * row["exponent_error"] for row in own],
            fmt="o", color=colour, markersize=4, linewidth=0.8,
        )  # fmt: skip
    for value, text in ((1.0, "1: order d/n"), (0.5, "½: order √(d/n), the paper's")):
        axes.axhline(value, color=THRESHOLD, linestyle="--" if value < 1 else ":", label=text)
    axes.set_ylim(0.3, 1.6)


def _draw_fits(axes: Axes, fits: list[dict[str, Any]]) -> None:
    """Draw the exponents of the main fits over the cells that they come from."""
    for fit in fits:
        colour, ends = COLOURS[fit["snr"]], (fit["ratio_from"], fit["ratio_to"])
        low, high = fit["exponent_low"], fit["exponent_high"]
        label = "fitted over these d/n, several n" if fit["snr"] == 1 else None
        axes.plot(ends, [fit["exponent"]] * 2, color=colour, linewidth=2.5, label=label)
        axes.fill_between(ends, [low] * 2, [high] * 2, color=colour, alpha=0.18, linewidth=0)
