"""Run a study of connectivity for the command line: cache, progress, files, findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from phase_jax.connectivity.run import run_connectivity
from phase_jax.connectivity.write import describe_findings, write_connectivity
from phase_jax.distributed import run_once
from phase_jax.environment import enable_compilation_cache
from phase_jax.interruption import StopSignals
from phase_jax.report.console import open_console, print_paragraph
from phase_jax.report.log import open_log
from phase_jax.report.mean import format_mean
from phase_jax.report.session import SessionOptions, explain_memory, tell_all
from phase_jax.report.wording import format_epsilon

if TYPE_CHECKING:
    import pathlib

    from rich.console import Console

    from phase_jax.connectivity.result import ConnectivityResult
    from phase_jax.connectivity.settings import ConnectivitySettings
    from phase_jax.sweep import SweepResult


def connect_and_report(
    run: SweepResult,
    settings: ConnectivitySettings,
    out: pathlib.Path,
    options: SessionOptions | None = None,
    *,
    data_dir: str | None = None,
) -> int:
    """Connect networks of a run, write the files and print the findings.

    Args:
      run: The run.
      settings: What is asked for.
      out: The directory, claimed; checkpoints in it are continued.
      options: How to treat this machine.
      data_dir: Directory with prepared data, where they have moved since the run.

    Returns:
      Exit status 0.

    Raises:
      InputError: The run lacks what is asked for, or its data have changed.
      InterruptedRunError: The device's memory or the disk is full.
      StoppedRunError: SIGTERM or SIGINT arrived.
    """
    options = options or SessionOptions()
    if options.use_cache:
        enable_compilation_cache()
    console = open_console()

    def tell(text: str) -> None:
        print_paragraph(console, text)

    with open_log(out, "connectivity", settings=settings) as log:
        with (
            explain_memory("pass a smaller --width"),
            StopSignals(options.grace_seconds) as signals,
        ):
            result = run_connectivity(
                run,
                settings,
                data_dir=data_dir,
                progress_fn=tell_all(tell, log.note),
                checkpoint=options.plan_checkpoint(out),
                stop_fn=signals.poll,
                note_fn=tell_all(tell, log.note),
            )
        run_once(lambda: str(write_connectivity(result, out)))
    print_summary(console, result)
    print_paragraph(console, f"{result.seconds['total']:.0f} s; results in {out}")
    return 0


def print_summary(console: Console, result: ConnectivityResult) -> None:
    """Print a table of attack strengths, cautions and findings."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("ε of the end", "pairs", "loss at start", "at end", "barrier", "straight line's"):
        table.add_column(name, justify="right")
    for summary in result.summaries:
        table.add_row(
            format_epsilon(summary.epsilon),
            str(summary.barrier.number),
            format_mean(summary.start_loss, interval=False),
            format_mean(summary.end_loss, interval=False),
            format_mean(summary.barrier),
            format_mean(summary.line_barrier),
        )
    console.print(table, highlight=False)
    level = f"{100 * result.settings.confidence:g} %"
    print_paragraph(
        console,
        f"clean train losses, means over pairs; in brackets Student t intervals ({level}) over "
        "pairs, none with fewer than two",
    )
    for caution in result.cautions:
        print_paragraph(console, f"caution: {caution}", style="yellow")
    for finding in describe_findings(result):
        print_paragraph(console, f"- {finding}", style="bold")
