"""The command `simulate`."""

from __future__ import annotations

import dataclasses

from phase_jax.cli.parse import parse_arguments
from phase_jax.cli.processes import ProcessOptions, claim_once, join_processes
from phase_jax.config import option
from phase_jax.report.wording import format_duration
from phase_jax.simulate.directory import StudySettings, claim_study_directory
from phase_jax.simulate.registry import LISTINGS, STUDIES, check_name
from phase_jax.types import InputError

DESCRIPTION = """\
Run one study of the linear model (Section 4 and Appendices A to C of the paper) and write
STUDY.json, STUDY.csv and figures. A run that was interrupted goes on when it is started again.

Studies, with their time on two CPU cores by default and with --full:
{studies}
"""
PRECISIONS = ("float64", "float32")


@dataclasses.dataclass(frozen=True)
class SimulateCommand:
    """How a study runs, and where its results go."""

    replicates: int | None = option(
        None, "replicates in every simulation of the study; by default the study's own numbers"
    )
    full: bool = option(False, "run at the full numbers")
    out: str | None = option(None, "directory for the results; by default runs/simulate-STUDY")
    seed: int = option(0, "decides every random number")
    precision: str = option("float64", f"floating-point type: {', '.join(PRECISIONS)}")
    overwrite: bool = option(False, "replace what the study wrote in --out, finished or not")
    compilation_cache: bool = option(
        True, "keep compiled programs in the user's cache directory", flag="compilation-cache"
    )
    list: bool = option(False, "list the studies and leave")
    processes: ProcessOptions = dataclasses.field(
        default_factory=ProcessOptions, metadata={"help": "Several processes as one run"}
    )


def run_simulate_command(arguments: list[str]) -> int:
    """Parse, claim the directory, then run the study."""
    name = arguments.pop(0) if arguments and not arguments[0].startswith("-") else None
    if name is not None:
        check_name(name)
    command = parse_arguments(
        SimulateCommand,
        arguments,
        SimulateCommand(),
        f"phase-jax simulate {name or 'STUDY'}",
        DESCRIPTION.format(studies=_list_studies()),
    )
    if command.list:
        print(_list_studies())
        return 0
    if name is None:
        raise InputError(f"STUDY: give one first; allowed: {', '.join(STUDIES)}")
    settings = _check_settings(name, command)
    join_processes(command.processes)
    claim = claim_study_directory(command.out, settings, overwrite=command.overwrite)
    with claim_once(command.processes, claim) as out:
        from phase_jax.simulate.session import run_study

        return run_study(settings, out, use_cache=command.compilation_cache)


def _check_settings(name: str, command: SimulateCommand) -> StudySettings:
    """Refuse numbers out of range and unknown precisions."""
    for flag, value, low, high in (
        ("--replicates", command.replicates, 2, 2**32),
        ("--seed", command.seed, 0, 2**31 - 1),
    ):
        if value is not None and not low <= value <= high:
            raise InputError(f"{flag}: {value} is not allowed; allowed: {low} to {high}")
    if command.precision not in PRECISIONS:
        raise InputError(
            f"--precision: {command.precision!r} is not known; allowed: {', '.join(PRECISIONS)}"
        )
    return StudySettings(name, command.full, command.replicates, command.seed, command.precision)


def _list_studies() -> str:
    """List the studies, one line each."""
    width = max(map(len, STUDIES))
    lines = []
    for name, listing in LISTINGS.items():
        short, full = (format_duration(seconds) for seconds in listing.seconds)
        lines.append(f"  {name:{width}}  {listing.title} ({short}; {full})")
    return "\n".join(lines)
