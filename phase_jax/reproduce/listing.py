"""The list of tables and figures: rows, what they need, what is there. No JAX."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from phase_jax.data.directory import check_available
from phase_jax.report.wording import format_duration
from phase_jax.reproduce.catalogue import load_fine_tuning, load_setting
from phase_jax.reproduce.cost import (
    estimate_connection_hours,
    estimate_fine_tuning_hours,
    estimate_hours,
    format_hours,
)
from phase_jax.reproduce.registry import (
    ITEMS,
    Item,
    Kind,
    list_connections,
    list_fine_tunings,
    list_settings,
    name_connection,
    name_fine_tuning,
)
from phase_jax.reproduce.runs import has_run, has_study
from phase_jax.simulate.registry import LISTINGS
from phase_jax.types import InputError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

PLAIN_WIDTH = 160
"""Columns where there is no terminal: the longest title fits."""
HEADER = ("item", "row", "data", "full run", "results")
LEGEND = (
    "full run: settings on one H200-class GPU (estimated, not measured), studies on two CPU cores; "
    "quick variants take minutes on two CPU cores. results: what {out} holds. "
    "--from-published solves the losses that the paper prints."
)


def print_listing(out: pathlib.Path, data_dir: str | None = None) -> None:
    """Print every table and figure with its rows.

    Args:
      out: Directory of runs.
      data_dir: Directory with prepared data, or None for the usual one.
    """
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in HEADER:
        table.add_column(name, overflow="fold")
    for name, item in ITEMS.items():
        for cells in list_rows(name, item, out, data_dir):
            table.add_row(*cells)
    console.print(table, highlight=False)
    console.print(LEGEND.format(out=out), markup=False, highlight=False, soft_wrap=True)


def list_rows(
    name: str, item: Item, out: pathlib.Path, data_dir: str | None
) -> list[tuple[str, ...]]:
    """List an item: its title, then its rows with data, hours and results."""
    state = "nothing to compute" if item.kind is Kind.NOTHING else ""
    rows = [(f"[bold]{name}[/bold]", f"[bold]{item.title}[/bold]", "", "", state)]
    for row in item.rows:
        if item.kind is Kind.STUDIES:
            seconds = LISTINGS[row].seconds[1]
            rows.append(("", row, "none", format_duration(seconds), _state(has_study, row, out)))
            continue
        for setting in list_settings(name, (row,)):
            hours = format_hours(estimate_hours(load_setting(setting)))
            data = _describe_data(setting, data_dir)
            label = setting if setting == row else f"  with {setting}"
            rows.append(("", label, data, hours, _state(has_run, setting, out)))
        for setting in list_fine_tunings(name, (row,)):
            config, tuning = load_setting(setting), load_fine_tuning(setting)
            hours = format_hours(estimate_fine_tuning_hours(config, tuning))
            run = name_fine_tuning(setting)
            data = _describe_data(setting, data_dir)
            rows.append(("", f"  {run}", data, hours, _state(has_run, run, out)))
        for setting in list_connections(name, (row,)):
            num_ends = len(item.epsilons_255)
            hours = format_hours(estimate_connection_hours(load_setting(setting), num_ends))
            run = name_connection(setting)
            data = _describe_data(setting, data_dir)
            rows.append(("", f"  {run}", data, hours, _state(has_run, run, out)))
    return rows


def _describe_data(setting: str, data_dir: str | None) -> str:
    name = load_setting(setting).data.name
    try:
        check_available(name, data_dir)
    except InputError:
        return f"{name} (not prepared)"
    return name


def _state(has_fn: Callable[..., bool], name: str, out: pathlib.Path) -> str:
    """Say which of the full and the quick results are there."""
    modes = {"full": False, "quick": True}
    found = [mode for mode, quick in modes.items() if has_fn(out, name, quick=quick)]
    return ", ".join(found) or "missing"
