"""The directory of a run: claimed before anything is computed, held by one process."""

from __future__ import annotations

import contextlib
import pathlib
import time
from typing import TYPE_CHECKING

from phase_jax.storage.atomic import DRAFT_PREFIX, explain_failures, remove_entries
from phase_jax.storage.checkpoint import PREVIOUS_SUFFIX
from phase_jax.storage.lock import LOCK_FILE, hold_directory
from phase_jax.types import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from phase_jax.config import SweepConfig

RESULT_FILE = "result.json"
PARAMETERS = "parameters"
CHECKPOINT = "checkpoint.npz"
RUN_FILES = frozenset(
    {
        RESULT_FILE,
        "lanes.csv",
        "history.npz",
        "examples.npz",
        PARAMETERS,
        "loss_curve.png",
        "loss_curve.svg",
        "learning_curves.png",
        "learning_curves.svg",
    }
)
CHECKPOINTS = frozenset({CHECKPOINT, CHECKPOINT + PREVIOUS_SUFFIX})


@contextlib.contextmanager
def claim_directory(
    out: str | os.PathLike | None,
    config: SweepConfig,
    *,
    overwrite: bool = False,
    resume: bool | None = False,
    files: frozenset[str] = RUN_FILES,
) -> Iterator[pathlib.Path]:
    """Hold the directory of a run while it runs; a directory left empty goes again.

    Args:
      out: Directory asked for; None for `runs/DATASET-MODEL-TIME`.
      config: Names the default directory.
      overwrite: Whether a run that the directory holds, finished or not, may be replaced.
      resume: Whether an unfinished run there goes on; where there is none, it begins. None for runs
        that cannot.
      files: Names that such a run writes.

    Yields:
      The directory; it exists, is writable and nobody else's.

    Raises:
      InputError: It cannot be made or written to, it holds something already, or another process
        holds it.
    """
    if out is None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        out = pathlib.Path("runs") / f"{config.data.name}-{config.model.name}-{stamp}"
    path = pathlib.Path(out)
    with hold_directory(path):
        held = {entry.name for entry in path.iterdir() if entry.name != LOCK_FILE}
        held = {name for name in held if not name.startswith(DRAFT_PREFIX)}
        strangers = sorted(held - files - CHECKPOINTS)
        if strangers:
            raise InputError(
                f"--out: {str(path)!r} holds {strangers[0]!r}, which no run wrote; "
                "give another directory"
            )
        if not overwrite:
            _check_unfinished(path, held, resume=resume)
        remove_entries(path, set() if resume else set(CHECKPOINTS))
        yield path


def _check_unfinished(path: pathlib.Path, held: set[str], *, resume: bool | None) -> None:
    """Refuse a finished run, and an unfinished one that is not to go on."""
    if RESULT_FILE in held:
        raise InputError(
            f"--out: {str(path)!r} holds a finished run already; give another directory, or pass "
            "--overwrite to replace it"
        )
    if held and not resume:
        go_on = "" if resume is None else "--resume to go on with it, "
        raise InputError(
            f"--out: {str(path)!r} holds an unfinished run; pass {go_on}--overwrite to begin "
            "again, or give another directory"
        )


def open_directory(path: pathlib.Path, files: frozenset[str] = RUN_FILES) -> None:
    """Make a directory, or remove what an earlier or killed run left in it.

    Args:
      path: The directory.
      files: Names that such a run writes.

    Raises:
      InterruptedRunError: It cannot be made or written to.
    """
    with explain_failures(path, "results are incomplete"):
        path.mkdir(parents=True, exist_ok=True)
        remove_entries(path, set(files))
