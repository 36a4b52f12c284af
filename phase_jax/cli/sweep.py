"""The command `sweep`."""

from __future__ import annotations

import dataclasses
import pathlib

from phase_jax.adaptive.settings import AdaptiveConfig, validate_adaptive
from phase_jax.cli.cores import divide_cores
from phase_jax.cli.parse import parse_arguments
from phase_jax.cli.processes import ProcessOptions, claim_once, join_processes
from phase_jax.cli.saving import CurveOptions, build_session_options, check_saving
from phase_jax.config import SweepConfig, option
from phase_jax.config_file import load_config_file, rebuild_config
from phase_jax.grid import AUTO_GRID
from phase_jax.report.directory import RESULT_FILE, Claim, claim_directory
from phase_jax.report.document import SCHEMA_VERSION
from phase_jax.report.read import read_document
from phase_jax.requirements import require_integer
from phase_jax.types import InputError
from phase_jax.validation import check_types, validate_config

SWEEP_DESCRIPTION = """\
Train one network at many attack strengths and seeds, side by side, and solve for epsilon*: the
largest attack strength whose adversarial train loss stays below the clean model's clean test loss.

Every epsilon is a radius in pixel space [0, 1]; numbers may be fractions such as 8/255. A Python
file that defines `config = SweepConfig(...)` may come first and supplies the defaults below:
  python -m phase_jax.sweep configs/mnist.py --eps-grid 0:0.2:9 --seeds 3 --out runs/mnist
`FILE.py:NAME` takes another configuration that the file defines, such as
configs/paper/mnist-cnn16-50k-linf.py:quick.
"""


@dataclasses.dataclass(frozen=True)
class RunOptions(CurveOptions):
    """Where a sweep writes, and how it runs on this machine."""

    extend: bool = option(
        False,
        "add attack strengths (--eps-grid) or seeds (--seeds, the new number in all) to the "
        "finished run in --out, whose other settings hold; trains the new lanes only",
    )
    cpu_devices: int | None = option(
        None,
        "on a CPU: devices that lanes are shared among; by default one a core, or what XLA_FLAGS "
        "says",
    )


@dataclasses.dataclass(frozen=True)
class SweepCommand:
    """A sweep and how to run it."""

    run: RunOptions = dataclasses.field(
        default_factory=RunOptions, metadata={"help": "Where results go"}
    )
    config: SweepConfig = dataclasses.field(
        default_factory=SweepConfig, metadata={"help": "What is swept"}
    )
    adaptive: AdaptiveConfig = dataclasses.field(
        default_factory=AdaptiveConfig, metadata={"help": "With --eps-grid auto"}
    )
    processes: ProcessOptions = dataclasses.field(
        default_factory=ProcessOptions, metadata={"help": "Several processes as one run"}
    )


def run_sweep_command(arguments: list[str]) -> int:
    """Parse, check everything that can be checked cheaply, then run."""
    default, has_config = SweepCommand(), False
    if arguments and not arguments[0].startswith("-"):
        config = load_config_file(arguments.pop(0))
        check_types(config)
        default = dataclasses.replace(default, config=config)
        has_config = True
    command = _parse(arguments, default)
    if command.run.extend and not has_config:
        recorded = _load_recorded(command.run)
        command = _parse(arguments, dataclasses.replace(default, config=recorded))
    run, is_adaptive = command.run, command.config.epsilon_grid == AUTO_GRID
    if is_adaptive and run.extend:
        raise InputError(
            "--eps-grid: auto does not go with --extend, which adds strengths that you name; "
            "--resume takes a search further"
        )
    config = validate_config(
        dataclasses.replace(command.config, epsilon_grid=SweepConfig().epsilon_grid)
        if is_adaptive
        else command.config
    )
    validate_adaptive(command.adaptive)
    if not is_adaptive:
        _refuse_adaptive(command.adaptive)
    require_integer("--cpu-devices", run.cpu_devices, 1, 1024, optional=True)
    claim = check_saving(run)
    num_lanes = len(config.epsilons) * config.num_seeds
    divide_cores(run.cpu_devices, num_lanes * config.lanes.data_devices)
    join_processes(command.processes)
    from phase_jax.data import check_available

    check_available(config.data.name, config.data.data_dir)
    if is_adaptive and run.resume:
        claim = Claim.GROW
    with claim_once(command.processes, claim_directory(run.out, config, claim)) as out:
        from phase_jax.report.session import run_and_report

        options = build_session_options(run)
        if is_adaptive:
            from phase_jax.adaptive.session import run_and_report_adaptive

            return run_and_report_adaptive(
                config, command.adaptive, out, options, resume=run.resume
            )
        return run_and_report(config, out, options, extend=run.extend)


def _refuse_adaptive(adaptive: AdaptiveConfig) -> None:
    """Refuse settings of a search where there is none."""
    for field in dataclasses.fields(adaptive):
        value = getattr(adaptive, field.name)
        if value != field.default:
            raise InputError(
                f"--{field.metadata['flag']}: {value} has no meaning here; allowed: with "
                "--eps-grid auto"
            )


def _load_recorded(run: RunOptions) -> SweepConfig:
    """Load the settings of the finished run in --out, if there is one."""
    path = pathlib.Path(run.out or "") / RESULT_FILE
    if not path.is_file():
        return SweepConfig()  # the claim says what is wrong
    document = read_document(path, "sweep", field="--out", version=SCHEMA_VERSION)
    try:
        return rebuild_config(document["config"])
    except (InputError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"--out: {str(path)!r} has no settings to go on from ({error})") from None


def _parse(arguments: list[str], default: SweepCommand) -> SweepCommand:
    return parse_arguments(
        SweepCommand, arguments, default, "phase-jax sweep [CONFIG]", SWEEP_DESCRIPTION
    )
