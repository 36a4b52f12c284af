"""Types that every other module may use; this module imports nothing of the package.

Axis letters, the same everywhere: E attack strengths, S seeds, L lanes (E x S), N examples,
B batch, K classes, T epochs, R replicates, D features.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, NamedTuple

import numpy as np


class InputError(ValueError):
    """Input from outside is wrong: one line naming the field, the value and what is allowed.

    The command line turns it into that line and exit status 2; from Python it is an ordinary
    exception. Nothing has been compiled or written when it is raised.

    Attributes:
      is_shared: Whether all processes of a run raise it, and one of them tells the user.
    """

    is_shared = False


class InterruptedRunError(RuntimeError):
    """A run could not go on for a reason outside the program (a full disk, say): one line.

    Attributes:
      is_shared: Whether all processes of a run raise it, and one of them tells the user.
    """

    is_shared = False


class StoppedRunError(InterruptedRunError):
    """A run was asked to stop by a signal, and did; what it saved can be continued."""

    is_shared = True  # processes agree on where to stop

    def __init__(self, message: str, signal_number: int):
        """Keep the signal beside the message."""
        super().__init__(message)
        self.signal_number = signal_number


class EpsilonStatus(enum.IntEnum):
    """What a solve for the critical attack strength ended with."""

    FOUND = 0
    """The loss curve crosses the threshold; `value` is the first upward crossing."""
    UNDEFINED = 1
    """The threshold lies below the loss at the smallest attack strength (clean training)."""
    BEYOND_GRID = 2
    """The curve does not reach the threshold on the attack strengths given."""
    INFINITE = 3
    """The threshold is at or above the largest value that the loss can take: never reached."""
    INSUFFICIENT = 4
    """Too few finite points for the method."""
    NONFINITE = 5
    """The threshold, or the loss at the smallest attack strength, is NaN or infinite."""


class LaneStatus(enum.IntEnum):
    """How the training of one lane (one attack strength, one seed) ended."""

    OK = 0
    DIVERGED = 1
    """A train loss was NaN or infinite."""
    COLLAPSED = 2
    """The selected parameters predict one class for every clean test image."""


class EpsilonStar(NamedTuple):
    """A solved critical attack strength; every field has the solver's batch shape.

    Inside `jax.jit` and `jax.vmap` the fields are arrays and `status` holds the integer codes of
    `EpsilonStatus`; outside, a single solve has Python numbers and an `EpsilonStatus`.
    """

    value: Any
    """First upward crossing, in the unit of the attack strengths given; NaN unless FOUND."""
    status: Any
    last_crossing: Any
    """Last crossing in either direction; NaN where there is none."""
    num_crossings: Any
    """Crossings in both directions; 1 on a monotone curve that reaches the threshold."""
    slope: Any
    """Slope of the fitted curve (loss per unit of attack strength) where it meets the threshold."""


@dataclasses.dataclass(frozen=True)
class EpsilonStarEstimate:
    """Critical attack strength over seeds, with its interval. `None` means "not available".

    Attributes:
      value: Estimate over seeds; `None` unless `status` is FOUND.
      status: Outcome over seeds.
      low: Lower end of the interval; 0.0 when nothing above zero is excluded, `None` when no seed
        could be solved.
      high: Upper end; `None` when no upper end is supported by the data.
      confidence: Nominal coverage of [low, high].
      method: Solver method.
      interval_method: How the interval was made, in words.
      num_censored: Seeds without a value: above the grid, or at zero.
      num_missing: Seeds that could not be solved (NONFINITE, INSUFFICIENT).
      seeds: The solve of each seed.
      last_crossing: Median over seeds of the last crossing, where the curve has several.
      seed_std: Standard deviation over seeds of log epsilon*, `None` below two found seeds.
      test_set_std: Bootstrap standard error of log epsilon* from the finite test set.
    """

    value: float | None
    status: EpsilonStatus
    low: float | None
    high: float | None
    confidence: float
    method: str
    interval_method: str
    num_censored: int
    num_missing: int
    seeds: tuple[EpsilonStar, ...]
    last_crossing: float | None = None
    seed_std: float | None = None
    test_set_std: float | None = None


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images and labels for a sweep: a named data set, or the user's own arrays.

    Attributes:
      train_images: [N, H, W, C] (or [N, D]) integers in [0, pixel_max], or floats in [0, 1].
      train_labels: [N] integers in [0, num_classes).
      test_images: Like `train_images`.
      test_labels: Like `train_labels`.
      num_classes: K; by default one more than the largest label.
      name: What results call the data.
      pixel_max: The integer that stands for pixel value 1.0 (255 for ordinary images, 16 for
        scikit-learn's digits). Ignored for floats.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    num_classes: int = 0
    name: str = "custom"
    pixel_max: int = 255

    def __post_init__(self):
        for split in ("train", "test"):
            images = np.asarray(getattr(self, f"{split}_images"))
            labels = np.asarray(getattr(self, f"{split}_labels"))
            object.__setattr__(self, f"{split}_images", _checked_images(images, split, self))
            object.__setattr__(
                self, f"{split}_labels", _checked_labels(labels, images, split, self)
            )
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise InputError(
                f"Dataset: train images have shape {self.train_images.shape[1:]} but test images "
                f"{self.test_images.shape[1:]}; both need the same"
            )
        if self.train_images.dtype != self.test_images.dtype:
            raise InputError(
                f"Dataset: train images are {self.train_images.dtype} but test images "
                f"{self.test_images.dtype}; both need the same type"
            )
        if not self.num_classes:
            largest = max(int(self.train_labels.max()), int(self.test_labels.max()))
            object.__setattr__(self, "num_classes", largest + 1)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return self.train_images.shape[1:]

    @property
    def pixel_scale(self) -> float:
        """The stored value that stands for pixel value 1.0: `pixel_max`, or 1.0 for floats."""
        return float(self.pixel_max) if self.train_images.dtype == np.uint8 else 1.0


def _checked_images(images: np.ndarray, split: str, dataset: Dataset) -> np.ndarray:
    """Return images as uint8 or float32; raise InputError when they are not pixels."""
    field = f"Dataset.{split}_images"
    if images.ndim < 2 or not images.size:
        raise InputError(
            f"{field} has shape {images.shape}; allowed: [N, H, W, C] or [N, D], N >= 1"
        )
    if np.issubdtype(images.dtype, np.floating):
        low, high = float(images.min()), float(images.max())
        if not (low >= 0.0 and high <= 1.0):
            raise InputError(
                f"{field} has values in [{low:g}, {high:g}]; floats must lie in [0, 1]"
            )
        return images.astype(np.float32, copy=False)
    if np.issubdtype(images.dtype, np.integer):
        low, high = int(images.min()), int(images.max())
        if not 1 <= dataset.pixel_max <= 255 or low < 0 or high > dataset.pixel_max:
            raise InputError(
                f"{field} has integers in [{low}, {high}]; allowed: 0 to pixel_max = "
                f"{dataset.pixel_max}, and pixel_max at most 255"
            )
        return images.astype(np.uint8, copy=False)
    raise InputError(f"{field} has type {images.dtype}; allowed: integers, or floats in [0, 1]")


def _checked_labels(
    labels: np.ndarray, images: np.ndarray, split: str, dataset: Dataset
) -> np.ndarray:
    """Return labels as int32; raise InputError when they do not fit the images or the classes."""
    field = f"Dataset.{split}_labels"
    if labels.shape != images.shape[:1]:
        raise InputError(
            f"{field} has shape {labels.shape}; allowed: {images.shape[:1]}, one per image"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{field} has type {labels.dtype}; allowed: integers from 0")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (dataset.num_classes and high >= dataset.num_classes):
        top = dataset.num_classes - 1 if dataset.num_classes else "num_classes - 1"
        raise InputError(f"{field} has values in [{low}, {high}]; allowed: 0 to {top}")
    return labels.astype(np.int32, copy=False)
