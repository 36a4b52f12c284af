"""Files and directories that appear under their name only when they are complete."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
from typing import TYPE_CHECKING

from phase_jax.types import InterruptedRunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DRAFT_PREFIX = ".tmp-"
COMPLETE_SET = ".complete"
LEFTOVERS = ".leftovers"


@contextlib.contextmanager
def open_draft(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield a place beside `path`, of the same name, and remove what is left there."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=DRAFT_PREFIX) as scratch:
        yield pathlib.Path(scratch) / path.name


def write_atomically(path: pathlib.Path, write_fn: Callable[[pathlib.Path], None]) -> None:
    """Write a file or directory under a temporary name, then move it into place.

    Args:
      path: Final place.
      write_fn: Writes to the path that it is given (same name, in another directory).

    Raises:
      InterruptedRunError: The disk is full or the directory cannot be written to.
    """
    with explain_failures(path, "results are incomplete"), open_draft(path) as draft:
        write_fn(draft)
        if draft.is_file():
            flush(draft)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(draft, path)


def replace_files(
    path: pathlib.Path,
    write_fn: Callable[[pathlib.Path], None],
    last: str,
    *,
    is_replaced: Callable[[str], object] = lambda name: False,
) -> None:
    """Write a set of files into a directory: all of them, or none.

    The set is written elsewhere first. Once it is complete it has a name of its own, and who finds
    that name after a kill moves the rest into place (`settle`).

    Args:
      path: The directory; it exists. Its other files stay.
      write_fn: Writes the files into the directory that it is given.
      last: Name of the file whose presence says that the set is complete.
      is_replaced: Which names belong to an earlier set: those that the new one lacks go with it.

    Raises:
      InterruptedRunError: The disk is full or the directory cannot be written to; the files there
        are as before.
    """
    complete = path / COMPLETE_SET
    with explain_failures(path, "results are not written"), open_draft(complete) as draft:
        draft.mkdir()
        write_fn(draft)
        for file in draft.rglob("*"):
            if file.is_file():
                flush(file)
        settle(path, last)  # what a killed process left
        held, new = ({entry.name for entry in place.iterdir()} for place in (path, draft))
        leftovers = sorted(name for name in held - new if is_replaced(name))
        (draft / LEFTOVERS).write_text(json.dumps(leftovers), encoding="utf-8")
        flush(draft / LEFTOVERS)
        os.replace(draft, complete)
        settle(path, last)


def settle(path: pathlib.Path, last: str) -> None:
    """Move a complete set of files into place, as `replace_files` does, if there is one."""
    complete = path / COMPLETE_SET
    if not complete.is_dir():
        return
    if (complete / last).exists():
        (path / last).unlink(missing_ok=True)
    leftovers = complete / LEFTOVERS
    if leftovers.exists():
        for name in json.loads(leftovers.read_text(encoding="utf-8")):
            _remove(path / name)
        leftovers.unlink()
    for entry in sorted(complete.iterdir(), key=lambda entry: entry.name == last):
        target = path / entry.name
        if target.is_dir():
            _remove(target)
        os.replace(entry, target)
    complete.rmdir()


def flush(path: pathlib.Path) -> None:
    """Wait until a file is on the disk: a rename may otherwise arrive before its content."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def link_or_copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Put a file under a second name, never leaving half of it there; a link where possible."""
    with open_draft(target) as draft:
        try:
            os.link(source, draft)
        except OSError:  # a file system without links
            shutil.copyfile(source, draft)
        os.replace(draft, target)


def remove_entries(path: pathlib.Path, names: set[str]) -> None:
    """Remove some entries of a directory, and the drafts that a killed process left there."""
    for entry in path.iterdir():
        if entry.name in names or entry.name.startswith(DRAFT_PREFIX):
            _remove(entry)


def _remove(path: pathlib.Path) -> None:
    """Remove a file or directory, if it is there."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextlib.contextmanager
def explain_failures(path: pathlib.Path, consequence: str) -> Iterator[None]:
    """Turn a failure to write (no permission, a full disk) into one line."""
    try:
        yield
    except OSError as error:
        raise InterruptedRunError(
            f"cannot write {str(path)!r}: {error.strerror or error}; {consequence}"
        ) from None
