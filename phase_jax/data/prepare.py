"""Preparing a data set once: verify the originals, write a TFDS directory, publish it by rename."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import shutil
import time
from typing import TYPE_CHECKING, TextIO

from phase_jax.config import DATASETS
from phase_jax.data.directory import BUNDLED, find_prepared, resolve_data_dir
from phase_jax.data.download import check_reachable, download_files
from phase_jax.data.sources import read_originals, verify_files
from phase_jax.data.write import (
    NEEDS_TENSORFLOW,
    require_tensorflow,
    write_splits,
    write_with_stock_builder,
)
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def prepare_dataset(
    name: str,
    *,
    source: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    log_fn: Callable[[str], None] = print,
) -> pathlib.Path:
    """Prepare a data set in the form that `tfds.data_source(name)` reads without TensorFlow.

    With `source` nothing is downloaded. mnist, fashion_mnist and cifar10 need no TensorFlow.
    The directory appears by one rename: one that is there is complete, however a run ended.

    Args:
      name: A data set of `phase_jax.config.DATASETS` other than digits.
      source: Directory with the original files, for cifar10 alternatively the extracted ones; by
        default they are downloaded.
      data_dir: Directory that holds prepared data sets; by default `$TFDS_DATA_DIR` or
        `~/tensorflow_datasets`.
      log_fn: Called with each line about the progress.

    Returns:
      The prepared directory, which may have been there before.

    Raises:
      InputError: An original file is missing or wrong, the network or TensorFlow is needed and
        not there, or the directory cannot be written.
    """
    allowed = [dataset for dataset in DATASETS if dataset not in BUNDLED]
    if name not in allowed:
        raise InputError(f"prepare: {name!r} is not allowed; allowed: {', '.join(allowed)}")
    root = resolve_data_dir(data_dir)
    prepared = find_prepared(name, root)
    if prepared:
        log_fn(f"{name}: already prepared in {prepared}")
        return prepared
    start = time.monotonic()
    if name in NEEDS_TENSORFLOW:
        require_tensorflow(name)
    if source is None:
        check_reachable(name)
        write_fn = None
    else:
        log_fn(f"{name}: checking the original files in {source}")
        write_fn = _make_writer(name, pathlib.Path(source).expanduser())
    with _explain_failures(root), _work_directory(root, name) as work:
        if write_fn is None:
            log_fn(f"{name}: downloading the original files")
            write_fn = _make_writer(name, download_files(name, work / "originals"))
        log_fn(f"{name}: writing to {root / name}")
        prepared = _publish(write_fn(work), root / name)
    log_fn(f"{name}: prepared in {prepared} ({time.monotonic() - start:.0f} s)")
    return prepared


def _make_writer(name: str, folder: pathlib.Path) -> Callable[[pathlib.Path], pathlib.Path]:
    """Verify the originals in `folder`; return a function that writes them into a directory."""
    if name in NEEDS_TENSORFLOW:
        verify_files(name, folder)
        return lambda root: write_with_stock_builder(name, folder, root)
    splits = read_originals(name, folder)
    return lambda root: write_splits(name, splits, root)


def _publish(written: pathlib.Path, parent: pathlib.Path) -> pathlib.Path:
    """Move a finished directory to its place in one step."""
    parent.mkdir(exist_ok=True)
    return written.rename(parent / written.name)


@contextlib.contextmanager
def _work_directory(root: pathlib.Path, name: str) -> Iterator[pathlib.Path]:
    """Yield an empty directory beside the result, removed at the end whatever happens.

    A lock keeps a second process out. What a killed process left behind carries no lock any more
    and is removed by the next one.
    """
    work = root / f".incomplete-{name}"
    work.mkdir(parents=True, exist_ok=True)
    lock_path = work / "lock"
    with open(lock_path, "w") as lock:
        if not _lock(lock, lock_path):
            raise InputError(
                f"--data-dir: another process is preparing {name} in {root}; wait for it"
            )
        content = work / "content"
        shutil.rmtree(content, ignore_errors=True)
        content.mkdir()
        try:
            yield content
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _lock(lock: TextIO, path: pathlib.Path) -> bool:
    """Lock an open file; return False when another process holds it or has just removed it."""
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # Some network file systems have no locks; the rename at the end is atomic all the same.
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            raise
    return path.exists() and os.path.samestat(path.stat(), os.fstat(lock.fileno()))


@contextlib.contextmanager
def _explain_failures(root: pathlib.Path) -> Iterator[None]:
    """Turn a failure to write (no permission, a full disk) into one line."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # TFDS's record writer raises the latter
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())[:300]
        raise InputError(f"--data-dir: {root} cannot be written: {reason}") from error
