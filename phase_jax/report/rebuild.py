"""Build the page of runs from their directories, without their data or networks."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from phase_jax.report.directory import COMPARISON_FILE, PAGE_FILE
from phase_jax.report.page import build_comparison, build_page
from phase_jax.report.read import load_run
from phase_jax.report.transition import assess_transition, read_follow_ups
from phase_jax.report.write import list_transition_files, write_text
from phase_jax.storage.atomic import write_atomically
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phase_jax.report.page import PrintedRow


def write_page(
    runs: Sequence[str],
    printed: Sequence[PrintedRow] = (),
    out: pathlib.Path | None = None,
    *,
    audit: str | None = None,
    connectivity: str | None = None,
) -> pathlib.Path:
    """Write the page of one run, or of several beside each other.

    Args:
      runs: Directories that sweeps wrote, all different.
      printed: Rows of the paper to compare with.
      out: The file; by default in the run's directory, for a comparison in the current one.
      audit: Directory of an audit of the one run.
      connectivity: Directory of a study of connectivity of the one run.

    Returns:
      Path of the page.

    In the directory of the one run the summary around epsilon* is written as well.

    Raises:
      InputError: A directory holds no complete run, or `out` is no place for a file; an audit or a
        study is of another run, or given beside several.
      InterruptedRunError: The page cannot be written.
    """
    is_one = len(runs) == 1 and not printed
    for flag, place in (("--audit", audit), ("--connectivity", connectivity)):
        if place is not None and not is_one:
            raise InputError(f"{flag}: {place!r} belongs to one run; allowed: with one RUN alone")
    if out is None:
        out = pathlib.Path(runs[0], PAGE_FILE) if is_one else pathlib.Path(COMPARISON_FILE)
    elif out.is_dir() or not out.parent.is_dir():
        what = "is a directory" if out.is_dir() else "lies in no directory that exists"
        raise InputError(f"--out: {str(out)!r} {what}; allowed: a file that can be written")
    results = [load_run(run, with_parameters=False) for run in runs]
    if is_one:
        result, has_files = results[0], out.parent.samefile(runs[0])
        follow_ups = read_follow_ups(result, audit, connectivity)
        page = build_page(result, has_files=has_files, follow_ups=follow_ups)
        if has_files:
            files = list_transition_files(assess_transition(result, follow_ups))
            for name, write_fn in files.items():
                write_atomically(out.parent / name, write_fn)
    else:
        page = build_comparison(list(zip(_name_runs(runs), results, strict=True)), printed)
    write_atomically(out, lambda path: write_text(path, page))
    return out


def _name_runs(runs: Sequence[str]) -> list[str]:
    """Name runs by their directories; by their whole paths where two directories share a name."""
    names = [pathlib.Path(run).resolve().name for run in runs]
    return names if len(set(names)) == len(names) else list(runs)
