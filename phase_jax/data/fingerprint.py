"""A fingerprint of the data that a result was computed from."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from phase_jax.types import Dataset


def fingerprint_dataset(dataset: Dataset) -> str:
    """Hash everything of a data set that a result depends on; its name is not part of it.

    Args:
      dataset: The data set.

    Returns:
      SHA-256, in hexadecimal, of the number of classes, `pixel_max`, and for every array its
      field, shape, type and bytes (little-endian).
    """
    digest = hashlib.sha256(f"{dataset.num_classes} {dataset.pixel_max}\n".encode())
    for field in ("train_images", "train_labels", "test_images", "test_labels"):
        array = getattr(dataset, field)
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(f"{field} {array.shape} {array.dtype.name}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()
