"""The figure of p-values against log(epsilon / epsilon*), and their calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from phase_jax.report.plots import STAR, STYLE, TEST, THRESHOLD, TRAIN
from phase_jax.simulate.p_value_curves import AXES, LOG_RATIOS, NUM_EXAMPLES, average
from phase_jax.simulate.significance import TESTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from phase_jax.simulate.p_value_curves import Curves

COLOURS = (STAR, TRAIN, TEST)
LINES = {"hotelling": "-", "normal": "--", "rank": ":"}


def draw_curves(curves: list[Curves], title: str) -> Figure:
    """Draw mean p-values over each reading of epsilon*, and p-values at epsilon = 0."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 7.6), layout="constrained")
        panels = figure.subplots(2, 2).ravel()
        for a, (axes, axis) in enumerate(zip(panels[:3], AXES, strict=True)):
            _draw_axis(axes, curves, a, AXES[axis])
        _draw_calibration(panels[3], curves)
        handles = [Line2D([], [], color=c) for c in COLOURS]
        handles += [Line2D([], [], color=THRESHOLD, linestyle=LINES[test]) for test in TESTS]  # pyright: ignore
        labels = [f"d = {curve.num_features}" for curve in curves]
        labels += ["Hotelling ± 1.96 s.e.", "mean and variance", "rank"]
        figure.legend(handles, labels, loc="outside lower center", ncols=6)
        figure.suptitle(f"{title}, n = {NUM_EXAMPLES}", fontsize=11)
        return figure


def _draw_axis(axes: Axes, curves: list[Curves], place: int, name: str) -> None:
    """Draw one reading of epsilon*."""
    for curve, colour in zip(curves, COLOURS, strict=True):
        for test in TESTS:
            columns = curve.p_values[test][:, place].T
            means, errors = np.array([average(column) for column in columns]).T
            main = test == TESTS[0]
            axes.plot(LOG_RATIOS, means, LINES[test], color=colour, linewidth=1.8 if main else 0.9)
            if main:
                low, high = means - 1.96 * errors, means + 1.96 * errors
                axes.fill_between(LOG_RATIOS, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.axvline(0.0, color=THRESHOLD, linewidth=1.0)
    axes.axhline(0.5, color=THRESHOLD, linewidth=0.8, linestyle=(0, (1, 3)))
    axes.set_ylim(0, 1)
    axes.set_xlim(LOG_RATIOS[0], LOG_RATIOS[-1])
    axes.set_xlabel("log(ε/ε*), natural")
    axes.set_ylabel("mean p-value")
    axes.set_title(name, loc="left", fontsize=10)


def _draw_calibration(axes: Axes, curves: list[Curves]) -> None:
    """Draw the distribution of p-values at epsilon = 0, less the uniform one."""
    for curve, colour in zip(curves, COLOURS, strict=True):
        for test in TESTS:
            ordered = np.sort(curve.clean[test])
            heights = np.arange(1, len(ordered) + 1) / len(ordered) - ordered
            width = 1.8 if test == TESTS[0] else 0.9
            axes.plot(ordered, heights, LINES[test], color=colour, linewidth=width)
    limit = float(stats.kstwo.ppf(0.95, len(curves[0].clean[TESTS[0]])))
    axes.axhspan(-limit, limit, color=THRESHOLD, alpha=0.1, linewidth=0)
    axes.set_xlim(0, 1)
    reach = max(0.15, 1.5 * limit)
    axes.set_ylim(-reach, reach)
    axes.set_xlabel("p-value at ε = 0")
    axes.set_ylabel("share of p-values at or below, less p")
    axes.set_title("calibration; grey: Kolmogorov-Smirnov, 95 %", loc="left", fontsize=10)
