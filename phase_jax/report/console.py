"""What a run shows in the terminal: progress while it runs, a table and a verdict at the end."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from phase_jax.report.table import tabulate_strengths
from phase_jax.report.wording import (
    describe_cautions,
    describe_outcome,
    format_epsilon,
    format_interval,
)

if TYPE_CHECKING:
    import pathlib
    from types import TracebackType

    from phase_jax.sweep import SweepProgress, SweepResult
    from phase_jax.types import EpsilonStarEstimate

PHASES = {"compile": "compiling", "train": "training", "evaluate": "evaluating all images"}
PLAIN_WIDTH = 120
"""Columns of tables where there is no terminal."""


def open_console() -> Console:
    """Open the standard output; in a file, tables are `PLAIN_WIDTH` wide."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def print_paragraph(console: Console, text: str, style: str | None = None) -> None:
    """Print one paragraph as it is; in a file it stays one line."""
    console.print(
        text, markup=False, highlight=False, soft_wrap=not console.is_terminal, style=style
    )


class ProgressDisplay:
    """Live progress in a terminal, plain lines elsewhere; use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = None
        if console.is_terminal:
            self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> ProgressDisplay:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)

    def show(self, progress: SweepProgress) -> None:
        """Show one report of a running sweep."""
        if progress.phase not in PHASES:
            return
        if self._live:
            self._live.update(_progress_table(progress))
        else:
            self._console.print(_progress_line(progress), highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_summary(console: Console, result: SweepResult, out: pathlib.Path) -> None:
    """Print the table of attack strengths, cautions, the verdict and where the files are."""
    plain = not console.is_terminal  # one line stays one line in a file
    header, rows = tabulate_strengths(result)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(
        f"threshold (clean test loss of the clean model) {result.threshold:.4f}; "
        f"{_describe_other(result)}",
        highlight=False,
        soft_wrap=plain,
    )
    if result.cross_entropy is not None:
        console.print(_describe_cross_entropy(result), highlight=False, soft_wrap=plain)
    for caution in describe_cautions(result):
        console.print(f"caution: {caution}", style="yellow", highlight=False, soft_wrap=plain)
    console.print(describe_outcome(result), style="bold", highlight=False, soft_wrap=plain)
    seconds = result.seconds
    console.print(
        f"{seconds['total']:.0f} s, of which compiling {seconds['compile']:.0f} s; "
        f"results in {out}",
        highlight=False,
        soft_wrap=plain,
    )


def _describe_other(result: SweepResult) -> str:
    name = "evaluated" if result.config.solver.train_loss == "logged" else "logged"
    return f"from the {name} train loss {_describe_estimate(result.epsilon_star_other)}"


def _describe_cross_entropy(result: SweepResult) -> str:
    """Say what plain cross-entropy gives, by which objectives can be compared."""
    reading = result.cross_entropy
    if reading is None:
        return ""
    threshold = result.average_thresholds(reading.thresholds)
    return (
        f"losses are {result.description['train_loss']}; from plain cross-entropy (threshold "
        f"{threshold:.4f}) {_describe_estimate(reading.epsilon_star)}"
    )


def _describe_estimate(estimate: EpsilonStarEstimate) -> str:
    if estimate.value is None:
        return f"epsilon* is {estimate.status.name}"
    return f"epsilon* = {format_epsilon(estimate.value)} ({format_interval(estimate)})"


def _progress_line(progress: SweepProgress) -> str:
    if progress.epoch == 0 or progress.phase != "train":
        return f"{PHASES[progress.phase]} ({progress.num_lanes} lanes)"
    losses = ", ".join(
        f"{format_epsilon(epsilon)}: {loss:.3f}"
        for epsilon, loss in zip(progress.epsilons, progress.train_losses, strict=True)
    )
    return (
        f"epoch {progress.epoch}/{progress.num_epochs}  "
        f"{progress.examples_per_second:,.0f} examples/s  "
        f"{format_seconds(progress.seconds_left)} left  train loss {losses}"
    )


def _progress_table(progress: SweepProgress) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    if progress.epoch == 0 or progress.phase != "train":
        table.add_row(f"{PHASES[progress.phase]} ({progress.num_lanes} lanes) ...")
        return table
    table.add_row(
        f"epoch {progress.epoch}/{progress.num_epochs}   "
        f"{progress.examples_per_second:,.0f} examples/s   "
        f"{format_seconds(progress.seconds_left)} left"
    )
    table.add_row("        ε  train loss, mean over seeds")
    highest = max(float(np.nanmax(progress.train_losses, initial=0.0)), 1e-9)
    for epsilon, loss in zip(progress.epsilons, progress.train_losses, strict=True):
        bar = "" if not math.isfinite(loss) else "█" * round(30 * loss / highest)
        table.add_row(f"{format_epsilon(epsilon):>9}  {loss:8.4f}  {bar}")
    return table


def format_seconds(seconds: float) -> str:
    """Write a duration: `0:42`, `1:02:03`."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
