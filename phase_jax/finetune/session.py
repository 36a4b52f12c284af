"""Run a fine-tuning for the command line: where it starts, progress, files, summary."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from phase_jax.distributed import run_once
from phase_jax.environment import enable_compilation_cache
from phase_jax.finetune.run import CLEAN, ImportedModel, run_fine_tuning
from phase_jax.finetune.write import write_fine_tuning
from phase_jax.interruption import StopSignals
from phase_jax.models.torch_import import load_torch_parameters
from phase_jax.report.console import ProgressDisplay, format_seconds
from phase_jax.report.log import open_log
from phase_jax.report.read import load_run
from phase_jax.report.session import SessionOptions, explain_memory, tell_all
from phase_jax.report.wording import describe_outcome, format_epsilon
from phase_jax.sweep.setup import prepare_data, prepare_model

if TYPE_CHECKING:
    from phase_jax.config import FineTuningConfig, SweepConfig
    from phase_jax.finetune.result import Extrapolation, FineTuningResult
    from phase_jax.sweep.result import SweepResult

STAGES = {CLEAN: "clean model", "pgd": "fine-tuning with PGD", "fgm": "fine-tuning with FGM"}


def load_start(source: str | None, config: SweepConfig) -> SweepResult | ImportedModel | None:
    """Load what `--from` names: a run's directory, or a state dict's arrays (.npz).

    Raises:
      InputError: It cannot be read, or does not fit the network.
    """
    if source is None:
        return None
    if pathlib.Path(source).suffix != ".npz":
        return load_run(source, field="--from")
    dataset = prepare_data(config, None)
    network = prepare_model(config, dataset, None)
    return ImportedModel(*load_torch_parameters(source, network))


def run_and_report_fine_tuning(
    config: SweepConfig,
    fine_tuning: FineTuningConfig,
    clean: Any,
    source: str | None,
    out: pathlib.Path,
    options: SessionOptions | None = None,
) -> int:
    """Run a fine-tuning, show its progress, write its files and print its verdict.

    Args:
      config: Network, data, clean training; validated.
      fine_tuning: What is fine-tuned; validated.
      clean: Where to start, as `load_start` returns it.
      source: What the user called it.
      out: The directory, claimed; checkpoints in it are continued.
      options: How to treat this machine.

    Returns:
      Exit status 0.

    Raises:
      InputError: A field does not fit the data or the start, or a checkpoint is of other settings.
      InterruptedRunError: The device's memory or the disk is full.
      StoppedRunError: SIGTERM or SIGINT arrived.
    """
    options = options or SessionOptions()
    if options.use_cache:
        enable_compilation_cache()
    console = Console(file=sys.stdout)

    def announce(stage: str) -> None:
        if stage != CLEAN or source is None:
            console.print(STAGES[stage], style="bold", highlight=False)

    settings = {"config": config, "fine_tuning": fine_tuning}
    with open_log(out, "finetune", options.log_dir, **settings) as log:
        with (
            explain_memory(),
            ProgressDisplay(console) as display,
            StopSignals(options.grace_seconds) as signals,
        ):
            result = run_fine_tuning(
                config,
                fine_tuning,
                clean=clean,
                progress_fn=tell_all(display.show, log.show),
                stage_fn=tell_all(announce, log.enter_stage),
                checkpoint=options.plan_checkpoint(out),
                stop_fn=signals.poll,
                note_fn=tell_all(display.note, log.note),
            )
        if source is not None:
            result = dataclasses.replace(result, origin={**result.origin, "place": source})
        run_once(lambda: str(write_fine_tuning(result, out)))
    print_fine_tuning(console, result, out)
    return 0


def print_fine_tuning(console: Console, result: FineTuningResult, out: pathlib.Path) -> None:
    """Print every extrapolation, cautions, the verdict, what it cost and where the files are."""
    plain = not console.is_terminal
    table = Table(box=None, pad_edge=False, header_style="bold")
    level = f"{100 * result.epsilon_star.confidence:g} % interval"
    for name in ("attack", "method", "ε*", level, "leaving points out"):
        table.add_column(name, no_wrap=True)
    for extrapolation in result.extrapolations:
        table.add_row(*_list_cells(extrapolation))
    console.print(table)
    first = next(iter(result.runs.values()))
    lines = [
        f"threshold (clean test loss of the clean model) {first.threshold:.4f}",
        *(
            f"{attack}: straight line through the points, R² {fit.r_squared:.3f}, largest distance "
            f"{fit.largest_residual:.0%} of their rise"
            for attack, fit in result.fits.items()
        ),
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=plain)
    for caution in result.cautions:
        console.print(f"caution: {caution}", style="yellow", highlight=False, soft_wrap=plain)
    console.print(describe_outcome(first), style="bold", highlight=False, soft_wrap=plain)
    costs = ", ".join(
        f"{STAGES[stage]} {count / 1e6:.3g} million in {format_seconds(result.seconds[stage])}"
        for stage, count in result.gradients.items()
    )
    console.print(f"example gradients: {costs}", highlight=False, soft_wrap=plain)
    console.print(f"results in {out}", highlight=False, soft_wrap=plain)


def _list_cells(extrapolation: Extrapolation) -> tuple[str, ...]:
    """List the cells of an extrapolation's row."""
    estimate = extrapolation.estimate
    value = estimate.status.name if estimate.value is None else format_epsilon(estimate.value)
    low, high = extrapolation.points_low, extrapolation.points_high
    spread = _format_bounds(low, high) if extrapolation.left_out else "-"
    names = {"line": "line, one point", "regression": "line, all points"}
    method = names.get(extrapolation.method, extrapolation.method.replace("_", " "))
    return extrapolation.attack, method, value, _format_bounds(estimate.low, estimate.high), spread


def _format_bounds(low: float | None, high: float | None) -> str:
    """Write two bounds in a narrow column."""
    low_text = "-" if low is None else format_epsilon(low)
    return f"{low_text} to {'-' if high is None else format_epsilon(high)}"
