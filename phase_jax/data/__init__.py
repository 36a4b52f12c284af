"""Named data sets: loading, subsets, fingerprints, and preparing them once on disk.

>>> from phase_jax.data import load_dataset
>>> load_dataset("digits", num_train=200).train_images.shape
(200, 8, 8, 1)

Importing this package is cheap: TensorFlow Datasets and scikit-learn are imported by the function
that needs them, and TensorFlow is never needed to load.
"""

from __future__ import annotations

from phase_jax.data.directory import check_available
from phase_jax.data.fingerprint import fingerprint_dataset
from phase_jax.data.load import load_dataset
from phase_jax.data.pixel_statistics import PIXEL_STATISTICS
from phase_jax.data.prepare import prepare_dataset
from phase_jax.data.subset import hold_out_validation

__all__ = [
    "PIXEL_STATISTICS",
    "check_available",
    "fingerprint_dataset",
    "hold_out_validation",
    "load_dataset",
    "prepare_dataset",
]
