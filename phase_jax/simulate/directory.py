"""The directory of a study: claimed before JAX is imported, resumed, or replaced."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import shutil
from typing import TYPE_CHECKING, Any

from phase_jax.storage.atomic import DRAFT_PREFIX, remove_entries, write_atomically
from phase_jax.storage.lock import LOCK_FILE, hold_directory
from phase_jax.types import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

CHECKPOINTS = "checkpoints"
MARKER = "run.json"


@dataclasses.dataclass(frozen=True)
class StudySettings:
    """What decides a study's numbers; a run goes on only under the same settings.

    Attributes:
      study: Its name.
      full: Whether it runs at the full numbers.
      replicates: Replicates everywhere, or None for the study's own numbers.
      seed: Master seed.
      precision: `float64` or `float32`.
    """

    study: str
    full: bool = False
    replicates: int | None = None
    seed: int = 0
    precision: str = "float64"


@contextlib.contextmanager
def claim_study_directory(
    out: str | os.PathLike | None, settings: StudySettings, *, overwrite: bool = False
) -> Iterator[pathlib.Path]:
    """Hold the directory of a study while it runs; a directory left empty goes again.

    Args:
      out: Directory asked for; None for `runs/simulate-STUDY`.
      settings: Those of the run.
      overwrite: Whether what the study wrote there, finished or not, is removed.

    Yields:
      The directory; it exists, is writable, nobody else's, and holds nothing or checkpoints to go
      on from.

    Raises:
      InputError: It cannot be made or written to, it holds something that must stay, or another
        process holds it.
    """
    path = pathlib.Path("runs") / f"simulate-{settings.study}" if out is None else pathlib.Path(out)
    with hold_directory(path):
        held = {entry.name for entry in path.iterdir() if entry.name != LOCK_FILE}
        own = _list_own(path, settings.study)
        strangers = sorted(name for name in held - own if not name.startswith(DRAFT_PREFIX))
        if strangers:
            raise InputError(
                f"--out: {str(path)!r} holds {strangers[0]!r}, which {settings.study} did not "
                "write; give another directory"
            )
        if not overwrite:
            _check_unfinished(path, settings)
        remove_entries(path, own if overwrite else own - {CHECKPOINTS})
        try:
            yield path
        finally:
            leave_directory(path)


def mark_directory(path: pathlib.Path, settings: StudySettings, figures: list[str]) -> None:
    """Note beside the checkpoints whose they are, and which figures are about to be written."""
    (path / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    text = json.dumps({**dataclasses.asdict(settings), "figures": figures})
    write_atomically(path / CHECKPOINTS / MARKER, lambda draft: _write_text(draft, text))


def release_directory(path: pathlib.Path) -> None:
    """Remove the checkpoints of a study that is complete."""
    shutil.rmtree(path / CHECKPOINTS, ignore_errors=True)


def leave_directory(path: pathlib.Path) -> bool:
    """Tidy up after a run that stopped; return whether anything is there to go on from."""
    folder = path / CHECKPOINTS
    if folder.is_dir() and any(entry.suffix == ".npz" for entry in folder.iterdir()):
        return True
    release_directory(path)
    return False


def _check_unfinished(path: pathlib.Path, settings: StudySettings) -> None:
    """Refuse a finished study, and an unfinished one under other settings."""
    if (path / f"{settings.study}.json").exists():
        raise InputError(
            f"--out: {str(path)!r} holds a finished {settings.study} already; give another "
            "directory, or pass --overwrite to replace it"
        )
    marker = _read_json(path / CHECKPOINTS / MARKER)
    for field, value in dataclasses.asdict(settings).items():
        if marker and marker.get(field) != value:
            raise InputError(
                f"--out: {str(path)!r} holds an unfinished {settings.study} with {field} "
                f"{marker.get(field)}, not {value}; give the same settings to go on, another "
                "directory, or --overwrite to start again"
            )


def _list_own(path: pathlib.Path, study: str) -> set[str]:
    """List what this study wrote there: its files, its checkpoints, figures that they name."""
    own = {f"{study}.json", f"{study}.csv"}
    document = _read_json(path / f"{study}.json")
    marker = _read_json(path / CHECKPOINTS / MARKER)
    if marker.get("study") == study:
        own.add(CHECKPOINTS)
    for figure in [*document.get("figures", []), *marker.get("figures", [])]:
        own |= {f"{figure}.png", f"{figure}.svg"}
    return own


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    """Read a JSON object; an empty one where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _write_text(path: pathlib.Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
