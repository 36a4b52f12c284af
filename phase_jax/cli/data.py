"""The command `data prepare`."""

from __future__ import annotations

import dataclasses

from phase_jax.cli.parse import parse_arguments
from phase_jax.config import option
from phase_jax.types import InputError

DATA_DESCRIPTION = """\
Prepare a data set as a TFDS directory: `python -m phase_jax.data prepare NAME --source DIR`.
"""


@dataclasses.dataclass(frozen=True)
class PrepareCommand:
    """What to prepare, from where, to where."""

    source: str | None = option(None, "directory with the original files (no network needed)")
    data_dir: str | None = option(
        None, "TFDS directory; by default $TFDS_DATA_DIR or ~/tensorflow_datasets", flag="data-dir"
    )


def run_data_command(arguments: list[str]) -> int:
    """Prepare a data set."""
    if not arguments or {"-h", "--help"} & {*arguments}:
        arguments = ["prepare", "NAME", "--help"]
    if arguments[0] != "prepare":
        raise InputError(f"data: {arguments[0]!r} is not known; allowed: prepare NAME")
    if len(arguments) < 2 or arguments[1].startswith("-"):
        raise InputError("data prepare: give the data set's NAME first, such as mnist")
    _, name, *rest = arguments
    usage = "phase-jax data prepare NAME"
    command = parse_arguments(PrepareCommand, rest, PrepareCommand(), usage, DATA_DESCRIPTION)
    from phase_jax.data import prepare_dataset

    prepare_dataset(name, source=command.source, data_dir=command.data_dir)
    return 0
