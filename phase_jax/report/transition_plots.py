"""The plots of what happens around epsilon*: where it shows, overfitting in the later epochs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from phase_jax.report.plots import STAR, STYLE, THRESHOLD, TRAIN
from phase_jax.report.transition import LEVELS
from phase_jax.report.wording import format_epsilon
from phase_jax.sweep.overfitting import assess_overfitting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from phase_jax.report.mean import Mean
    from phase_jax.report.transition import Transition
    from phase_jax.sweep import SweepResult

COLUMNS = 3
TITLES = {
    "train_loss_ratio": "Adversarial train loss / threshold",
    "clean_loss_rise": "Clean test loss, rise",
    "clean_accuracy_drop": "Clean test accuracy, drop",
    "distance": "Distance of parameters, relative",
    "gap_growth": "Generalisation gap, late / reference",
    "unstable": "Share of catastrophic overfitting",
    "barrier": "Barrier on a curve to the clean model",
    "audit_rise": "Train loss, rise under an audit",
}


def draw_transition(transition: Transition) -> Figure:
    """Draw every measure against epsilon / epsilon*, or epsilon where epsilon* has no value.

    Bars are the intervals of the means.
    """
    has_star = bool(np.isfinite(transition.ratios).all())
    places = transition.ratios if has_star else 255 * transition.epsilons
    known = transition.known
    rows = max(math.ceil(len(known) / COLUMNS), 1)
    with matplotlib.rc_context({**STYLE, "font.size": 9}):
        figure = Figure(figsize=(10.0, 0.5 + 2.4 * rows), layout="constrained")
        panels = figure.subplots(rows, COLUMNS, sharex=True, squeeze=False).ravel()
        for axes, (name, means) in zip(panels, known.items(), strict=False):
            _draw_measure(axes, name, places, means)
            if has_star:
                axes.axvline(1, color=STAR, linewidth=1.4)
        for axes in panels[len(known) :]:
            axes.remove()
        for axes in panels[: len(known)][-COLUMNS:]:
            axes.set_xlabel("ε / ε*" if has_star else "ε (units of 1/255)")
            axes.tick_params(labelbottom=True)
        return figure


def _draw_measure(axes: Axes, name: str, places: np.ndarray, means: tuple[Mean, ...]) -> None:
    """Draw one measure with its intervals; what is unknown is left out."""
    columns = ([mean.value for mean in means], [m.low for m in means], [m.high for m in means])
    values, low, high = (np.array(column, float) for column in columns)
    known = np.isfinite(values)
    axes.axhline(LEVELS.get(name, 0.0), color=THRESHOLD, linestyle="--", linewidth=1)
    axes.plot(places[known], values[known], "o-", color=TRAIN, markersize=3.5)
    axes.vlines(places, low, high, color=TRAIN, linewidth=1)
    if name == "unstable":
        axes.set_ylim(-0.05, 1.05)
    axes.set_title(TITLES[name], loc="left", fontsize=9)


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
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"generalisation gap / that of epoch {start}")
        axes.margins(x=0.02)
        handles, labels = axes.get_legend_handles_labels()
        if handles:
            columns = 1 if len(labels) <= 14 else 2
            figure.legend(handles, labels, title="ε", loc="outside right center", ncols=columns)
        return figure
