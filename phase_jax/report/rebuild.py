"""Build the page of runs from their directories, without their data or networks."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from phase_jax.report.directory import COMPARISON_FILE, PAGE_FILE
from phase_jax.report.page import build_comparison, build_page
from phase_jax.report.read import load_run
from phase_jax.report.write import write_text
from phase_jax.storage.atomic import write_atomically
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phase_jax.report.page import PrintedRow


def write_page(
    runs: Sequence[str], printed: Sequence[PrintedRow] = (), out: pathlib.Path | None = None
) -> pathlib.Path:
    """Write the page of one run, or of several beside each other.

    Args:
      runs: Directories that sweeps wrote, all different.
      printed: Rows of the paper to compare with.
      out: The file; by default in the run's directory, for a comparison in the current one.

    Returns:
      Path of the page.

    Raises:
      InputError: A directory holds no complete run, or `out` is no place for a file.
      InterruptedRunError: The page cannot be written.
    """
    is_one = len(runs) == 1 and not printed
    if out is None:
        out = pathlib.Path(runs[0], PAGE_FILE) if is_one else pathlib.Path(COMPARISON_FILE)
    elif out.is_dir() or not out.parent.is_dir():
        what = "is a directory" if out.is_dir() else "lies in no directory that exists"
        raise InputError(f"--out: {str(out)!r} {what}; allowed: a file that can be written")
    results = [load_run(run, with_parameters=False) for run in runs]
    if is_one:
        page = build_page(results[0], has_files=out.parent.samefile(runs[0]))
    else:
        page = build_comparison(list(zip(_name_runs(runs), results, strict=True)), printed)
    write_atomically(out, lambda path: write_text(path, page))
    return out


def _name_runs(runs: Sequence[str]) -> list[str]:
    """Name runs by their directories; by their whole paths where two directories share a name."""
    names = [pathlib.Path(run).resolve().name for run in runs]
    return names if len(set(names)) == len(names) else list(runs)
