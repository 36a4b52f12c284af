"""The figures of a fine-tuning: losses with their line (Figure A.1), learning rate (Figure B.1)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import jax
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from phase_jax.finetune.extrapolate import take_train_losses
from phase_jax.report.plots import STAR, STYLE, TEST, THRESHOLD, TRAIN
from phase_jax.report.wording import format_epsilon
from phase_jax.training.optimizer import build_schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from phase_jax.finetune.result import FineTuningResult

SCALE = 255.0
REACH = 4.0
"""An axis of attack strengths ends at this multiple of the largest one fine-tuned, at most."""
POINTS = 10
"""Points of the schedule drawn for every epoch."""
MARKERS = {"line": "s", "regression": "o", "isotonic": "^", "monotone_spline": "v"}
LABELS = {
    "line": "one-point line",
    "regression": "line through all points",
    "isotonic": "isotonic",
    "monotone_spline": "monotone spline",
}


def draw_fit(result: FineTuningResult) -> Figure:
    """Draw fine-tuned train losses with their line and every epsilon*, a panel for each attack."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.6 + 4.2 * len(result.runs), 4.4), layout="constrained")
        panels = figure.subplots(1, len(result.runs), sharey=True, squeeze=False)[0]
        for axes, attack in zip(panels, result.runs, strict=True):
            _draw_attack(axes, result, attack)
        panels[0].set_ylabel("adversarial train loss")
        entries = {}
        for axes in panels:
            handles, labels = axes.get_legend_handles_labels()
            entries |= dict(zip(labels, handles, strict=True))
        figure.legend(
            entries.values(), entries.keys(), loc="outside lower center", ncols=2 * len(panels)
        )
        return figure


def draw_schedule(result: FineTuningResult) -> Figure:
    """Draw the learning rate of fine-tuning as a multiple of its full value, against the epoch."""
    training = next(iter(result.runs.values())).config.training
    num_steps = POINTS * training.num_epochs
    steps = np.arange(num_steps + 1)
    shape = dataclasses.replace(training, learning_rate=1.0)
    multiples = np.asarray(jax.vmap(build_schedule(shape, num_steps))(steps))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(steps / POINTS, multiples, color=TRAIN)
        axes.set_xlabel("epoch of fine-tuning")
        axes.set_ylabel(f"multiple of the learning rate, {training.learning_rate:g}")
        axes.set_ylim(0, 1.05)
        axes.margins(x=0.01)
        return figure


def _draw_attack(axes: Axes, result: FineTuningResult, attack: str) -> None:
    """Draw one attack's points, line, threshold and extrapolations."""
    run, fit = result.runs[attack], result.fits[attack]
    epsilons, losses = run.epsilons * SCALE, take_train_losses(run)
    label = "train loss"
    if losses.shape[1] > 1:
        axes.plot(epsilons, losses, color=TRAIN, linewidth=0.7, alpha=0.45)
        label = "train loss (lines: seeds)"
    counts = np.isfinite(losses).sum(axis=1)
    means = np.where(counts > 0, np.nansum(losses, axis=1) / np.maximum(counts, 1), np.nan)
    axes.plot(epsilons, means, "o", color=TRAIN, label=label)
    axes.axhline(run.threshold, color=THRESHOLD, linestyle="--", label="clean test loss")
    stars = [e for e in result.extrapolations if e.attack == attack]
    values = [e.estimate.value * SCALE for e in stars if e.estimate.value is not None]
    reach = REACH * epsilons[-1]
    right = 1.08 * min(max([epsilons[-1], *values]), reach)
    axes.plot(
        [0, right],
        [fit.intercept, fit.intercept + fit.slope * right / SCALE],
        color=TEST,
        linewidth=1.2,
        label="line through their means",
    )
    for star in stars:
        value = star.estimate.value
        if value is None or value * SCALE > reach:
            continue
        axes.plot(
            value * SCALE,
            run.threshold,
            MARKERS[star.method],
            color=STAR,
            markerfacecolor="white",
            markersize=8,
            label=f"ε*, {LABELS[star.method]}",
        )
    axes.set_xlim(0, right)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("attack strength ε (units of 1/255)")
    star = next(e.estimate.value for e in stars if e.method == "regression")
    found = "no ε*" if star is None else f"ε* = {format_epsilon(star)}"
    axes.set_title(f"{attack.upper()}: {found}, R² = {fit.r_squared:.3f}", loc="left", fontsize=10)
