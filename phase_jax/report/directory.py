"""The directory of a run: claimed before anything is computed, held by one process."""

from __future__ import annotations

import contextlib
import enum
import pathlib
import re
import time
from typing import TYPE_CHECKING

from phase_jax.storage.atomic import DRAFT_PREFIX, remove_entries, settle
from phase_jax.storage.lock import LOCK_FILE, hold_directory
from phase_jax.types import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from phase_jax.config import SweepConfig

RESULT_FILE = "result.json"
PARAMETERS = "parameters"
ADVERSARIAL_FILE = "adversarial.npz"
PAGE_FILE = "report.html"
COMPARISON_FILE = "comparison.html"
CHECKPOINT = "checkpoint.npz"
LOG_FILE = "log.jsonl"
"""What happened in a directory, line by line; it says nothing about what the directory holds."""
RUN_FILES = frozenset(
    {
        RESULT_FILE,
        "lanes.csv",
        "history.npz",
        "examples.npz",
        ADVERSARIAL_FILE,
        PARAMETERS,
        "loss_curve.png",
        "loss_curve.svg",
        "learning_curves.png",
        "learning_curves.svg",
        PAGE_FILE,
        "overfitting.csv",
        "overfitting.png",
        "overfitting.svg",
        "transition.csv",
        "transition.png",
        "transition.svg",
    }
)
_CHECKPOINTS = re.compile(
    r"checkpoint(-(seeds|epsilons|measure|tuning|(tuning-)?\d+))?\.npz(\.previous)?"
)


class Claim(enum.Enum):
    """What a run wants with a directory that may hold another."""

    NEW = enum.auto()
    """Nothing may be there, but the log of a run that saved nothing."""
    OVERWRITE = enum.auto()
    """What is there, finished or not, may be replaced."""
    RESUME = enum.auto()
    """An unfinished run there goes on; where there is none, it begins."""
    EXTEND = enum.auto()
    """A finished run there gets more lanes."""
    GROW = enum.auto()
    """What is there goes on or gets more lanes; where nothing is, it begins."""


@contextlib.contextmanager
def claim_directory(
    out: str | os.PathLike | None,
    config: SweepConfig,
    claim: Claim = Claim.NEW,
    *,
    files: frozenset[str] = RUN_FILES,
    is_extendable: bool = True,
) -> Iterator[pathlib.Path]:
    """Hold the directory of a run while it runs; a directory left empty goes again.

    Args:
      out: Directory asked for; None for `runs/DATASET-MODEL-TIME`.
      config: Names the default directory.
      claim: What to do with what it holds.
      files: Names that such a run writes.
      is_extendable: Whether such a run can be extended.

    Yields:
      The directory; it exists, is writable and nobody else's.

    Raises:
      InputError: It cannot be made or written to, it holds what the claim does not allow, or
        another process holds it.
    """
    if out is None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        out = pathlib.Path("runs") / f"{config.data.name}-{config.model.name}-{stamp}"
    path = pathlib.Path(out)
    with hold_directory(path):
        settle(path, RESULT_FILE)
        held = {entry.name for entry in path.iterdir()} - {LOCK_FILE, LOG_FILE}
        held = {name for name in held if not name.startswith(DRAFT_PREFIX)}
        checkpoints = {name for name in held if is_checkpoint(name)}
        strangers = sorted(held - files - checkpoints)
        if strangers:
            raise InputError(
                f"--out: {str(path)!r} holds {strangers[0]!r}, which no run wrote; "
                "give another directory"
            )
        _check_held(path, held, claim, is_extendable=is_extendable)
        remove_entries(path, checkpoints if claim in (Claim.NEW, Claim.OVERWRITE) else set())
        yield path


def is_checkpoint(name: str) -> bool:
    """Say whether a file's name is that of a checkpoint in a run's directory."""
    return _CHECKPOINTS.fullmatch(name) is not None


def _check_held(path: pathlib.Path, held: set[str], claim: Claim, *, is_extendable: bool) -> None:
    """Refuse what a claim does not allow."""
    is_finished = RESULT_FILE in held
    if claim is Claim.EXTEND and not is_finished:
        raise InputError(
            f"--out: {str(path)!r} holds no finished run; --extend adds lanes to a finished one, "
            "--resume goes on with an unfinished one"
        )
    if claim in (Claim.NEW, Claim.RESUME) and is_finished:
        extend = "--extend to add lanes to it, or " if is_extendable else ""
        raise InputError(
            f"--out: {str(path)!r} holds a finished run already; give another directory, or pass "
            f"{extend}--overwrite to replace it"
        )
    if claim is Claim.NEW and held:
        raise InputError(
            f"--out: {str(path)!r} holds an unfinished run; pass --resume to go on with it, "
            "--overwrite to begin again, or give another directory"
        )
