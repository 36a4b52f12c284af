"""The command `sweep`."""

from __future__ import annotations

import dataclasses
import pathlib
import re

from phase_jax.adaptive.settings import AdaptiveConfig, validate_adaptive
from phase_jax.cli.cores import divide_cores
from phase_jax.cli.parse import parse_arguments
from phase_jax.config import SweepConfig, option
from phase_jax.config_file import load_config_file, rebuild_config
from phase_jax.grid import AUTO_GRID
from phase_jax.interruption import GRACE_SECONDS
from phase_jax.report.directory import RESULT_FILE, Claim, claim_directory
from phase_jax.report.document import SCHEMA_VERSION
from phase_jax.report.read import read_document
from phase_jax.requirements import require_integer, require_number
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
class RunOptions:
    """Where a run writes, and how it runs on this machine; not part of the result."""

    out: str | None = option(None, "directory for the results; by default runs/DATASET-MODEL-TIME")
    overwrite: bool = option(False, "replace a run that --out already holds, finished or not")
    resume: bool = option(
        False, "go on with the unfinished run in --out, under the same settings; begin if none is"
    )
    extend: bool = option(
        False,
        "add attack strengths (--eps-grid) or seeds (--seeds, the new number in all) to the "
        "finished run in --out, whose other settings hold; trains the new lanes only",
    )
    checkpoint_every: str = option(
        "10m", "how often to save: minutes (10m) or epochs (2e); 0m after every chunk of epochs"
    )
    stop_within: float = option(
        GRACE_SECONDS,
        "seconds from SIGTERM or Ctrl-C to the end: at the end of a chunk of epochs, which is "
        "saved, or when they are over, with what was saved before",
    )
    cpu_devices: int | None = option(
        None,
        "on a CPU: devices that lanes are shared among; by default one a core, or what XLA_FLAGS "
        "says",
    )
    compilation_cache: bool = option(
        True, "keep compiled programs in the user's cache directory", flag="compilation-cache"
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
    if is_adaptive and (run.resume or run.extend):
        raise InputError(
            "--eps-grid: auto does not go with --resume or --extend; every round leaves a finished "
            "run, which --extend takes further at strengths that you name"
        )
    config = validate_config(
        dataclasses.replace(command.config, epsilon_grid=SweepConfig().epsilon_grid)
        if is_adaptive
        else command.config
    )
    validate_adaptive(command.adaptive)
    minutes, epochs = parse_interval(run.checkpoint_every, "--checkpoint-every")
    require_number("--stop-within", run.stop_within, 0)
    require_integer("--cpu-devices", run.cpu_devices, 1, 1024, optional=True)
    claim = _choose_claim(run)
    divide_cores(run.cpu_devices, len(config.epsilons) * config.num_seeds)
    from phase_jax.data import check_available

    check_available(config.data.name, config.data.data_dir)
    with claim_directory(run.out, config, claim) as out:
        from phase_jax.report.session import SessionOptions, run_and_report

        options = SessionOptions(run.compilation_cache, minutes, epochs, run.stop_within)
        if is_adaptive:
            from phase_jax.adaptive.session import run_and_report_adaptive

            return run_and_report_adaptive(config, command.adaptive, out, options)
        return run_and_report(config, out, options, extend=run.extend)


def _choose_claim(run: RunOptions) -> Claim:
    """Refuse contradictions among the options that say what to do with --out."""
    chosen = [claim for claim in Claim if getattr(run, claim.name.lower(), False)]
    if len(chosen) > 1:
        raise InputError("--overwrite, --resume and --extend exclude one another; give one")
    claim = chosen[0] if chosen else Claim.NEW
    if claim in (Claim.RESUME, Claim.EXTEND) and run.out is None:
        raise InputError(f"--{claim.name.lower()}: needs --out, the directory of the run")
    return claim


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


def parse_interval(text: str, field: str) -> tuple[float | None, int | None]:
    """Read minutes such as `10m` or epochs such as `2e`; return both, the other None.

    Raises:
      InputError: It is neither.
    """
    number, unit = text.strip()[:-1], text.strip()[-1:]
    if unit == "m" and re.fullmatch(r"\d+(\.\d+)?", number, re.ASCII):
        return float(number), None
    if unit == "e" and re.fullmatch(r"0*[1-9]\d{0,8}", number, re.ASCII):
        return None, int(number)
    raise InputError(f"{field}: {text!r} is not allowed; allowed: minutes (10m) or epochs (2e)")
