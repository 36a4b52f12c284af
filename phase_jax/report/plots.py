"""The plots of a sweep. Colours are told apart by colour-blind readers and in grey print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from phase_jax.report.wording import format_epsilon, format_interval
from phase_jax.types import LaneStatus

if TYPE_CHECKING:
    import pathlib

    from matplotlib.axes import Axes

    from phase_jax.sweep import SweepResult

TRAIN, TEST, THRESHOLD, STAR = "#0072B2", "#D55E00", "#444444", "#009E73"
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "savefig.dpi": 160,
    "svg.hashsalt": "phase_jax",
}


def draw_loss_curve(result: SweepResult) -> Figure:
    """Draw train and test loss against epsilon, the threshold, and epsilon* with its interval."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 5.0), layout="constrained")
        axes = figure.add_subplot()
        scale = 255.0
        lanes, config = result.lanes, result.config
        epsilons = result.epsilons * scale
        logged = config.solver.train_loss == "logged"
        train = lanes.train_loss if logged else lanes.evaluated_train_loss
        counts = lanes.status == LaneStatus.OK
        _draw_curve(axes, epsilons, train, counts, TRAIN, "o", "adversarial train loss")
        _draw_curve(
            axes, epsilons, lanes.evaluated_test_loss, counts, TEST, "s", "adversarial test loss"
        )
        axes.axhline(
            result.threshold,
            color=THRESHOLD,
            linestyle="--",
            linewidth=1.2,
            label=f"clean test loss of the clean model, {result.threshold:.3g}",
        )
        _draw_star(axes, result, scale)
        norm = {"linf": "ℓ∞", "l2": "ℓ2"}[config.attack.norm]
        axes.set_xlabel(f"attack strength ε ({norm} radius, units of 1/255)")
        own = result.cross_entropy is not None
        axes.set_ylabel(f"loss of {result.description['objective']}" if own else "loss")
        axes.set_title(_title(result), loc="left", fontsize=11)
        _set_heights(axes, np.append(train[counts], result.threshold))
        axes.set_xlim(0, 1.04 * epsilons[-1])
        _mark_failed(axes, epsilons, counts)
        figure.legend(loc="outside lower center", ncols=2)
        return figure


def draw_learning_curves(result: SweepResult) -> Figure:
    """Draw train and test loss against the epoch, one colour an epsilon.

    Lines are means over seeds whose lanes are OK; lanes that failed are dotted, each by itself.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2, sharex=True)
        colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(result.epsilons)))
        counts = result.lanes.status == LaneStatus.OK
        epochs = np.arange(1, result.history["train_loss"].shape[2] + 1)
        for e, epsilon in enumerate(result.epsilons):
            label = format_epsilon(epsilon)
            for axes, name in ((left, "train_loss"), (right, "test_loss")):
                curves, sound = result.history[name][e], counts[e]
                means = curves[sound].mean(axis=0) if sound.any() else np.full(len(epochs), np.nan)
                axes.plot(epochs, means, color=colours[e], label=label)
                if not sound.all():
                    axes.plot(epochs, curves[~sound].T, ":", color=colours[e], linewidth=1)
            chosen = result.lanes.selected_epoch[e][counts[e]]
            heights = result.lanes.test_loss[e][counts[e]]
            right.plot(
                chosen, heights, "o", color=colours[e], markersize=4, markeredgecolor="white"
            )
        left.set_title("adversarial train loss (logged)", loc="left", fontsize=10)
        right.set_title("adversarial test loss, • selected epochs", loc="left", fontsize=10)
        for axes, name in ((left, "train_loss"), (right, "test_loss")):
            _set_heights(axes, result.history[name][counts])
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.margins(x=0.02)
        dotted = "" if counts.all() else "; failed lanes dotted"
        left.set_ylabel(f"loss (mean over seeds{dotted})")
        handles, labels = left.get_legend_handles_labels()
        columns = 1 if len(labels) <= 14 else 2
        figure.legend(handles, labels, title="ε", loc="outside right center", ncols=columns)
        return figure


def save_figure(figure: Figure, path: pathlib.Path) -> None:
    """Save a figure as its suffix says; the same figure gives the same bytes."""
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_curve(
    axes: Axes,
    epsilons: np.ndarray,
    losses: np.ndarray,
    counts: np.ndarray,
    colour: str,
    marker: str,
    label: str,
) -> None:
    """Draw every seed thinly and their mean on top."""
    losses = np.where(counts, losses, np.nan)
    if losses.shape[1] > 1:
        axes.plot(epsilons, losses, color=colour, linewidth=0.7, alpha=0.45)
    number = counts.sum(axis=1)
    means = np.where(number > 0, np.nansum(losses, axis=1) / np.maximum(number, 1), np.nan)
    axes.plot(epsilons, means, color=colour, marker=marker, markersize=4, label=label)


def _set_heights(axes: Axes, losses: np.ndarray) -> None:
    """Start at zero, unless that would squeeze all losses into the upper half."""
    losses = losses[np.isfinite(losses)]
    if not losses.size:
        return
    low, high = losses.min(), losses.max()
    room = (high - low) / 8
    if high > low > high / 2:
        axes.set_ylim(low - room, high + room)
    else:
        axes.set_ylim(0, 1.2 * high)


def _mark_failed(axes: Axes, epsilons: np.ndarray, counts: np.ndarray) -> None:
    """Mark attack strengths with failed lanes at the upper edge, where no loss can be drawn."""
    failed = epsilons[~counts.all(axis=1)]
    if failed.size:
        axes.plot(
            failed,
            np.full(len(failed), 0.98),
            "x",
            color="#777777",
            transform=axes.get_xaxis_transform(),
            label="lanes that diverged or collapsed here",
        )


def _draw_star(axes: Axes, result: SweepResult, scale: float) -> None:
    """Draw epsilon* as a line and its interval as a band."""
    estimate = result.epsilon_star
    right = result.epsilons[-1] * scale
    if estimate.low is not None and estimate.value is not None:
        high = right if estimate.high is None else estimate.high * scale
        axes.axvspan(estimate.low * scale, high, color=STAR, alpha=0.15, linewidth=0)
    if estimate.value is not None:
        axes.axvline(
            estimate.value * scale,
            color=STAR,
            linewidth=1.6,
            label=f"ε* = {format_epsilon(estimate.value)}\n({format_interval(estimate)})",
        )


def _title(result: SweepResult) -> str:
    data, model = result.description["data"], result.description["model"]
    seeds = len(result.seeds)
    return (
        f"{data['name']}, {data['num_train']:,} training images, {model['name']}, "
        f"{result.config.attack.name.upper()}, {seeds} seed{'s' if seeds > 1 else ''}"
    )
