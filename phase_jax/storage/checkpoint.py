"""The file that a run continues from: written atomically, checked when read, never unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import tempfile
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from phase_jax.storage.atomic import (
    explain_failures,
    flush,
    link_or_copy,
    open_draft,
)
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECKSUM = "checksum"
HEADER = "header"
PREVIOUS_SUFFIX = ".previous"
UNREADABLE = (EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)


class Saved(NamedTuple):
    """What a checkpoint holds."""

    identity: dict[str, Any]
    """What must not differ between a run and the one it continues."""
    progress: str
    """How far the run was, in words."""
    arrays: dict[str, np.ndarray]
    origin: str = ""
    """Where the run was, in words: device and versions, which may decide the last digits."""


class CheckpointFile:
    """A checkpoint at a path, and the previous good one beside it.

    Attributes:
      path: The newest checkpoint.
      saved: What was found there, or in the previous one; None for a new run.
      notes: What the user should know about that.
    """

    def __init__(self, path: str | os.PathLike, *, kind: str, version: int):
        """Read what is there.

        Args:
          path: The file; its directory exists.
          kind: What is saved there; a checkpoint of another kind is refused.
          version: Of the names and meaning of the arrays; any other is refused.

        Raises:
          InputError: The place cannot be written to, the file cannot be opened, or it is of another
            kind or version.
        """
        self.path = pathlib.Path(path)
        self.notes: tuple[str, ...] = ()
        self._schema = {"kind": kind, "schema_version": version}
        _check_place(self.path)
        self.saved = self._read(self.path)
        self._newest_is_good = self.saved is not None
        if self.saved is None:
            self.saved = self._read(self.previous_path)
            is_damaged = self.path.exists()
            if is_damaged or self.saved is not None:
                what = "is damaged" if is_damaged else "is missing"
                then = "starting again"
                if self.saved is not None:
                    then = f"going on from {self.saved.progress} in {str(self.previous_path)!r}"
                self.notes = (f"checkpoint {str(self.path)!r} {what}; {then}",)

    @property
    def previous_path(self) -> pathlib.Path:
        """Where the last but one checkpoint is."""
        return self.path.with_name(self.path.name + PREVIOUS_SUFFIX)

    def check_identity(self, identity: Mapping[str, Any]) -> None:
        """Make sure that what was found belongs to this run.

        Raises:
          InputError: It does not; the line names the fields that differ.
        """
        if self.saved is None:
            return
        found, identity = self.saved.identity, json.loads(json.dumps(identity))
        differing = [
            f"{field} is {found.get(field)!r} there but {identity.get(field)!r} in this run"
            for field in {**identity, **found}
            if found.get(field) != identity.get(field)
        ]
        if differing:
            raise InputError(
                f"checkpoint {str(self.path)!r}: {', '.join(differing)}; give another place, or "
                "the settings that it was made with"
            )

    def save(self, saved: Saved) -> None:
        """Replace the newest checkpoint; the one before becomes the previous one.

        Raises:
          InterruptedRunError: The disk is full or the directory cannot be written to; the last
            good checkpoint is still there.
        """
        header = {
            **self._schema,
            "identity": saved.identity,
            "progress": saved.progress,
            "origin": saved.origin,
        }
        arrays = {**saved.arrays, HEADER: np.asarray(json.dumps(header))}
        arrays[CHECKSUM] = np.asarray(compute_digest(arrays))
        with (
            explain_failures(self.path, "the last good checkpoint is kept"),
            open_draft(self.path) as draft,
        ):
            with draft.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **arrays)
            flush(draft)
            if self._newest_is_good:
                link_or_copy(self.path, self.previous_path)
            os.replace(draft, self.path)
        self._newest_is_good = True

    def _read(self, path: pathlib.Path) -> Saved | None:
        """Read a checkpoint; None if there is none, or if it is damaged.

        Raises:
          InputError: It may not be opened, or it is of another kind or version.
        """
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            if str(arrays.pop(CHECKSUM)) != compute_digest(arrays):
                return None
            header = json.loads(str(arrays.pop(HEADER)))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(
                f"checkpoint {str(path)!r} cannot be read ({error.strerror or error}); "
                "give another file, or the right to read it"
            ) from None
        except UNREADABLE:
            return None
        for field, expected in self._schema.items():
            if header[field] != expected:
                raise InputError(
                    f"checkpoint {str(path)!r}: {field.replace('_', ' ')} is {header[field]!r}; "
                    f"allowed: {expected!r}"
                )
        return Saved(header["identity"], header["progress"], arrays, header["origin"])


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


def compute_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Compute the SHA-256 of names, types, shapes and contents."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {arrays[name].shape};".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
