"""The command `report`."""

from __future__ import annotations

import dataclasses
import pathlib

from phase_jax.cli.parse import parse_arguments
from phase_jax.config import option
from phase_jax.report.directory import COMPARISON_FILE
from phase_jax.types import InputError

DESCRIPTION = """\
Build the page report.html of a run again, from the files in its directory alone; or one page that
sets several runs, and rows of the paper, beside each other.

  report runs/mnist                                   writes runs/mnist/report.html
  report runs/fine                                    the same of a fine-tuning
  report runs/narrow runs/wide --out widths.html      two runs compared
  report runs/mnist --paper mnist-cnn128-50k-linf     a run and what the paper prints
  report runs/mnist --audit runs/audited              a run with its audit; --connectivity likewise
"""


@dataclasses.dataclass(frozen=True)
class ReportCommand:
    """What is shown, and where the page goes."""

    out: str | None = option(
        None, f"the page; by default RUN/report.html for one run, {COMPARISON_FILE} for several"
    )
    paper: str | None = option(
        None, "comma list of the paper's settings to compare with (see `reproduce list`)"
    )
    audit: str | None = option(None, "directory of an audit of the run, to be shown with it")
    connectivity: str | None = option(
        None, "directory of a study of connectivity of the run, to be shown with it"
    )


def run_report_command(arguments: list[str]) -> int:
    """Parse, read every run, write the page."""
    runs = []
    while arguments and not arguments[0].startswith("-"):
        runs.append(arguments.pop(0))
    command = parse_arguments(
        ReportCommand, arguments, ReportCommand(), "phase-jax report RUN [RUN ...]", DESCRIPTION
    )
    if not runs:
        raise InputError("RUN: give one first; allowed: directories that sweeps wrote (--out)")
    doubled = next((run for place, run in enumerate(runs) if run in runs[:place]), None)
    if doubled is not None:
        raise InputError(f"RUN: {doubled!r} is given twice; allowed: every run once")
    from phase_jax.report.read import find_kind

    if len(runs) == 1 and find_kind(runs[0]) == "fine_tuning":
        _refuse_options(command)
        from phase_jax.finetune.read import rebuild_page

        print(rebuild_page(runs[0]))
        return 0
    from phase_jax.report.rebuild import write_page
    from phase_jax.reproduce.printed import list_printed_rows

    out = None if command.out is None else pathlib.Path(command.out)
    printed = list_printed_rows(command.paper)
    follow_ups = {"audit": command.audit, "connectivity": command.connectivity}
    print(write_page(runs, printed, out, **follow_ups))
    return 0


def _refuse_options(command: ReportCommand) -> None:
    """Refuse what the page of a fine-tuning, which has its place and no follow-ups, cannot have."""
    for field in dataclasses.fields(command):
        value = getattr(command, field.name)
        if value is not None:
            raise InputError(
                f"--{field.name}: {value!r} has no meaning for a fine-tuning, whose page lies in "
                "its directory; allowed: with what a sweep wrote"
            )
