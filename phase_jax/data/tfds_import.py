"""Importing TensorFlow Datasets without its noise."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import types


def import_tfds() -> types.ModuleType:
    """Import tensorflow_datasets, ignoring the deprecations of its own dependencies.

    Returns:
      The module. It is imported on first use because that takes about a second.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import tensorflow_datasets

    return tensorflow_datasets
