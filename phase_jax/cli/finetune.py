"""The command `finetune`."""

from __future__ import annotations

import dataclasses

from phase_jax.cli.parse import parse_arguments
from phase_jax.cli.processes import ProcessOptions, claim_once, join_processes
from phase_jax.cli.saving import CurveOptions, build_session_options, check_saving
from phase_jax.config import FineTuningConfig, LanesConfig, SweepConfig, option
from phase_jax.config_file import load_config_file
from phase_jax.validation import check_types, validate_config, validate_fine_tuning

DESCRIPTION = """\
Estimate epsilon* fast (Algorithm A.1): fine-tune a clean model at a few small attack strengths,
every strength and seed a lane of one program, and extrapolate the train loss to the clean test loss
by a line through one point, through all, isotonically, and by a monotone spline.

The clean model is taken from the clean lanes of a sweep's directory, from a PyTorch state dict kept
as arrays, or trained on the spot. CONFIG is a file as for `sweep`; with --from RUN its default is
the run's own configuration.
  python -m phase_jax.finetune configs/mnist.py --eps-grid 4/255,8/255,16/255 --out runs/fine
  python -m phase_jax.finetune --from runs/mnist --attack fgm --eps-grid 4/255,8/255,16/255
"""
DECIDED = ("SweepConfig.epsilon_grid", "AttackConfig.name", "SolverConfig.method")
"""What fine-tuning decides in the configuration of a sweep."""


@dataclasses.dataclass(frozen=True)
class FineTuneOptions(CurveOptions):
    """Where the clean model comes from, where results go, and how this machine is used."""

    source: str | None = option(
        None,
        "clean model: directory of a finished sweep, or .npz file with the arrays of a PyTorch "
        "state dict; by default it is trained",
        flag="from",
    )


@dataclasses.dataclass(frozen=True)
class FineTuneCommand:
    """A fine-tuning and how to run it."""

    run: FineTuneOptions = dataclasses.field(
        default_factory=FineTuneOptions, metadata={"help": "Start, and where results go"}
    )
    fine_tuning: FineTuningConfig = dataclasses.field(
        default_factory=FineTuningConfig, metadata={"help": "What is fine-tuned"}
    )
    config: SweepConfig = dataclasses.field(
        default_factory=SweepConfig, metadata={"help": "Network, data, clean training"}
    )
    processes: ProcessOptions = dataclasses.field(
        default_factory=ProcessOptions, metadata={"help": "Several processes as one run"}
    )


def run_fine_tuning_command(arguments: list[str]) -> int:
    """Parse, check everything that can be checked cheaply, then run."""
    default, is_given = FineTuneCommand(), bool(arguments) and not arguments[0].startswith("-")
    if is_given:
        config = load_config_file(arguments.pop(0))
        check_types(config)
        default = dataclasses.replace(default, config=config)
    command = _parse(arguments, default)
    validate_config(command.config)
    validate_fine_tuning(command.fine_tuning)
    claim = check_saving(command.run)
    join_processes(command.processes)
    from phase_jax.finetune.session import load_start, run_and_report_fine_tuning
    from phase_jax.finetune.write import FILES
    from phase_jax.report.directory import claim_directory
    from phase_jax.sweep.result import SweepResult

    source = command.run.source
    clean = load_start(source, command.config)
    if isinstance(clean, SweepResult) and not is_given:
        config = dataclasses.replace(clean.config, lanes=LanesConfig())
        command = _parse(arguments, dataclasses.replace(default, config=config))
        validate_config(command.config)
    from phase_jax.data import check_available

    config = command.config
    check_available(config.data.name, config.data.data_dir)
    run, tuned = command.run, command.fine_tuning
    place = claim_directory(run.out, config, claim, files=FILES, is_extendable=False)
    with claim_once(command.processes, place) as out:
        options = build_session_options(run)
        return run_and_report_fine_tuning(config, tuned, clean, source, out, options)


def _parse(arguments: list[str], default: FineTuneCommand) -> FineTuneCommand:
    return parse_arguments(
        FineTuneCommand,
        arguments,
        default,
        "phase-jax finetune [CONFIG]",
        DESCRIPTION,
        fixed=DECIDED,
    )
