"""Figures of connectivity: the plane through three networks (Figure 4), losses along curves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from phase_jax.connectivity.write import place_curve
from phase_jax.report.plots import STYLE, TEST, TRAIN
from phase_jax.report.wording import format_epsilon

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from phase_jax.connectivity.result import ConnectivityResult

NUM_LEVELS = 14
MAX_COLUMNS = 3
LOWEST_SHARE = 1e-4
"""Losses below this share of the largest one drawn have its colour."""
NETWORKS = (("start", "o"), ("bend", "^"), ("end", "s"))


def draw_planes(result: ConnectivityResult) -> Figure:
    """Draw the clean train loss on the plane of the first pair of every attack strength."""
    chosen = [int(np.flatnonzero(result.epsilons == s.epsilon)[0]) for s in result.summaries]
    levels = _choose_levels(result.plane.train_loss[chosen], result.curve.train_loss[chosen])
    columns = min(len(chosen), MAX_COLUMNS)
    rows = math.ceil(len(chosen) / columns)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(1.6 + 2.9 * columns, 1.0 + 2.8 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, i in zip(panels, chosen, strict=False):
            drawn = _draw_plane(axes, result, i, levels)
            start, end = format_epsilon(result.from_epsilon), format_epsilon(result.epsilons[i])
            axes.set_title(f"ε = {start} to ε = {end}", loc="left", fontsize=10)
            axes.set_xlabel("distance, start to end")
        for axes in panels[len(chosen) :]:
            axes.remove()
        for axes in panels[: len(chosen) : columns]:
            axes.set_ylabel("distance towards the bend")
        bar = figure.colorbar(
            drawn, ax=panels[: len(chosen)].tolist(), ticks=_choose_ticks(levels), format="%g"
        )
        bar.set_label("clean train loss")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        return figure


def draw_profiles(result: ConnectivityResult) -> Figure:
    """Draw the loss along curves and straight lines, and barriers against the attack strength."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.0, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(result.summaries)))
        for colour, summary in zip(colours, result.summaries, strict=True):
            own = (result.epsilons == summary.epsilon) & result.sound
            if not own.any():
                continue
            name = format_epsilon(summary.epsilon)
            left.plot(result.points, result.curve.train_loss[own].mean(axis=0), color=colour,
                      label=f"ε = {name}")  # fmt: skip
            left.plot(result.points, result.line.train_loss[own].mean(axis=0), "--", color=colour,
                      linewidth=1)  # fmt: skip
        left.plot([], [], "--", color="#777777", linewidth=1, label="straight line")
        left.set_yscale("log")
        left.set_xlabel("t, from start to end")
        left.set_ylabel("clean train loss (mean over pairs)")
        left.set_title("Loss along the curve", loc="left", fontsize=10)
        _draw_barriers(right, result)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=6)
        return figure


def _choose_levels(*losses: np.ndarray) -> np.ndarray:
    """Space levels evenly on a log scale; above the largest loss on a curve little is told apart.

    The top is three times the largest loss on any curve, or the largest of all where that is less.
    """
    values = np.concatenate([part[np.isfinite(part)] for part in losses])
    top = min(values.max(), 3 * float(np.nanmax(losses[-1])))
    bottom = max(values.min(), LOWEST_SHARE * top, 1e-12)
    return np.geomspace(bottom, max(top, 1.001 * bottom), NUM_LEVELS)


def _choose_ticks(levels: np.ndarray) -> list[float]:
    """Choose round numbers within the levels: 1, 2 and 5 times powers of ten."""
    decades = range(math.floor(math.log10(levels[0])), math.ceil(math.log10(levels[-1])) + 1)
    ticks = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    return [tick for tick in ticks if levels[0] <= tick <= levels[-1]]


def _draw_plane(axes: Axes, result: ConnectivityResult, i: int, levels: np.ndarray):
    """Draw one plane, the curve in it and the three networks."""
    losses = np.clip(np.nan_to_num(result.plane.train_loss[i], nan=np.inf), levels[0], None)
    along, up = result.grid[i]
    drawn = axes.contourf(
        along,
        up,
        np.minimum(losses.T, 2 * levels[-1]),
        levels=levels,
        norm=LogNorm(levels[0], levels[-1]),
        cmap="viridis",
        extend="max",
    )
    places = place_curve(result, i)
    axes.plot(*places.T, color="black", linewidth=1.6, label="trained curve")
    for place, (name, marker) in zip(result.anchor_places[i], NETWORKS, strict=True):
        axes.plot(*place, marker, color="white", markeredgecolor="black", markersize=7,
                  label=name, linestyle="none")  # fmt: skip
    return drawn


def _draw_barriers(axes: Axes, result: ConnectivityResult) -> None:
    """Draw the barriers of curves and straight lines with their intervals."""
    epsilons = np.array([summary.epsilon for summary in result.summaries]) * 255
    series = (
        ([s.line_barrier for s in result.summaries], TEST, "s--", "straight line"),
        ([s.barrier for s in result.summaries], TRAIN, "o-", "trained curve"),
    )
    for means, colour, form, label in series:
        values = np.array([_or_nan(mean.value) for mean in means])
        axes.plot(epsilons, values, form, color=colour, markersize=4, label=label)
        ends = np.array([[_or_nan(m.low), _or_nan(m.high)] for m in means]).T
        axes.vlines(epsilons, *ends, color=colour, linewidth=1)
    level = f"{100 * result.settings.confidence:g} %"
    axes.set_xlabel("attack strength of the end ε (units of 1/255)")
    axes.set_ylabel(f"barrier in clean train loss ({level} intervals)")
    axes.set_title("Rise above the line between the ends' losses", loc="left", fontsize=10)
    axes.set_yscale("symlog", linthresh=_find_threshold(series))
    axes.set_ylim(bottom=0)
    axes.legend(loc="best")


def _find_threshold(series: tuple) -> float:
    """Find the smallest positive mean: below it the scale is linear, so that zero can be drawn."""
    values = [mean.value for means, *_ in series for mean in means if mean.value]
    return max(min(values, default=1e-3), 1e-6)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
