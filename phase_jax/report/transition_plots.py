"""The plot of what happens around epsilon*: overfitting in the later epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from phase_jax.report.plots import STYLE, THRESHOLD
from phase_jax.report.wording import format_epsilon
from phase_jax.sweep.overfitting import assess_overfitting

if TYPE_CHECKING:
    from phase_jax.sweep import SweepResult


def draw_overfitting(result: SweepResult) -> Figure:
    """Draw the generalisation gap relative to the reference epoch, from there on (Figure 5).

    Lines are means over the seeds that have a ratio, bands their range.
    """
    overfitting = assess_overfitting(result)
    start, num_epochs = overfitting.reference_epoch, overfitting.gaps.shape[2]
    epochs = np.arange(start, num_epochs + 1)
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(result.epsilons)))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for e, epsilon in enumerate(result.epsilons):
            ratios = overfitting.ratios[e, :, start - 1 :]
            ratios = ratios[np.isfinite(ratios).all(axis=1)]
            if not len(ratios):
                continue
            axes.plot(epochs, ratios.mean(axis=0), color=colours[e], label=format_epsilon(epsilon))
            if len(ratios) > 1:
                low, high = ratios.min(axis=0), ratios.max(axis=0)
                axes.fill_between(epochs, low, high, color=colours[e], alpha=0.12, linewidth=0)
        axes.axhline(1, color=THRESHOLD, linestyle="--", linewidth=1.2)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"generalisation gap / that of epoch {start}")
        axes.margins(x=0.02)
        handles, labels = axes.get_legend_handles_labels()
        if handles:
            columns = 1 if len(labels) <= 14 else 2
            figure.legend(handles, labels, title="ε", loc="outside right center", ncols=columns)
        return figure
