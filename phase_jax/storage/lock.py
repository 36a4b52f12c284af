"""One process per directory: a lock that says who holds it and dies with its owner."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import tempfile
import threading
from typing import TYPE_CHECKING, Any

from phase_jax.types import InputError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

LOCK_FILE = ".lock"
SECONDS_BETWEEN_SIGNS = 20.0
SECONDS_UNTIL_STALE = 300.0
"""A lock held on another host without a sign of life for this long is taken over."""


@contextlib.contextmanager
def hold_directory(path: pathlib.Path) -> Iterator[None]:
    """Make a directory and be the only process that writes to it; leave no empty one behind.

    The operating system frees the lock of a process that has died, however it died. What it cannot
    know, on a shared file system, is whether the owner on another host is alive: that owner touches
    its lock every 20 seconds, and after 5 minutes without a touch counts as gone.

    Args:
      path: The directory; made if needed.

    Raises:
      InputError: It cannot be made or written to, or another process holds it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = _take(path / LOCK_FILE)
    except OSError as error:
        raise InputError(
            f"--out: {str(path)!r} cannot be written to ({error.strerror}); "
            "give a directory where you may write"
        ) from None
    over = threading.Event()
    beat = threading.Thread(target=_show_life, args=(handle, over), daemon=True)
    beat.start()
    try:
        yield
    finally:
        over.set()
        beat.join()
        with contextlib.suppress(OSError):  # a disk turned read-only: the lock is stale, no more
            (path / LOCK_FILE).unlink(missing_ok=True)
        os.close(handle)
        with contextlib.suppress(OSError):
            path.rmdir()  # only an empty one goes


def _take(path: pathlib.Path) -> int:
    """Take the lock; return the open file that holds it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _refuse(path, _read_owner(handle)) from None
            if not _is_same_file(handle, path):  # its last owner removed it meanwhile
                os.close(handle)
                continue
            owner = _read_owner(handle)
            here = socket.gethostname()
            if owner.get("host", here) != here and _measure_age(path) < SECONDS_UNTIL_STALE:
                raise _refuse(path, owner)
            os.truncate(handle, 0)
            os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": here}).encode(), 0)
            return handle
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(handle)
            raise


def _refuse(path: pathlib.Path, owner: dict[str, Any]) -> InputError:
    who = f"process {owner.get('pid', 'unknown')} on {owner.get('host', 'an unknown host')}"
    return InputError(
        f"--out: {str(path.parent)!r} is in use by {who}; wait for it, or give another directory"
    )


def _read_owner(handle: int) -> dict[str, Any]:
    """Read who wrote the lock; empty where that is not known."""
    try:
        owner = json.loads(os.pread(handle, 4096, 0))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_same_file(handle: int, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _measure_age(path: pathlib.Path) -> float:
    """Measure the seconds since a file was touched, by the clock of its file system."""
    with tempfile.TemporaryFile(dir=path.parent) as fresh:
        return os.fstat(fresh.fileno()).st_mtime - path.stat().st_mtime


def _show_life(handle: int, over: threading.Event) -> None:
    """Touch the lock now and then until the run is over."""
    while not over.wait(SECONDS_BETWEEN_SIGNS):
        with contextlib.suppress(OSError):
            os.utime(handle)
