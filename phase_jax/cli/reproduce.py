"""The command `reproduce`."""

from __future__ import annotations

import dataclasses
import pathlib

from phase_jax.cli.parse import parse_arguments
from phase_jax.config import option
from phase_jax.reproduce.registry import ALL, ITEMS, Kind, find_item
from phase_jax.requirements import require_integer
from phase_jax.types import InputError

DESCRIPTION = """\
Reproduce a table or figure of the paper: run the rows that are missing, then show the paper's
numbers with ours beside them, on the console and as Markdown, CSV and JSON in --out.

  reproduce list                                    what there is, what it needs, what is there
  reproduce table3 --rows mnist-cnn16-50k-linf      one row in full
  reproduce table3 --quick                          small variants that train on 2 CPU cores
  reproduce all --from-published                    the solver on the printed losses, in seconds

Tables and figures:
{items}
"""
LIST = "list"


@dataclasses.dataclass(frozen=True)
class ReproduceCommand:
    """What is run, and where runs and tables are."""

    rows: str | None = option(None, "comma list of rows; by default all (see list)")
    quick: bool = option(
        False, "small variants for 2 CPU cores; kept apart, not comparable with the paper"
    )
    from_published: bool = option(
        False, "run only the solver, on the losses that the paper prints", flag="from-published"
    )
    collect: bool = option(False, "run nothing; show what is there")
    out: str = option("runs/reproduce", "directory of runs and tables")
    data_dir: str | None = option(
        None,
        "directory with prepared TFDS data; by default $TFDS_DATA_DIR or ~/tensorflow_datasets",
        flag="data-dir",
    )
    seeds: int | None = option(
        None, "independent repetitions of every setting; by default the setting's own, 1"
    )
    compilation_cache: bool = option(
        True, "keep compiled programs in the user's cache directory", flag="compilation-cache"
    )


def run_reproduce_command(arguments: list[str]) -> int:
    """Parse, then list or reproduce."""
    name = arguments.pop(0) if arguments and not arguments[0].startswith("-") else None
    if name is not None and name != LIST:
        name = find_item(name)
    items = "\n".join(f"  {item:9} {ITEMS[item].title}" for item in ITEMS)
    command = parse_arguments(
        ReproduceCommand,
        arguments,
        ReproduceCommand(),
        f"phase-jax reproduce {name or 'ITEM'}",
        DESCRIPTION.format(items=items),
    )
    if name is None:
        raise InputError(f"ITEM: give one first; allowed: {LIST}, {ALL}, {', '.join(ITEMS)}")
    if name == LIST:
        from phase_jax.reproduce.listing import print_listing

        print_listing(pathlib.Path(command.out), command.data_dir)
        return 0
    _check(name, command)
    from phase_jax.reproduce.session import Request, run_reproduction

    return run_reproduction(
        Request(
            items=tuple(ITEMS) if name == ALL else (name,),
            rows=command.rows,
            quick=command.quick,
            from_published=command.from_published,
            collect=command.collect,
            out=pathlib.Path(command.out),
            data_dir=command.data_dir,
            num_seeds=command.seeds,
            use_cache=command.compilation_cache,
            is_all=name == ALL,
        )
    )


def _check(name: str, command: ReproduceCommand) -> None:
    """Refuse options that contradict each other or the item."""
    require_integer("--seeds", command.seeds, 1, 10_000, optional=True)
    if command.rows is not None and (name == ALL or ITEMS[name].kind is Kind.NOTHING):
        raise InputError(f"--rows: {command.rows!r} with {name}; allowed: with one table or figure")
    if command.from_published and (command.quick or command.collect):
        other = "--quick" if command.quick else "--collect"
        raise InputError(f"--from-published: with {other} it has no meaning; allowed: one of them")
