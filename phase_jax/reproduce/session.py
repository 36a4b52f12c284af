"""Reproduce tables and figures: run what is missing, then set it beside the paper."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from typing import TYPE_CHECKING

from phase_jax.data.directory import check_available
from phase_jax.report.console import open_console
from phase_jax.reproduce.catalogue import load_fine_tuning, load_setting
from phase_jax.reproduce.cost import (
    estimate_connection_hours,
    estimate_fine_tuning_hours,
    estimate_hours,
    format_hours,
)
from phase_jax.reproduce.entries import build_entries
from phase_jax.reproduce.execute import RUN_FNS, run_study
from phase_jax.reproduce.registry import (
    CONNECTED,
    ITEMS,
    PRINTED,
    Kind,
    Stage,
    list_connections,
    list_fine_tunings,
    list_settings,
    name_connection,
    name_fine_tuning,
    select_rows,
    split_run,
)
from phase_jax.reproduce.render import print_reproduction
from phase_jax.reproduce.reproduction import (
    FULL,
    PUBLISHED,
    QUICK,
    Reproduction,
    write_reproduction,
)
from phase_jax.reproduce.runs import (
    READ_FNS,
    has_run,
    has_study,
    name_directory,
    read_study,
)
from phase_jax.reproduce.studies import REGIME_STUDY, describe_regimes
from phase_jax.simulate.registry import STUDIES
from phase_jax.types import InputError
from phase_jax.validation import validate_config

if TYPE_CHECKING:
    from rich.console import Console

    from phase_jax.config import SweepConfig


@dataclasses.dataclass(frozen=True)
class Request:
    """What to reproduce, and how.

    Attributes:
      items: Items of the registry; all of them where `is_all`.
      rows: Comma list of rows of the one item, or None for all.
      quick: Whether the quick variants are meant.
      from_published: Whether only the solver runs, on printed losses.
      collect: Whether nothing runs and what is there is shown.
      out: Directory of runs and tables.
      data_dir: Directory with prepared data, or None.
      num_seeds: Repetitions of every setting, or None for its own number.
      use_cache: Whether compiled programs are kept.
      is_all: Whether items that cannot be had are passed over instead of refused.
    """

    items: tuple[str, ...]
    rows: str | None = None
    quick: bool = False
    from_published: bool = False
    collect: bool = False
    out: pathlib.Path = pathlib.Path("runs/reproduce")
    data_dir: str | None = None
    num_seeds: int | None = None
    use_cache: bool = True
    is_all: bool = False

    @property
    def mode(self) -> str:
        """`full`, `quick` or `published`."""
        return PUBLISHED if self.from_published else QUICK if self.quick else FULL


def run_reproduction(request: Request) -> int:
    """Reproduce the items asked for, print them and write their files.

    Args:
      request: What to reproduce.

    Returns:
      Exit status 0.

    Raises:
      InputError: An item or row cannot be had, or its data are not prepared.
      InterruptedRunError: The device's memory or the disk is full; finished runs are kept.
    """
    console = open_console()
    chosen = {name: select_rows(name, request.rows) for name in request.items}
    chosen = {name: rows for name, rows in chosen.items() if check_item(name, request)}
    _open_out(request.out)
    reasons: dict[str, str] = {}
    if not (request.from_published or request.collect):
        reasons = run_missing(console, chosen, request)
    from phase_jax.environment import describe_environment

    environment = describe_environment()
    for name, rows in chosen.items():
        reproduction = assemble(name, rows, request, reasons)
        print_reproduction(console, reproduction)
        paths = write_reproduction(reproduction, request.out, environment)
        _print(console, f"written: {', '.join(map(str, paths))}\n")
    return 0


def check_item(name: str, request: Request) -> bool:
    """Say whether an item can be had; refuse it where it was asked for by name."""
    item = ITEMS[name]
    if request.from_published and item.kind not in PRINTED:
        reason = f"--from-published: {name} prints no losses to solve"
    elif not request.from_published and item.kind is Kind.NOTHING:
        reason = f"ITEM: {name} is an illustration"
    else:
        return True
    if request.is_all:
        return False
    allowed = ", ".join(
        other
        for other, entry in ITEMS.items()
        if entry.kind in PRINTED or (entry.kind is not Kind.NOTHING and not request.from_published)
    )
    raise InputError(f"{reason}; allowed: {allowed}")


def run_missing(
    console: Console, chosen: dict[str, tuple[str, ...]], request: Request
) -> dict[str, str]:
    """Run every setting and study that is not there yet.

    Returns:
      Setting -> why it has no run, for those whose data are not prepared.

    Raises:
      InputError: Data are not prepared for a row asked for by name.
    """
    missing, reasons = find_missing(chosen, request)
    if missing:
        _print(console, describe_plan(missing, quick=request.quick))
    for place, (name, config) in enumerate(missing.items(), start=1):
        _print(console, f"\n[{place}/{len(missing)}] {name}")
        RUN_FNS[split_run(name)[1]](name, config, request)
    for study in dict.fromkeys(row for name, rows in chosen.items() for row in rows):
        if study in STUDIES and not has_study(request.out, study, quick=request.quick):
            run_study(study, request)
    return reasons


def find_missing(
    chosen: dict[str, tuple[str, ...]], request: Request
) -> tuple[dict[str, SweepConfig], dict[str, str]]:
    """Find the settings that have no run, and among them those whose data are not prepared.

    Returns:
      Setting -> what to run, and setting -> why it cannot run.

    Raises:
      InputError: Data are not prepared for a row asked for by name.
    """
    missing, reasons = {}, {}
    for run, setting in _list_runs(chosen).items():
        if has_run(request.out, run, quick=request.quick):
            continue
        config = configure(setting, request)
        try:
            check_available(config.data.name, config.data.data_dir)
        except InputError as error:
            if request.rows is not None:
                raise
            reasons[run] = f"not run: {error}"
        else:
            missing[run] = config
    return missing, reasons


def _list_runs(chosen: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """List the runs that items need, each with its setting; sweeps first, whose clean lanes serve.

    A fine-tuning starts from the clean lanes of its setting's sweep where that is there; what is
    connected are networks of that sweep.
    """
    settings = {s: s for name in chosen for s in list_settings(name, chosen[name])}
    return (
        settings
        | {name_fine_tuning(s): s for name in chosen for s in list_fine_tunings(name, chosen[name])}
        | {name_connection(s): s for name in chosen for s in list_connections(name, chosen[name])}
    )


def configure(setting: str, request: Request) -> SweepConfig:
    """Load a setting and put in what the machine and the user decide."""
    config = load_setting(setting, quick=request.quick)
    data = dataclasses.replace(config.data, data_dir=request.data_dir)
    seeds = config.num_seeds if request.num_seeds is None else request.num_seeds
    return validate_config(dataclasses.replace(config, data=data, num_seeds=seeds))


def describe_plan(missing: dict[str, SweepConfig], *, quick: bool) -> str:
    """Say what is about to run and how long it takes."""
    names = ", ".join(missing)
    if quick:
        return f"{len(missing)} quick variants to run, some minutes each on 2 CPU cores: {names}"
    hours = sum(_estimate_hours(name, config) or 0.0 for name, config in missing.items())
    return (
        f"{len(missing)} settings to run, about {format_hours(hours)} on one H200-class GPU "
        f"(an estimate; days to months on a CPU, see --quick): {names}"
    )


def _estimate_hours(name: str, config: SweepConfig) -> float | None:
    setting, stage = split_run(name)
    if stage is Stage.FINE_TUNING:
        return estimate_fine_tuning_hours(config, load_fine_tuning(setting))
    if stage is Stage.CONNECTION:
        return estimate_connection_hours(config, len(ITEMS[CONNECTED].epsilons_255))
    return estimate_hours(config)


def assemble(
    name: str, rows: tuple[str, ...], request: Request, reasons: dict[str, str]
) -> Reproduction:
    """Set what is there of an item beside what the paper prints."""
    if request.from_published:
        from phase_jax.reproduce.solve import solve_published

        return Reproduction(name, request.mode, solve_published(name, rows), [], {})
    if ITEMS[name].kind is Kind.STUDIES:
        return _assemble_studies(name, rows, request)
    runs, sources = {}, {}
    for place, setting in _list_runs({name: rows}).items():
        run = READ_FNS[split_run(place)[1]](request.out, setting, quick=request.quick)
        if run is not None:
            runs[place] = run
            facts = {
                key: run.document[key] for key in ("versions", "device", "revision", "seconds")
            }
            sources[place] = {
                "directory": str(run.path), "differences": list(run.differences), **facts
            }  # fmt: skip
    entries = [
        entry._replace(is_comparable=not request.quick)
        for entry in build_entries(name, rows, runs, reasons)
    ]
    return Reproduction(name, request.mode, entries, [], sources)


def _assemble_studies(name: str, rows: tuple[str, ...], request: Request) -> Reproduction:
    findings, sources, entries = [], {}, []
    for row in rows:
        document = read_study(request.out, row, quick=request.quick)
        if name == "tableb1" and row == REGIME_STUDY:
            entries = describe_regimes(document)
        if document is None:
            findings.append(f"{row}: missing")
            continue
        findings += [f"{row}: {finding}" for finding in document["findings"]]
        directory = name_directory(request.out, row, quick=request.quick)
        sources[row] = {"directory": str(directory), "figures": document["figures"]}
    return Reproduction(name, request.mode, entries, findings, sources)


def _open_out(out: pathlib.Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise InputError(
            f"--out: {str(out)!r} cannot be written to ({error.strerror}); "
            "give a directory where you may write"
        ) from None


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
