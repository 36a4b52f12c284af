"""The command `sweep`."""

from __future__ import annotations

import contextlib
import dataclasses

from phase_jax.cli.parse import parse_arguments
from phase_jax.config import SweepConfig, option
from phase_jax.config_file import load_config_file
from phase_jax.types import InputError, InterruptedRunError
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
    overwrite: bool = option(False, "replace a run that --out already holds")
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
    config = validate_config(command.config)
    from phase_jax.data import check_available

    check_available(config.data.name, config.data.data_dir)
    from phase_jax.report.directory import claim_directory

    out = claim_directory(command.run.out, config, overwrite=command.run.overwrite)
    from phase_jax.report.session import run_and_report

    try:
        return run_and_report(config, out, use_cache=command.run.compilation_cache)
    except (InputError, InterruptedRunError, KeyboardInterrupt):
        with contextlib.suppress(OSError):
            out.rmdir()  # nothing was written: leave no empty directory
        raise
