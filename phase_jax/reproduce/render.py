"""A table as text: the same sections for the console and for Markdown."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, NamedTuple

from rich.table import Table

from phase_jax.report.wording import format_epsilon
from phase_jax.reproduce.entries import SCALE, Entry

if TYPE_CHECKING:
    from rich.console import Console

    from phase_jax.reproduce.reproduction import Reproduction

NOTHING = "-"
LABELS = {
    "epsilon_star": "ε*",
    "epsilon_star_cross_entropy": "ε*, cross-entropy",
    "unstable_epsilon": "unstable ε",
    "trajectory_epsilon": "ε, trajectory",
    **{
        f"epsilon_star_finetune_{attack}_{points}": f"ε̂({attack.upper()}, {points})"
        for attack in ("pgd", "fgm")
        for points in (1, 3)
    },
}
"""Quantities as the paper writes them; others go by their own names."""


class Section(NamedTuple):
    """One rectangular part of a table.

    Attributes:
      title: What it shows.
      header: Names of the columns.
      cells: Rows of text.
      notes: Lines below it.
    """

    title: str
    header: tuple[str, ...]
    cells: list[tuple[str, ...]]
    notes: list[str]


def build_sections(reproduction: Reproduction) -> list[Section]:
    """Turn entries into sections: whole-row quantities first, then the lanes of every row."""
    stars = [entry for entry in reproduction.entries if entry.epsilon_255 is None]
    lanes = [entry for entry in reproduction.entries if entry.epsilon_255 is not None]
    sections = []
    for unit in dict.fromkeys(entry.unit for entry in stars):
        own = [entry for entry in stars if entry.unit == unit]
        title = f"Critical attack strengths ({unit})" if unit else "Critical attack strengths"
        names = [entry.row for entry in own]
        sections.append(_build_section(title, "row", own, names, reproduction.value_name))
    for row in dict.fromkeys(entry.row for entry in lanes):
        own = [entry for entry in lanes if entry.row == row]
        names = [format_epsilon((entry.epsilon_255 or 0.0) / SCALE) for entry in own]
        sections.append(_build_section(row, "ε", own, names, reproduction.value_name))
    return sections


def render_markdown(reproduction: Reproduction) -> str:
    """Write a reproduction as a Markdown document."""
    lines = [f"# {reproduction.heading}", "", reproduction.legend, ""]
    for section in build_sections(reproduction):
        lines += [f"## {section.title}", ""]
        lines += [_join(section.header), _join(tuple("---" for _ in section.header))]
        lines += [_join(cells) for cells in section.cells]
        lines += ["", *(f"- {note}" for note in section.notes), *([""] if section.notes else [])]
    lines += [f"- {finding}" for finding in reproduction.findings]
    return "\n".join(lines).rstrip() + "\n"


def print_reproduction(console: Console, reproduction: Reproduction) -> None:
    """Print a reproduction."""
    console.print(reproduction.heading, style="bold", markup=False, highlight=False)
    console.print(reproduction.legend, markup=False, highlight=False, soft_wrap=True)
    for section in build_sections(reproduction):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for place, name in enumerate(section.header):
            first = place == 0
            table.add_column(
                name, justify="left" if first else "right", overflow="fold", no_wrap=first
            )
        for cells in section.cells:
            table.add_row(*cells)
        console.print()
        console.print(section.title, markup=False, highlight=False)
        console.print(table, markup=False, highlight=False)
        for note in section.notes:
            console.print(f"  {note}", markup=False, highlight=False, soft_wrap=True)
    for finding in reproduction.findings:
        console.print(f"- {finding}", markup=False, highlight=False, soft_wrap=True)


def _build_section(
    title: str, first: str, entries: list[Entry], names: list[str], value_name: str
) -> Section:
    """Lay out entries of one unit, a line each; without intervals, no column for them.

    Args:
      title: Title of the section.
      first: Name of the first column.
      entries: The entries.
      names: What stands in the first column; a name is written once if it repeats.
      value_name: What our own numbers are called.
    """
    header = [first, "quantity", "paper", value_name, "95 % interval", "difference", "status"]
    lines = [header]
    for place, (name, entry) in enumerate(zip(names, entries, strict=True)):
        lines.append(
            [
                "" if place and names[place - 1] == name else name,
                label_quantity(entry),
                format_number(entry.published),
                format_number(entry.value),
                _format_interval(entry),
                format_number(entry.difference, signed=True),
                entry.status,
            ]
        )
    if all(entry.low is None for entry in entries):
        place = header.index("95 % interval")
        lines = [[*line[:place], *line[place + 1 :]] for line in lines]
    top, *cells = map(tuple, lines)
    return Section(title, top, cells, _gather_notes(entries, names))


def _gather_notes(entries: list[Entry], names: list[str]) -> list[str]:
    """Write every note once, after the rows, and the quantities of them, that it belongs to."""
    quantities = collections.defaultdict(list)
    told = collections.defaultdict(lambda: collections.defaultdict(list))
    for name, entry in zip(names, entries, strict=True):
        quantities[name].append(label_quantity(entry))
        for note in entry.notes:
            told[note][name].append(label_quantity(entry))
    lines = []
    for note, rows in told.items():
        subjects = [
            ", ".join((name,) if labels == quantities[name] else (name, *labels))
            for name, labels in rows.items()
        ]
        lines.append(f"{'; '.join(subjects)}: {note}")
    return lines


def label_quantity(entry: Entry) -> str:
    """Name a quantity as the paper does."""
    return LABELS.get(entry.quantity, entry.quantity.replace("_", " "))


def format_number(value: float | None, *, signed: bool = False) -> str:
    """Write a number; `-` for one that does not exist."""
    if value is None:
        return NOTHING
    text = f"{value:.4g}"
    return f"+{text}" if signed and value > 0 else text


def _format_interval(entry: Entry) -> str:
    if entry.low is None:
        return NOTHING
    low = format_number(entry.low)
    return f"from {low}" if entry.high is None else f"{low} to {format_number(entry.high)}"


def _join(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
