"""The directory of a run: claimed before anything is computed, held by one process."""

from __future__ import annotations

import contextlib
import enum
import pathlib
import time
from typing import TYPE_CHECKING

from phase_jax.storage.atomic import DRAFT_PREFIX, explain_failures, remove_entries, settle
from phase_jax.storage.checkpoint import PREVIOUS_SUFFIX
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
CHECKPOINT_STEM = "checkpoint"
CHECKPOINT = f"{CHECKPOINT_STEM}.npz"
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
CHECKPOINTS = frozenset(
    CHECKPOINT_STEM + part + suffix
    for part in (".npz", "-seeds.npz", "-epsilons.npz")
    for suffix in ("", PREVIOUS_SUFFIX)
)


class Claim(enum.Enum):
    """What a run wants with a directory that may hold another."""

    NEW = enum.auto()
    """Nothing may be there."""
    OVERWRITE = enum.auto()
    """What is there, finished or not, may be replaced."""
    RESUME = enum.auto()
    """An unfinished run there goes on; where there is none, it begins."""
    EXTEND = enum.auto()
    """A finished run there gets more lanes."""


@contextlib.contextmanager
def claim_directory(
    out: str | os.PathLike | None,
    config: SweepConfig,
    claim: Claim = Claim.NEW,
    *,
    files: frozenset[str] = RUN_FILES,
    is_resumable: bool = True,
) -> Iterator[pathlib.Path]:
    """Hold the directory of a run while it runs; a directory left empty goes again.

    Args:
      out: Directory asked for; None for `runs/DATASET-MODEL-TIME`.
      config: Names the default directory.
      claim: What to do with what it holds.
      files: Names that such a run writes.
      is_resumable: Whether such a run can go on, or be extended.

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
        held = {entry.name for entry in path.iterdir() if entry.name != LOCK_FILE}
        held = {name for name in held if not name.startswith(DRAFT_PREFIX)}
        strangers = sorted(held - files - CHECKPOINTS)
        if strangers:
            raise InputError(
                f"--out: {str(path)!r} holds {strangers[0]!r}, which no run wrote; "
                "give another directory"
            )
        _check_held(path, held, claim, is_resumable=is_resumable)
        remove_entries(path, set() if claim in (Claim.RESUME, Claim.EXTEND) else set(CHECKPOINTS))
        yield path


def _check_held(path: pathlib.Path, held: set[str], claim: Claim, *, is_resumable: bool) -> None:
    """Refuse what a claim does not allow."""
    is_finished = RESULT_FILE in held
    if claim is Claim.EXTEND and not is_finished:
        raise InputError(
            f"--out: {str(path)!r} holds no finished run; --extend adds lanes to a finished one, "
            "--resume goes on with an unfinished one"
        )
    if claim in (Claim.NEW, Claim.RESUME) and is_finished:
        extend = "--extend to add lanes to it, or " if is_resumable else ""
        raise InputError(
            f"--out: {str(path)!r} holds a finished run already; give another directory, or pass "
            f"{extend}--overwrite to replace it"
        )
    if claim is Claim.NEW and held:
        go_on = "--resume to go on with it, " if is_resumable else ""
        raise InputError(
            f"--out: {str(path)!r} holds an unfinished run; pass {go_on}--overwrite to begin "
            "again, or give another directory"
        )


def make_directory(path: pathlib.Path) -> None:
    """Make a directory.

    Raises:
      InterruptedRunError: It cannot be made.
    """
    with explain_failures(path, "results are not written"):
        path.mkdir(parents=True, exist_ok=True)
