"""The file that a Monte Carlo run continues from: written atomically, checked when read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from phase_jax.monte_carlo.statistics import Accumulator, Moments, Reservoir
from phase_jax.types import InputError, InterruptedRunError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMA_VERSION = 1
CHECKSUM = "checksum"
UNREADABLE = (EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)


class SavedRun(NamedTuple):
    """Everything a run needs to go on; it covers whole chunks only.

    A last, padded chunk is computed again when the run is extended, so that an extended run adds
    the same chunks in the same order as one that was long from the start.
    """

    identity: dict[str, Any]
    """What must not differ: each field is compared and, if it does differ, named."""
    batch_size: int
    """Replicates per chunk."""
    accumulator: Accumulator
    values: tuple[np.ndarray, ...]
    """[R, ...] outputs of the replicates done, one array per leaf; empty if they are not kept."""


class CheckpointFile:
    """A checkpoint at a path, and the previous good one beside it.

    Attributes:
      path: The newest checkpoint.
      saved: What was found there, or in the previous one; None for a new run.
      notes: What the user should know about that.
    """

    def __init__(self, path: str | os.PathLike):
        """Read what is there.

        Raises:
          InputError: The place cannot be written to, the file cannot be opened, or another version
            of this package wrote it.
        """
        self.path = pathlib.Path(path)
        self.notes: tuple[str, ...] = ()
        _check_place(self.path)
        self._newest_is_good = self.path.exists()
        self.saved = _read(self.path) if self._newest_is_good else None
        if self._newest_is_good and self.saved is None:
            self._newest_is_good = False
            self.saved = _read(self.previous_path) if self.previous_path.exists() else None
            what = "starting again"
            if self.saved is not None:
                num_done = self.saved.accumulator.num_done
                what = f"going on from {num_done} replicates in {str(self.previous_path)!r}"
            self.notes = (f"checkpoint {str(self.path)!r} is damaged; {what}",)

    @property
    def previous_path(self) -> pathlib.Path:
        """Where the last but one checkpoint is."""
        return self.path.with_name(self.path.name + ".previous")

    def check_identity(self, identity: Mapping[str, Any]) -> None:
        """Make sure that what was found belongs to this run.

        Raises:
          InputError: It does not; the line names the first field that differs.
        """
        if self.saved is None:
            return
        for field, expected in identity.items():
            found = self.saved.identity.get(field)
            if found != expected:
                raise InputError(
                    f"checkpoint {str(self.path)!r}: {field} is {found!r} there but {expected!r} "
                    "in this run; give another file, or the settings that it was made with"
                )

    def save(self, run: SavedRun) -> None:
        """Replace the newest checkpoint; the one before becomes the previous one.

        Raises:
          InterruptedRunError: The disk is full or the directory cannot be written to; the last
            good checkpoint is still there.
        """
        try:
            with _draft_file(self.path) as draft:
                with draft.open("wb") as stream:
                    np.savez(stream, **_pack(run))
                    stream.flush()
                    os.fsync(stream.fileno())
                if self._newest_is_good:
                    _copy(self.path, self.previous_path)
                os.replace(draft, self.path)
        except OSError as error:
            raise InterruptedRunError(
                f"cannot write checkpoint {str(self.path)!r}: {error.strerror or error}; "
                "the last good one is kept"
            ) from None
        self._newest_is_good = True


def _check_place(path: pathlib.Path) -> None:
    """Refuse a path where no checkpoint can be written, before anything is computed."""
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a directory")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(
            f"checkpoint {str(path)!r} cannot be written ({error.strerror}); "
            "allowed: a file in an existing directory where you may write"
        ) from None


@contextlib.contextmanager
def _draft_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield a new name in the same directory, and remove what is left under it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".tmp-{path.name}-")
    os.close(handle)
    draft = pathlib.Path(name)
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Put a file under a second name, never leaving half of it there; a link where possible."""
    with _draft_file(target) as draft:
        draft.unlink()
        try:
            os.link(source, draft)
        except OSError:  # a file system without links
            shutil.copyfile(source, draft)
        os.replace(draft, target)


def _pack(run: SavedRun) -> dict[str, Any]:
    """Turn a run into named arrays, the last of them a checksum of the others."""
    accumulator = run.accumulator
    arrays = {
        "schema_version": np.asarray(SCHEMA_VERSION),
        "identity": np.asarray(json.dumps(run.identity)),
        "batch_size": np.asarray(run.batch_size),
        "num_done": np.asarray(accumulator.num_done),
        "hashes": accumulator.reservoir.hashes,
        "kept": accumulator.reservoir.values,
    }
    arrays |= {f"moments_{name}": v for name, v in accumulator.moments._asdict().items()}
    arrays |= {f"values_{leaf}": value for leaf, value in enumerate(run.values)}
    return arrays | {CHECKSUM: np.asarray(_digest(arrays))}


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of names, types, shapes and contents."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {arrays[name].shape};".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _read(path: pathlib.Path) -> SavedRun | None:
    """Read a checkpoint; None if it is damaged.

    Raises:
      InputError: It may not be opened, or another version wrote it.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if str(arrays.pop(CHECKSUM)) != _digest(arrays):
            return None
    except OSError as error:
        raise InputError(
            f"checkpoint {str(path)!r} cannot be read ({error.strerror or error}); "
            "give another file, or the right to read it"
        ) from None
    except UNREADABLE:
        return None
    version = int(arrays["schema_version"])
    if version != SCHEMA_VERSION:
        raise InputError(
            f"checkpoint {str(path)!r} has schema version {version}; allowed: {SCHEMA_VERSION}"
        )
    moments = Moments(*(arrays[f"moments_{name}"] for name in Moments._fields))
    reservoir = Reservoir(arrays["hashes"], arrays["kept"])
    num_values = sum(name.startswith("values_") for name in arrays)
    return SavedRun(
        json.loads(str(arrays["identity"])),
        int(arrays["batch_size"]),
        Accumulator(int(arrays["num_done"]), moments, reservoir),
        tuple(arrays[f"values_{leaf}"] for leaf in range(num_values)),
    )
