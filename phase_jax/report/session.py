"""Run a sweep for the command line: cache, progress, files, summary."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import jax
from rich.console import Console

from phase_jax.distributed import run_once
from phase_jax.environment import enable_compilation_cache
from phase_jax.interruption import GRACE_SECONDS, StopSignals
from phase_jax.report.console import ProgressDisplay, print_summary
from phase_jax.report.directory import CHECKPOINT
from phase_jax.report.log import open_log
from phase_jax.report.read import load_run
from phase_jax.report.write import write_result
from phase_jax.sweep import CheckpointPlan, run_sweep
from phase_jax.types import InterruptedRunError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

    from phase_jax.config import SweepConfig


@dataclasses.dataclass(frozen=True)
class SessionOptions:
    """How a run treats this machine; none of it changes a number.

    Attributes:
      use_cache: Whether compiled programs are kept for the next run.
      checkpoint_minutes: Time between two checkpoints, or None.
      checkpoint_epochs: Epochs between two checkpoints, or None.
      grace_seconds: Time from a signal to the end of the process.
      log_dir: Directory for TensorBoard, or None.
    """

    use_cache: bool = True
    checkpoint_minutes: float | None = 10.0
    checkpoint_epochs: int | None = None
    grace_seconds: float = GRACE_SECONDS
    log_dir: str | None = None

    def plan_checkpoint(self, out: pathlib.Path) -> CheckpointPlan:
        """Plan the checkpoints of a run in its directory."""
        return CheckpointPlan(out / CHECKPOINT, self.checkpoint_minutes, self.checkpoint_epochs)


def run_and_report(
    config: SweepConfig,
    out: pathlib.Path,
    options: SessionOptions | None = None,
    *,
    extend: bool = False,
) -> int:
    """Run a sweep, or what is missing of it; show progress, write files, print the verdict.

    Args:
      config: What to run, validated.
      out: The directory, claimed; a checkpoint in it is continued.
      options: How to treat this machine.
      extend: Whether to add the lanes of `config` to the finished run that is there.

    Returns:
      Exit status 0.

    Raises:
      InputError: A field does not fit the data, or the checkpoint is of other settings.
      InterruptedRunError: The device's memory or the disk is full.
      StoppedRunError: SIGTERM or SIGINT arrived.
    """
    options = options or SessionOptions()
    if options.use_cache:
        enable_compilation_cache()
    console = Console(file=sys.stdout)
    with open_log(out, "sweep", options.log_dir, config=config) as log:
        with (
            explain_memory(),
            ProgressDisplay(console) as display,
            StopSignals(options.grace_seconds) as signals,
        ):
            result = run_sweep(
                config,
                progress_fn=tell_all(display.show, log.show),
                checkpoint=options.plan_checkpoint(out),
                stop_fn=signals.poll,
                note_fn=tell_all(display.note, log.note),
                earlier=load_run(out, field="--out") if extend else None,
            )
        run_once(lambda: str(write_result(result, out)))
    print_summary(console, result, out)
    return 0


def tell_all(*hear_fns: Callable[[Any], object]) -> Callable[[Any], None]:
    """Make one function of several that hear the same."""

    def tell(event: Any) -> None:
        for hear_fn in hear_fns:
            hear_fn(event)

    return tell


@contextlib.contextmanager
def explain_memory(
    advice: str = "pass a smaller --lane-width or --eval-batch-size",
) -> Iterator[None]:
    """Turn a lack of memory on the device into one line.

    Args:
      advice: What the user can do about it.

    Raises:
      InterruptedRunError: The device's memory does not hold the lanes.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise InterruptedRunError(
            f"the device's memory does not hold these lanes; {advice}"
        ) from None
