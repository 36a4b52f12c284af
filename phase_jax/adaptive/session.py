"""Run an adaptive sweep for the command line: progress, files after every round, summary."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console

from phase_jax.adaptive.run import run_adaptive_sweep
from phase_jax.distributed import run_once
from phase_jax.environment import enable_compilation_cache
from phase_jax.interruption import StopSignals
from phase_jax.report.console import ProgressDisplay, print_summary
from phase_jax.report.directory import RESULT_FILE
from phase_jax.report.log import open_log
from phase_jax.report.read import load_run
from phase_jax.report.session import explain_memory, tell_all
from phase_jax.report.write import write_result

if TYPE_CHECKING:
    import pathlib

    from phase_jax.adaptive.settings import AdaptiveConfig
    from phase_jax.config import SweepConfig
    from phase_jax.report.session import SessionOptions
    from phase_jax.sweep.result import SweepResult


def run_and_report_adaptive(
    config: SweepConfig,
    adaptive: AdaptiveConfig,
    out: pathlib.Path,
    options: SessionOptions,
    *,
    resume: bool = False,
) -> int:
    """Run an adaptive sweep; after every round the directory holds a finished run.

    Args:
      config: What to sweep.
      adaptive: When to stop, and how many strengths a round adds.
      out: The directory, claimed; the stage that was interrupted there goes on.
      options: How to treat this machine.
      resume: Whether to go on from the rounds whose lanes are there.

    Returns:
      Exit status 0.

    Raises:
      InputError: A field does not fit the data or what is there.
      InterruptedRunError: The device's memory or the disk is full; the rounds done are kept.
      StoppedRunError: SIGTERM or SIGINT arrived.
    """
    if options.use_cache:
        enable_compilation_cache()
    console = Console(file=sys.stdout)
    has_rounds = resume and (out / RESULT_FILE).exists()
    earlier = load_run(out, field="--out") if has_rounds else None
    with open_log(out, "sweep", options.log_dir, config=config, adaptive=adaptive) as log:
        with (
            explain_memory(),
            ProgressDisplay(console) as display,
            StopSignals(options.grace_seconds) as signals,
        ):
            enter_stage = tell_all(display.note, log.enter_stage)

            def begin(text: str, result: SweepResult | None) -> None:
                if result is not None and result is not earlier:  # checkpoints go when it is there
                    _write(result, out)
                enter_stage(text)

            found = run_adaptive_sweep(
                config,
                adaptive,
                progress_fn=tell_all(display.show, log.show),
                stop_fn=signals.poll,
                round_fn=begin,
                checkpoint=options.plan_checkpoint(out),
                note_fn=tell_all(display.note, log.note),
                earlier=earlier,
            )
        _write(found.result, out)
    print_summary(console, found.result, out)
    return 0


def _write(result: SweepResult, out: pathlib.Path) -> None:
    run_once(lambda: str(write_result(result, out)))
