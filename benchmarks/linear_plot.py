"""The plot of `linear.py`: what trajectories and exact solves cost against each size."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from phase_jax.report.plots import STYLE, TEST, THRESHOLD, TRAIN

NAMES = {
    "R": "replicates R",
    "E": "attack strengths E",
    "N": "examples n",
    "D": "features d",
}


def draw_benchmark(curves, path):
    """Draw a panel for each size and write it."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.0, 6.4), layout="constrained")
        panels = figure.subplots(2, 4)
        rows = (
            ("trajectories", TRAIN, "milliseconds, all trajectories", panels[0]),
            ("solves", TEST, "milliseconds a solve", panels[1]),
        )
        for part, colour, label, row in rows:
            for axes, (axis, points) in zip(row, curves[part].items(), strict=False):
                draw_cost(axes, points, colour)
                axes.set_title(f"{part}: {NAMES[axis]}", loc="left", fontsize=10)
                axes.set_xlabel(NAMES[axis])
            row[0].set_ylabel(label)
        for axes in panels[1][len(curves["solves"]) :]:
            axes.set_axis_off()
        note = panels[1][2].text(
            0.0,
            0.95,
            "Median and range of 3 repeats, float64.\nDotted: proportional to the size.\n\n"
            "Trajectories: R = 300, E = 24, n = 100, d = 10,\n100 steps, chunks of 75, two in "
            "flight.\nSolves: n = 1,000, d = 20, ℓ2, chunks of 8,\ntwo in flight.",
            va="top",
        )
        note.set_in_layout(False)
        figure.savefig(path, dpi=110)


def draw_cost(axes, points, colour):
    """Draw times against a size, with a guide of slope one."""
    size = np.array([value for value, _ in points], float)
    low, middle, high = (
        1e3 * np.array([seconds[name] for _, seconds in points])
        for name in ("min", "median", "max")
    )
    axes.errorbar(size, middle, yerr=(middle - low, high - middle), color=colour, marker="o")
    axes.plot(size, middle[-1] * size / size[-1], ":", color=THRESHOLD)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(size))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    axes.set_ylim(0.5 * middle.min(), 2 * middle.max())
