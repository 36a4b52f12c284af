"""Run a sweep for the command line: cache, progress, files, summary."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import TYPE_CHECKING

import jax
from rich.console import Console

from phase_jax.report.console import ProgressDisplay, print_summary
from phase_jax.report.write import write_result
from phase_jax.sweep import run_sweep
from phase_jax.types import InterruptedRunError

if TYPE_CHECKING:
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


def enable_compilation_cache() -> pathlib.Path | None:
    """Keep compiled programs in $PHASE_JAX_CACHE_DIR or the user's cache directory.

    Returns:
      The directory, or None when it cannot be made; a run then compiles afresh.
    """
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    path = pathlib.Path(os.environ.get("PHASE_JAX_CACHE_DIR") or home / "phase_jax" / "xla")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return path
