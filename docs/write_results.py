"""Write docs/results.md from the files in results/: `python docs/write_results.py`.

Every number on that page is read from a result's own file; prose that belongs to a result lies
beside it in NOTES.md, whose first line may name the tables and figures it stands beside
(`Beside: table3, figurea1`). A new directory of a known kind appears without a change here.
"""

from __future__ import annotations

import json
import pathlib

from effect_sections import describe_effects
from result_sections import describe_result, escape, find_seconds, show_provenance, tabulate

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
    TRAINED,
    Kind,
    list_connections,
    list_fine_tunings,
    list_settings,
    name_connection,
    name_fine_tuning,
)
from phase_jax.reproduce.render import build_sections
from phase_jax.reproduce.runs import has_run
from phase_jax.reproduce.session import Request, assemble
from phase_jax.simulate.registry import LISTINGS

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"
INTRODUCTION = """\
# Measured

<!-- Written by docs/write_results.py (`make docs`): edit the files in results/, not this page. -->

Every number on this page is read from the files in `results/`. *Paper* is what the paper prints;
what is *missing* beside it [has not been run](#what-has-not-been-run). Intervals are 95 %
intervals; those of ε\\* cover seeds and the finite test set, with one seed the test set alone.
Where small networks on few images stand beside a table as its counterparts, they show whether an
effect is there, not its size on CIFAR-10.
"""
NAMES = {"tableb": "Table B.", "figurea": "Figure A.", "figureb": "Figure B."}
BESIDE = "Beside:"
TITLES = {"connectivity": "Barriers on curves between networks", "cost": "What ε* costs"}
STUDY_ITEMS = ("figure2", "figure3", "tableb1")


def write_page(results: pathlib.Path) -> str:
    """Write the page of a directory of results."""
    found = {path: read_result(path) for path in sorted(results.rglob("*.json"))}
    found = {path: document for path, document in found.items() if document is not None}
    notes = {path: read_notes(path.parent) for path in found}
    links = {path: link_result(path, results) for path in found}
    lines = [INTRODUCTION]
    lines += summarise(found, links)
    lines += ["## The paper's tables and figures", ""]
    for name in ITEMS:
        beside = [path for path in found if name in list_items(found[path], notes[path][0])]
        lines += show_item(name, beside, found, links, results)
    lines += describe_effects(results)
    lines += ["## Every result", ""]
    for path, document in found.items():
        lines += describe_result(path, document, links[path], notes[path][1])
    lines += show_missing(results, found)
    return "\n".join(lines).rstrip() + "\n"


def read_result(path: pathlib.Path) -> dict | None:
    """Read a result's document; None for JSON that is none."""
    document = json.loads(path.read_text(encoding="utf-8"))
    if "kind" not in document and {"rows", "reference"} <= set(document):
        document["kind"] = "cost"
    return document if "kind" in document else None


def read_notes(folder: pathlib.Path) -> tuple[tuple[str, ...], str]:
    """Read which items a result stands beside, and what there is to say of it."""
    path = folder / "NOTES.md"
    if not path.is_file():
        return (), ""
    text = path.read_text(encoding="utf-8")
    first, _, rest = text.partition("\n")
    if not first.startswith(BESIDE):
        return (), text.strip()
    items = tuple(name.strip() for name in first.removeprefix(BESIDE).split(","))
    unknown = sorted(set(items) - set(ITEMS))
    if unknown:
        raise SystemExit(f"{path}: {unknown[0]!r} is no table or figure")
    return items, rest.strip()


def list_items(document: dict, named: tuple[str, ...]) -> tuple[str, ...]:
    """List the items that a result stands beside: named in its notes, or having it as a row."""
    study = document.get("study")
    own = tuple(name for name in STUDY_ITEMS if study in ITEMS[name].rows)
    return named + own


def link_result(path: pathlib.Path, results: pathlib.Path) -> tuple[str, str]:
    """Return a result's name, and its address in the page: that of a heading with this name."""
    folder = path.parent.relative_to(results).as_posix()
    return folder, folder.replace("/", "")


def name_item(name: str) -> str:
    """Name an item as the paper does."""
    for prefix, title in NAMES.items():
        if name.startswith(prefix):
            return title + name.removeprefix(prefix)
    return name.replace("table", "Table ").replace("figure", "Figure ")


def summarise(found, links) -> list[str]:
    """List every result in a line."""
    rows = []
    for path, document in found.items():
        folder, anchor = links[path]
        seconds = find_seconds(document)
        duration = "" if seconds is None else format_duration(seconds)
        said = document.get("verdict") or document.get("title") or TITLES[document["kind"]]
        rows.append((f"[{folder}](#{anchor})", escape(said), duration))
    return ["## At a glance", "", *tabulate(("result", "what it says or shows", "time"), rows), ""]


def show_item(name, beside, found, links, results) -> list[str]:
    """Show a table or figure: what is printed and measured of its own rows, and counterparts."""
    item = ITEMS[name]
    lines = [f"### {name_item(name)}: {escape(item.title)}", ""]
    if item.kind is Kind.NOTHING:
        return [*lines, "Nothing to measure.", ""]
    lines += show_own_rows(name, results)
    if beside:
        text = ", ".join(f"[{links[path][0]}](#{links[path][1]})" for path in beside)
        word = "Measured by" if item.kind is Kind.STUDIES else "Counterparts measured here:"
        lines += [f"{word} {text}.", ""]
        for path in beside:
            said = found[path].get("verdict") or ""
            if said:
                lines.append(f"- {links[path][0]}: {escape(said)}")
        lines += [""] if lines[-1] else []
    return lines


def show_own_rows(name, results) -> list[str]:
    """Show the rows of an item; of rows that have not been run, critical attack strengths only."""
    item = ITEMS[name]
    folder = results / "linear" if item.kind is Kind.STUDIES else results
    reproduction = assemble(name, item.rows, Request((name,), collect=True, out=folder), {})
    has_value = {entry.row for entry in reproduction.entries if entry.value is not None}
    entries = [
        entry
        for entry in reproduction.entries
        if entry.row in has_value or (entry.epsilon_255 is None and entry.published is not None)
    ]
    lines = []
    for section in build_sections(reproduction._replace(entries=entries)):
        lines += [f"**{section.title}**", "", *tabulate(section.header, section.cells), ""]
        lines += [*(f"- {note}" for note in section.notes), ""] if section.notes else []
    for row, source in reproduction.sources.items():
        if "device" in source:
            lines += [f"{row}: {show_provenance(source)}", ""]
    if not lines and item.kind in TRAINED:
        lines = ["Its own networks [have not been run](#what-has-not-been-run).", ""]
    return lines


def show_missing(results, found) -> list[str]:
    """List what has not been run, each with the command and an estimate of its time."""
    rows = {}
    for name, item in ITEMS.items():
        if item.kind not in TRAINED:
            continue
        for row in item.rows:
            for run, hours in list_needed(name, row, len(item.epsilons_255)).items():
                if not has_run(results, run, quick=False):
                    command = f"`python -m phase_jax.reproduce {name} --rows {row} --out results`"
                    rows.setdefault(run, ([], command, format_hours(hours)))[0].append(name)
    cells = [
        (run, ", ".join(map(name_item, dict.fromkeys(items))), command, hours)
        for run, (items, command, hours) in rows.items()
    ]
    lines = [
        "## What has not been run",
        "",
        "Hours are counted operations over an assumed rate of one H200-class GPU, not measured: "
        "expect the truth within a factor of three. A command runs what its rows lack.",
        "",
        *tabulate(("run", "needed by", "command", "estimate"), cells),
        "",
    ]
    full = {document["study"]: document["settings"]["full"] for document in found.values()
            if document["kind"] == "study"}  # fmt: skip
    cells = [
        (
            study,
            "has not been run" if study not in full else "was run at its reduced numbers",
            f"`python -m phase_jax.simulate {study} --full --out results/linear/{study}`",
            format_duration(listing.seconds[1]),
        )
        for study, listing in LISTINGS.items()
        if not full.get(study)
    ]
    if cells:
        lines += [
            "Studies of the linear model, times on two CPU cores:",
            "",
            *tabulate(("study", "state", "command", "estimate"), cells),
            "",
        ]
    return lines


def list_needed(name, row, num_ends) -> dict[str, float | None]:
    """List the runs that a row of an item needs, with their estimated hours."""
    needed = {s: estimate_hours(load_setting(s)) for s in list_settings(name, (row,))}
    for setting in list_fine_tunings(name, (row,)):
        hours = estimate_fine_tuning_hours(load_setting(setting), load_fine_tuning(setting))
        needed[name_fine_tuning(setting)] = hours
    for setting in list_connections(name, (row,)):
        hours = estimate_connection_hours(load_setting(setting), num_ends)
        needed[name_connection(setting)] = hours
    return needed


if __name__ == "__main__":
    PAGE.write_text(write_page(ROOT / "results"), encoding="utf-8")
    print(f"written: {PAGE}")
