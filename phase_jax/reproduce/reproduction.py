"""One table or figure, reproduced: its entries, where they come from, and its files."""

from __future__ import annotations

import csv
import functools
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from phase_jax.report.document import convert_to_plain
from phase_jax.reproduce.entries import Entry
from phase_jax.reproduce.registry import ITEMS, Kind
from phase_jax.reproduce.render import render_markdown
from phase_jax.storage.atomic import write_atomically

if TYPE_CHECKING:
    import pathlib

SCHEMA_VERSION = 1
FULL, QUICK, PUBLISHED = "full", "quick", "published"
LEGENDS = {
    FULL: "Paper: as printed. Measured: the settings of configs/paper, run in full.",
    QUICK: (
        "QUICK VARIANTS: few images, few epochs, narrow networks. They show that the settings run; "
        "their numbers are not comparable with the paper's."
    ),
    PUBLISHED: "The solver on the losses that the paper prints; nothing was trained.",
}
STUDY_LEGENDS = {
    FULL: "Studies of the linear model, at their full numbers.",
    QUICK: "Studies of the linear model, at their reduced numbers.",
}


class Reproduction(NamedTuple):
    """A table or figure with everything known of it.

    Attributes:
      name: Item of the registry.
      mode: `full`, `quick` or `published`.
      entries: Printed beside measured numbers.
      findings: Sentences of the studies behind it.
      sources: Setting or study -> directory, revision, device and differences of its run.
    """

    name: str
    mode: str
    entries: list[Entry]
    findings: list[str]
    sources: dict[str, dict[str, Any]]

    @property
    def heading(self) -> str:
        """Name and title."""
        return f"{self.name}: {ITEMS[self.name].title}"

    @property
    def legend(self) -> str:
        """What the numbers are."""
        is_study = ITEMS[self.name].kind is Kind.STUDIES
        return (STUDY_LEGENDS if is_study else LEGENDS)[self.mode]

    @property
    def value_name(self) -> str:
        """What the column of our own numbers is called."""
        return "solved" if self.mode == PUBLISHED else "measured"

    @property
    def file_stem(self) -> str:
        """Name of its files without their suffix."""
        return self.name if self.mode == FULL else f"{self.name}-{self.mode}"


def write_reproduction(
    reproduction: Reproduction, out: pathlib.Path, environment: dict[str, Any]
) -> list[pathlib.Path]:
    """Write a reproduction as Markdown, CSV and JSON.

    Args:
      reproduction: What to write.
      out: The directory; it exists.
      environment: Versions, device and source revision of this process.

    Returns:
      The files.

    Raises:
      InterruptedRunError: The disk is full or the directory cannot be written to.
    """
    rows = convert_to_plain(
        [{**entry._asdict(), "difference": entry.difference} for entry in reproduction.entries]
    )
    document = {
        "schema_version": SCHEMA_VERSION,
        "kind": "reproduction",
        "item": reproduction.name,
        "title": ITEMS[reproduction.name].title,
        "mode": reproduction.mode,
        "legend": reproduction.legend,
        "entries": rows,
        "findings": reproduction.findings,
        "sources": convert_to_plain(reproduction.sources),
        **environment,
    }
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    writers = {
        "md": functools.partial(_write_text, text=render_markdown(reproduction)),
        "csv": functools.partial(_write_csv, rows=rows),
        "json": functools.partial(_write_text, text=text),
    }
    paths = []
    for suffix, write_fn in writers.items():
        paths.append(out / f"{reproduction.file_stem}.{suffix}")
        write_atomically(paths[-1], write_fn)
    return paths


def _write_csv(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=[*Entry._fields, "difference"])
        writer.writeheader()
        writer.writerows({**row, "notes": "; ".join(row["notes"])} for row in rows)


def _write_text(path: pathlib.Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
