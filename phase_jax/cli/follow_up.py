"""What commands that take up a finished run have in common: `COMMAND RUN [--out DIR]`."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from typing import TYPE_CHECKING

from phase_jax.cli.processes import ProcessOptions, claim_once
from phase_jax.cli.saving import SavingOptions
from phase_jax.config import option
from phase_jax.report.directory import Claim, claim_directory
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phase_jax.sweep import SweepResult


@dataclasses.dataclass(frozen=True)
class FollowUpOptions(SavingOptions):
    """Where results go, and how the command runs on this machine."""

    out: str | None = option(None, "directory for the results; by default runs/COMMAND-RUN")
    data_dir: str | None = option(
        None, "directory with prepared TFDS data; by default the run's", flag="data-dir"
    )


@dataclasses.dataclass(frozen=True)
class OutputOptions:
    """The same for a command that is over soon and saves nothing on the way."""

    out: str | None = option(None, "directory for the results; by default runs/COMMAND-RUN")
    overwrite: bool = option(False, "replace results that --out already holds")
    data_dir: str | None = option(
        None, "directory with prepared TFDS data; by default the run's", flag="data-dir"
    )
    compilation_cache: bool = option(
        True, "keep compiled programs in the user's cache directory", flag="compilation-cache"
    )


def take_run_name(arguments: list[str]) -> str | None:
    """Take the run's directory off the front of the arguments; None where there is none."""
    return arguments.pop(0) if arguments and not arguments[0].startswith("-") else None


@contextlib.contextmanager
def open_run(
    name: str | None,
    command: str,
    out: str | None,
    claim: Claim,
    files: frozenset[str],
    processes: ProcessOptions | None = None,
) -> Iterator[tuple[SweepResult, pathlib.Path]]:
    """Read a run and hold the directory of what follows from it.

    Args:
      name: The run's directory as the user gave it.
      command: Names the default directory.
      out: Where results go; None for the default.
      claim: What to do with what is there.
      files: Names of what will be written.
      processes: Those that share the run, if there are several.

    Yields:
      The run, and the directory.

    Raises:
      InputError: There is no run, or the directory is not free.
    """
    if name is None:
        raise InputError("RUN: give it first; allowed: the directory that a sweep wrote (--out)")
    from phase_jax.report.read import load_run

    run = load_run(name)
    default = pathlib.Path("runs") / f"{command}-{pathlib.Path(name).resolve().name}"
    place = claim_directory(out or default, run.config, claim, files=files, is_extendable=False)
    with claim_once(processes or ProcessOptions(), place) as directory:
        yield run, directory
