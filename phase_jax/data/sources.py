"""Reading the original files of a data set, verified against the checksums that TFDS registers."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from phase_jax.data.tfds_import import import_tfds
from phase_jax.types import InputError

if TYPE_CHECKING:
    import pathlib

CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_FILES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
CIFAR10_RECORD_BYTES = 1 + 3 * 32 * 32
CIFAR10_RECORDS_PER_FILE = 10_000
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
MNIST_PREFIXES = {"train": "train", "test": "t10k"}

Splits = dict[str, tuple[np.ndarray, np.ndarray]]
"""Split name -> images [N, H, W] or [N, H, W, C] uint8 in the original order, and labels [N]."""


class RegisteredFile(NamedTuple):
    """One original file as TFDS registers it."""

    url: str
    sha256: str


def registered_files(name: str) -> dict[str, RegisteredFile]:
    """Return the original files of a TFDS data set by file name, from TFDS's own checksum list."""
    url_infos = import_tfds().builder_cls(name).url_infos
    return {info.filename: RegisteredFile(url, info.checksum) for url, info in url_infos.items()}


def read_originals(name: str, folder: pathlib.Path) -> Splits:
    """Verify and decode the original files of mnist, fashion_mnist or cifar10.

    Args:
      name: Name of the data set.
      folder: Where the files lie: the four `.gz` files, or for cifar10 the official archive or
        else its six `.bin` files (here or in a folder `cifar-10-batches-bin`).

    Returns:
      Images and labels of both splits, in the original order.

    Raises:
      InputError: A file is missing, cannot be read, or is not the original.
    """
    if name == "cifar10" and not (folder / CIFAR10_ARCHIVE).exists():
        return _read_cifar10_files(folder)
    verify_files(name, folder)
    if name == "cifar10":
        return _read_cifar10_archive(folder / CIFAR10_ARCHIVE)
    return {
        split: (
            _read_idx(folder / f"{prefix}-images-idx3-ubyte.gz"),
            _read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz"),
        )
        for split, prefix in MNIST_PREFIXES.items()
    }


def verify_files(name: str, folder: pathlib.Path) -> None:
    """Check that `folder` holds every original file of `name`, bit for bit.

    Raises:
      InputError: A file is missing, cannot be read, or has another SHA-256 than TFDS registers.
    """
    for file_name, registered in registered_files(name).items():
        try:
            with open(folder / file_name, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _missing(name, folder / file_name, error) from None
        if found != registered.sha256:
            raise InputError(
                f"--source: {folder / file_name} is not the original or is damaged: its SHA-256 "
                f"is {found[:12]}..., expected {registered.sha256[:12]}... (registered by TFDS)"
            )


def _missing(name: str, path: pathlib.Path, error: OSError) -> InputError:
    needed = ", ".join(sorted(registered_files(name)))
    if name == "cifar10":
        needed += " (or data_batch_1.bin to data_batch_5.bin and test_batch.bin)"
    return InputError(f"--source: {path} cannot be read ({error.strerror}); {name} needs {needed}")


def _read_idx(path: pathlib.Path) -> np.ndarray:
    """Decode a verified idx file: its shape is in the header, big-endian."""
    with gzip.open(path) as file:
        content = file.read()
    num_axes = content[3]
    shape = np.frombuffer(content, ">i4", num_axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * num_axes).reshape(shape)


def _read_cifar10_archive(path: pathlib.Path) -> Splits:
    contents = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".bin") else None
            if file is not None:
                contents[os.path.basename(member.name)] = file.read()
    return _join_cifar10(contents, path)


def _read_cifar10_files(folder: pathlib.Path) -> Splits:
    inner = folder / CIFAR10_FOLDER
    folder = inner if inner.is_dir() else folder
    contents = {}
    for file_name in (*CIFAR10_FILES["train"], *CIFAR10_FILES["test"]):
        try:
            contents[file_name] = (folder / file_name).read_bytes()
        except OSError as error:
            raise _missing("cifar10", folder / file_name, error) from None
    return _join_cifar10(contents, folder)


def _join_cifar10(contents: dict[str, bytes], folder: pathlib.Path) -> Splits:
    """Decode CIFAR-10 binaries: a label byte, then the red, green and blue planes, per record."""
    splits = {}
    for split, file_names in CIFAR10_FILES.items():
        records = np.concatenate(
            [_cifar10_records(contents[file_name], folder / file_name) for file_name in file_names]
        )
        images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        splits[split] = (np.ascontiguousarray(images), records[:, 0])
    return splits


def _cifar10_records(content: bytes, path: pathlib.Path) -> np.ndarray:
    """Return [N, 3073] records; raise InputError unless their number and labels are right."""
    expected = CIFAR10_RECORDS_PER_FILE * CIFAR10_RECORD_BYTES
    if len(content) != expected:
        raise InputError(
            f"--source: {path} has {len(content)} bytes, expected {expected} "
            f"({CIFAR10_RECORDS_PER_FILE} records of {CIFAR10_RECORD_BYTES})"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, CIFAR10_RECORD_BYTES)
    largest = int(records[:, 0].max())
    if largest >= len(CIFAR10_CLASSES):
        raise InputError(f"--source: {path} has a label {largest}; allowed: 0 to 9")
    return records
