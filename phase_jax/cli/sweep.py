"""The command `sweep`."""

from __future__ import annotations

import dataclasses
import re

from phase_jax.cli.parse import parse_arguments
from phase_jax.config import SweepConfig, option
from phase_jax.config_file import load_config_file
from phase_jax.interruption import GRACE_SECONDS
from phase_jax.requirements import require_number
from phase_jax.types import InputError
from phase_jax.validation import validate_config

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
    checkpoint_every: str = option(
        "10m", "how often to save: minutes (10m) or epochs (2e); 0m after every chunk of epochs"
    )
    stop_within: float = option(
        GRACE_SECONDS,
        "seconds from SIGTERM or Ctrl-C to the end: at the end of a chunk of epochs, which is "
        "saved, or when they are over, with what was saved before",
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


def run_sweep_command(arguments: list[str]) -> int:
    """Parse, check everything that can be checked cheaply, then run."""
    default = SweepCommand()
    if arguments and not arguments[0].startswith("-"):
        default = dataclasses.replace(default, config=load_config_file(arguments.pop(0)))
    command = parse_arguments(
        SweepCommand, arguments, default, "phase-jax sweep [CONFIG]", SWEEP_DESCRIPTION
    )
    config, run = validate_config(command.config), command.run
    minutes, epochs = parse_interval(run.checkpoint_every, "--checkpoint-every")
    require_number("--stop-within", run.stop_within, 0)
    if run.resume and (run.overwrite or run.out is None):
        raise InputError("--resume: needs --out, and goes without --overwrite")
    from phase_jax.data import check_available

    check_available(config.data.name, config.data.data_dir)
    from phase_jax.report.directory import claim_directory

    with claim_directory(run.out, config, overwrite=run.overwrite, resume=run.resume) as out:
        from phase_jax.report.session import SessionOptions, run_and_report

        options = SessionOptions(run.compilation_cache, minutes, epochs, run.stop_within)
        return run_and_report(config, out, options)


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
