"""Where prepared data lies, and whether it is there: file system only, nothing heavy imported."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
from typing import Any

from phase_jax.config import DATASETS
from phase_jax.types import InputError

BUNDLED = ("digits",)
"""Data sets that come with an installed package and need no directory."""

READABLE_FORMAT = "array_record"
"""The only TFDS file format that is read without TensorFlow."""

SPLITS = ("train", "test")


def resolve_data_dir(data_dir: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Return the directory that holds prepared data sets, as TFDS would choose it.

    Args:
      data_dir: The directory, or None for `$TFDS_DATA_DIR` or else `~/tensorflow_datasets`.

    Returns:
      The directory, `~` expanded; it need not exist.
    """
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return pathlib.Path(chosen).expanduser()


def check_available(
    name: str, data_dir: str | os.PathLike[str] | None = None
) -> pathlib.Path | None:
    """Check that a named data set can be loaded, without loading or importing anything for it.

    Args:
      name: One of `phase_jax.config.DATASETS`.
      data_dir: Directory with prepared TFDS data; by default as in `resolve_data_dir`.

    Returns:
      The prepared directory (`.../mnist/3.0.1`), or None for a data set that needs none.

    Raises:
      InputError: The name is unknown, nothing is prepared there, or it is not complete or not
        readable; the message says where it looked and how to prepare the data set.
    """
    if name not in DATASETS:
        raise InputError(f"--dataset: {name!r} is not known; allowed: {', '.join(DATASETS)}")
    if name in BUNDLED:
        return None
    root = resolve_data_dir(data_dir)
    prepared = find_prepared(name, root)
    if prepared is None:
        raise InputError(
            f"--dataset {name}: nothing is prepared in {root / name}; prepare it with: "
            f"{prepare_command(name, root)}"
        )
    return prepared


def prepare_command(name: str, root: pathlib.Path) -> str:
    """Return the command that prepares `name` in `root`."""
    target = shlex.quote(str(root))
    return (
        f"python -m phase_jax.data prepare {name} --source DIR_WITH_ORIGINAL_FILES "
        f"--data-dir {target}"
    )


def find_prepared(name: str, root: pathlib.Path) -> pathlib.Path | None:
    """Find the newest prepared version of a data set that can be read without TensorFlow.

    Args:
      name: Name of a TFDS data set without configurations.
      root: Directory that holds prepared data sets.

    Returns:
      The directory of the version, or None when there is none.

    Raises:
      InputError: There are versions, but the newest is broken or in another file format.
    """
    try:
        versions = [path for path in (root / name).iterdir() if _version_of(path)]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"--data-dir: {root / name} cannot be read: {error.strerror}") from None
    if not versions:
        return None
    newest = max(versions, key=_version_of)
    _check_complete(newest, _read_info(newest))
    return newest


def _version_of(path: pathlib.Path) -> tuple[int, ...]:
    """Return a directory's version, or () when it is not named like one."""
    return (
        tuple(map(int, path.name.split("."))) if re.fullmatch(r"\d+(\.\d+){2}", path.name) else ()
    )


def _read_info(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads((path / "dataset_info.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(
            f"--data-dir: {path} has no readable dataset_info.json, so it is not a complete "
            "prepared data set; remove it and prepare again"
        ) from None


def _check_complete(path: pathlib.Path, info: dict[str, Any]) -> None:
    """Raise InputError unless both splits are there, in the format that can be read."""
    file_format = info.get("fileFormat", "tfrecord")
    if file_format != READABLE_FORMAT:
        raise InputError(
            f"--data-dir: {path} holds {file_format} files, which need TensorFlow to read; "
            f"prepare {READABLE_FORMAT} files in another directory"
        )
    num_shards = {split["name"]: len(split["shardLengths"]) for split in info.get("splits", [])}
    for split in SPLITS:
        expected = num_shards.get(split, 0)
        found = len(list(path.glob(f"*-{split}.{READABLE_FORMAT}-*")))
        if not expected or found < expected:
            raise InputError(
                f"--data-dir: {path} is not complete ({found} of {max(expected, 1)} {split} "
                "files); remove it and prepare again"
            )
