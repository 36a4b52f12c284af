"""Run one study: precision, cache, progress, files, findings."""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from phase_jax.distributed import is_writer, run_once
from phase_jax.environment import describe_environment, enable_compilation_cache
from phase_jax.report.document import convert_to_plain
from phase_jax.report.plots import save_figure
from phase_jax.report.wording import format_duration
from phase_jax.report.write import write_csv, write_document
from phase_jax.simulate.directory import leave_directory, mark_directory, release_directory
from phase_jax.simulate.registry import load_study
from phase_jax.simulate.study import StudyContext
from phase_jax.storage.atomic import write_atomically
from phase_jax.types import InterruptedRunError

if TYPE_CHECKING:
    import pathlib
    from types import TracebackType

    from phase_jax.monte_carlo import MonteCarloProgress
    from phase_jax.simulate.directory import StudySettings
    from phase_jax.simulate.study import Study, StudyResult

SCHEMA_VERSION = 1
SECONDS_PER_LINE = 5.0
"""Time between two lines of progress where there is no terminal."""


class StudyProgress:
    """Progress of the simulations of a study: a bar in a terminal, some lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, Any] = {}
        self._last_line = time.monotonic()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} replicates"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> StudyProgress:
        self._bars.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.__exit__(kind, error, trace)

    def show(self, name: str, progress: MonteCarloProgress) -> None:
        """Show how far one simulation is."""
        if self._console.is_terminal:
            if name not in self._tasks:
                for task in self._tasks.values():
                    self._bars.update(task, visible=False)
                self._tasks[name] = self._bars.add_task(name, total=progress.num_replicates)
            self._bars.update(self._tasks[name], completed=progress.num_done)
            return
        now = time.monotonic()
        if now - self._last_line >= SECONDS_PER_LINE:
            self._last_line = now
            print_line(
                self._console,
                f"{name}: {progress.num_done:,}/{progress.num_replicates:,} replicates, "
                f"{progress.seconds_left:.0f} s left",
            )


def run_study(settings: StudySettings, out: pathlib.Path, *, use_cache: bool = True) -> int:
    """Run a study, show its progress, write its files and print its findings.

    Args:
      settings: Which study, and with what numbers.
      out: Its directory, claimed.
      use_cache: Whether compiled programs are kept for the next run.

    Returns:
      Exit status 0.

    Raises:
      InputError: A setting does not fit the study.
      InterruptedRunError: The device's memory or the disk is full; the checkpoints are kept.
    """
    study = load_study(settings.study)
    console = Console(file=sys.stdout)
    print_line(console, describe_start(study, settings))
    if use_cache:
        enable_compilation_cache()
    begin = time.perf_counter()
    try:
        run_once(lambda: mark_directory(out, settings, []))
        with jax.enable_x64(settings.precision == "float64"), StudyProgress(console) as display:
            result = study.run(make_context(settings, out, display))
        if study.unresolved and settings.precision == "float32":
            result.findings.insert(0, study.unresolved)
        seconds = time.perf_counter() - begin
        run_once(lambda: str(write_study(study, result, settings, out, seconds=seconds)))
    except BaseException as error:
        if is_writer() and leave_directory(out):
            print_line(console, f"stopped; the same command goes on from what is in {out}")
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
            raise InterruptedRunError(
                "the device's memory does not hold this study; pass --precision float32"
            ) from None
        raise
    for finding in result.findings:
        print_line(console, f"- {finding}", style="bold")
    print_line(console, f"{time.perf_counter() - begin:.0f} s; results in {out}")
    return 0


def describe_start(study: Study, settings: StudySettings) -> str:
    """Say what is about to run and how long it takes."""
    short, full = (f"about {format_duration(seconds)}" for seconds in study.seconds)
    if settings.replicates is not None:
        size = f"{settings.replicates:,} replicates ({short} with its own numbers)"
    elif settings.full:
        size = f"full numbers, {full}"
    else:
        size = f"reduced numbers, {short} (--full: {full})"
    return f"{study.name}: {study.title}; {size}, on two CPU cores"


def make_context(
    settings: StudySettings, out: pathlib.Path, display: StudyProgress
) -> StudyContext:
    """Make what the study is given."""
    return StudyContext(
        out=out,
        study=settings.study,
        full=settings.full,
        replicates=settings.replicates,
        seed=settings.seed,
        dtype=jnp.dtype(settings.precision),
        progress_fn=display.show,
    )


def write_study(
    study: Study,
    result: StudyResult,
    settings: StudySettings,
    out: pathlib.Path,
    *,
    seconds: float,
) -> pathlib.Path:
    """Write figures, STUDY.csv and, last, STUDY.json; then the checkpoints are removed.

    Raises:
      InterruptedRunError: The disk is full or the directory cannot be written to.
    """
    figures = sorted(result.figures)
    document = convert_to_plain(
        {
            "schema_version": SCHEMA_VERSION,
            "kind": "study",
            "study": study.name,
            "title": study.title,
            "findings": result.findings,
            "summary": result.summary,
            "settings": dataclasses.asdict(settings),
            "figures": figures,
            **describe_environment(),
            "seconds": seconds,
        }
    )
    mark_directory(out, settings, figures)
    for name, figure in result.figures.items():
        for suffix in ("png", "svg"):
            write_atomically(out / f"{name}.{suffix}", functools.partial(save_figure, figure))
    rows = convert_to_plain(result.rows)
    write_atomically(out / f"{study.name}.csv", lambda draft: write_csv(draft, rows))
    path = out / f"{study.name}.json"
    write_atomically(path, lambda draft: write_document(draft, document))
    release_directory(out)
    return path


def print_line(console: Console, text: str, **style: Any) -> None:
    """Print one paragraph; in a file it stays one line."""
    console.print(text, markup=False, highlight=False, soft_wrap=not console.is_terminal, **style)
