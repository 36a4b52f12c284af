"""The directory of a run: claiming it before anything is computed, writing into it atomically."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile
import time
from typing import TYPE_CHECKING

from phase_jax.types import InputError, InterruptedRunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phase_jax.config import SweepConfig

RESULT_FILE = "result.json"
PARAMETERS = "parameters"
RUN_FILES = (
    RESULT_FILE,
    "lanes.csv",
    "history.npz",
    "examples.npz",
    PARAMETERS,
    "loss_curve.png",
    "loss_curve.svg",
    "learning_curves.png",
    "learning_curves.svg",
)


def claim_directory(
    out: str | os.PathLike | None, config: SweepConfig, *, overwrite: bool = False
) -> pathlib.Path:
    """Make sure that a run can write its results, before anything is computed.

    Args:
      out: Directory asked for; None for `runs/DATASET-MODEL-TIME`.
      config: Names the default directory.
      overwrite: Whether a run that the directory holds may be replaced.

    Returns:
      The directory; it exists and is writable.

    Raises:
      InputError: It cannot be made or written to, or it holds something already.
    """
    if out is None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        out = pathlib.Path("runs") / f"{config.data.name}-{config.model.name}-{stamp}"
    path = pathlib.Path(out)
    try:
        path.mkdir(parents=True, exist_ok=True)
        held = sorted(entry.name for entry in path.iterdir())
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"--out: {str(path)!r} cannot be written to ({error.strerror}); "
            "give a directory where you may write"
        ) from None
    if held and not overwrite:
        what = "a run" if RESULT_FILE in held else "other files"
        raise InputError(
            f"--out: {str(path)!r} holds {what} already; give another directory, or pass "
            "--overwrite to replace a run"
        )
    strangers = [name for name in held if name not in RUN_FILES and not name.startswith(".tmp-")]
    if strangers:
        raise InputError(
            f"--out: {str(path)!r} holds {strangers[0]!r}, which no run wrote; "
            "give another directory"
        )
    return path


def write_atomically(path: pathlib.Path, write_fn: Callable[[pathlib.Path], None]) -> None:
    """Write a file or directory under a temporary name, then move it into place.

    Args:
      path: Final place.
      write_fn: Writes to the path that it is given (same suffix).

    Raises:
      InterruptedRunError: The disk is full or the directory cannot be written to.
    """
    with (
        _explain_failures(path),
        tempfile.TemporaryDirectory(dir=path.parent, prefix=".tmp-") as scratch,
    ):
        draft = pathlib.Path(scratch) / path.name
        write_fn(draft)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(draft, path)


def open_directory(path: pathlib.Path) -> None:
    """Make a directory, or remove what an earlier or killed run left in it.

    Raises:
      InterruptedRunError: It cannot be made or written to.
    """
    with _explain_failures(path):
        path.mkdir(parents=True, exist_ok=True)
        for entry in path.iterdir():
            if entry.name in RUN_FILES or entry.name.startswith(".tmp-"):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


@contextlib.contextmanager
def _explain_failures(path: pathlib.Path) -> Iterator[None]:
    """Turn a failure to write (no permission, a full disk) into one line."""
    try:
        yield
    except OSError as error:
        raise InterruptedRunError(
            f"cannot write {str(path)!r}: {error.strerror or error}; results are incomplete"
        ) from None
