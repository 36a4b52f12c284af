"""The figure of p-values against log(epsilon / epsilon*), and their calibration."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from phase_jax.report.plots import STAR, STYLE, TEST, THRESHOLD, TRAIN
from phase_jax.simulate.p_value_curves import AXES, LOG_RATIOS, NUM_DRAWS, NUM_EXAMPLES
from phase_jax.simulate.p_value_readings import average, describe_stars
from phase_jax.simulate.significance import TESTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from phase_jax.simulate.p_value_curves import Curves

COLOURS = (STAR, TRAIN, TEST)
MARKERS = ("o", "s", "^")
LINES: dict[str, Any] = {"hotelling": "-", "normal": "--", "rank": ":"}


def draw_curves(curves: list[Curves], title: str) -> Figure:
    """Draw mean p-values over each reading of epsilon*, and p-values at epsilon = 0."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 7.8), layout="constrained")
        panels = figure.subplots(2, 2).ravel()
        for a, (axes, axis) in enumerate(zip(panels[:3], AXES, strict=True)):
            _draw_axis(axes, curves, a)
            axes.set_title(_name_axis(curves, axis), loc="left", fontsize=10)
        _draw_medians(panels[0], curves)
        _draw_calibration(panels[3], curves)
        figure.legend(*_build_legend(curves), loc="outside lower center", ncols=4, fontsize=9)
        count = len(curves[0].clean[TESTS[0]])
        figure.suptitle(
            f"{title}, n = {NUM_EXAMPLES}: {count:,} draws, each against {NUM_DRAWS} clean repeats",
            fontsize=11,
        )
        return figure


def _draw_axis(axes: Axes, curves: list[Curves], place: int) -> None:
    """Draw one reading of epsilon*."""
    for curve, colour, marker in zip(curves, COLOURS, MARKERS, strict=False):
        for test in TESTS:
            columns = curve.p_values[test][:, place].T
            means, errors = np.array([average(column) for column in columns]).T
            if test != TESTS[0]:
                axes.plot(LOG_RATIOS, means, LINES[test], color=colour, linewidth=0.9)
                continue
            axes.plot(LOG_RATIOS, means, f"{marker}-", color=colour, markersize=3)
            low, high = means - 1.96 * errors, means + 1.96 * errors
            axes.fill_between(LOG_RATIOS, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.axvline(0.0, color=THRESHOLD, linewidth=1.0)
    axes.axhline(0.5, color=THRESHOLD, linewidth=0.8, linestyle=(0, (1, 3)))
    axes.set_ylim(0, 1)
    axes.set_xlim(LOG_RATIOS[0], LOG_RATIOS[-1])
    axes.set_xlabel("log(ε/ε*), natural")
    axes.set_ylabel("mean p-value")


def _name_axis(curves: list[Curves], axis: str) -> str:
    """Name a reading of epsilon*, and the draws that have no such value."""
    stars = [curve.stars[axis] for curve in curves]
    if all(np.isfinite(values).all() for values in stars):
        return AXES[axis]
    shares = ", ".join(f"{np.mean(~np.isfinite(values)):.0%}" for values in stars)
    return f"{AXES[axis]}\n(left out, no finite ε*: {shares} of draws)"


def _draw_medians(axes: Axes, curves: list[Curves]) -> None:
    """Mark the median loss threshold among multiples of sqrt(d / n)."""
    for curve, colour in zip(curves, COLOURS, strict=False):
        median = describe_stars(curve)["loss"]["median"]["value"]
        scale = math.sqrt(curve.num_features / NUM_EXAMPLES)
        if median > 0 and math.isfinite(median):
            place = math.log(median / scale)
            axes.plot(place, 0.04, "v", color=colour, markersize=8, markeredgecolor="white")


def _draw_calibration(axes: Axes, curves: list[Curves]) -> None:
    """Draw the distribution of p-values at epsilon = 0, less the uniform one."""
    for curve, colour in zip(curves, COLOURS, strict=False):
        for test in TESTS:
            ordered, counts = np.unique(curve.clean[test], return_counts=True)
            heights = counts.cumsum() / counts.sum() - ordered
            width = 1.6 if test == TESTS[0] else 0.9
            axes.plot(ordered, heights, LINES[test], color=colour, linewidth=width)
    limit = float(stats.kstwo.ppf(0.95, len(curves[0].clean[TESTS[0]])))
    axes.axhspan(-limit, limit, color=THRESHOLD, alpha=0.1, linewidth=0)
    axes.axhline(0.0, color=THRESHOLD, linewidth=0.8)
    axes.set_xlim(0, 1)
    axes.set_ylim(-2 * limit, 2 * limit)
    axes.set_xlabel("p-value at ε = 0")
    axes.set_ylabel("share of p-values at or below p, less p")
    axes.set_title(
        "Calibration: 0 for uniform p-values;\ngrey: 95 % of such samples stay inside",
        loc="left",
        fontsize=10,
    )


def _build_legend(curves: list[Curves]) -> tuple[list[Line2D], list[str]]:
    """Build the legend of all panels, filled column by column: sizes above, tests below."""
    names = ("Hotelling, ± 1.96 s.e.", "mean and variance", "rank")
    handles, labels = [], []
    for place, test in enumerate(TESTS):
        if place < len(curves):
            colour, marker = COLOURS[place], MARKERS[place]
            handles.append(Line2D([], [], color=colour, marker=marker, markersize=4))
            labels.append(f"d = {curves[place].num_features}")
        handles.append(Line2D([], [], color=THRESHOLD, linestyle=LINES[test]))
        labels.append(names[place])
    handles.append(Line2D([], [], color=THRESHOLD, marker="v", markersize=8, linestyle="none"))
    labels.append("median loss threshold, all draws")
    return handles, labels
