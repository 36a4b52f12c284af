"""Run a sweep for the command line: cache, progress, files, summary."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import jax
from rich.console import Console

from phase_jax.environment import enable_compilation_cache
from phase_jax.report.console import ProgressDisplay, print_summary
from phase_jax.report.write import write_result
from phase_jax.sweep import run_sweep
from phase_jax.types import InterruptedRunError

if TYPE_CHECKING:
    import pathlib

    from phase_jax.config import SweepConfig


def run_and_report(config: SweepConfig, out: pathlib.Path, *, use_cache: bool = True) -> int:
    """Run a sweep, show its progress, write its files and print its verdict.

    Args:
      config: What to run, validated.
      out: The directory, claimed.
      use_cache: Whether compiled programs are kept for the next run.

    Returns:
      Exit status 0.

    Raises:
      InputError: A field does not fit the data.
      InterruptedRunError: The device's memory or the disk is full.
    """
    if use_cache:
        enable_compilation_cache()
    console = Console(file=sys.stdout)
    try:
        with ProgressDisplay(console) as display:
            result = run_sweep(config, progress_fn=display.show)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise InterruptedRunError(
            "the device's memory does not hold these lanes; pass a smaller --lane-width or "
            "--eval-batch-size"
        ) from None
    write_result(result, out)
    print_summary(console, result, out)
    return 0
