"""Stratified, seeded subsets: every class keeps its share as exactly as whole numbers allow."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np

from phase_jax.types import Dataset, InputError


class Stream(enum.IntEnum):
    """What a draw is for; draws of different purposes with one seed are independent."""

    TRAIN = 0
    TEST = 1
    VALIDATION = 2
    DIGITS_SPLIT = 3


def stratified_indices(labels: np.ndarray, num: int, seed: int, stream: Stream) -> np.ndarray:
    """Choose `num` of N examples so that every class keeps its share.

    Class k gets floor(num N_k / N) examples, and the classes with the largest remainders one more
    (the lower class on a tie). Within a class the examples come in a seeded random order of which
    the first are taken. The order depends on `seed` and `stream` only, and uses raw bits of
    PCG64, whose stream NumPy keeps the same between versions.

    Args:
      labels: [N] integers.
      num: How many, 0 to N.
      seed: At least 0.
      stream: What the draw is for.

    Returns:
      [num] increasing positions in `labels`.
    """
    classes, class_of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    quotas, remainders = np.divmod(num * counts.astype(np.int64), len(labels))
    by_remainder = np.argsort(-remainders, kind="stable")
    quotas[by_remainder[: num - quotas.sum()]] += 1

    bits = np.random.PCG64(np.random.SeedSequence((seed, int(stream)))).random_raw(len(labels))
    shuffled = np.argsort(bits, kind="stable")
    chosen = [
        shuffled[class_of[shuffled] == position][: quotas[position]]
        for position in range(len(classes))
    ]
    return np.sort(np.concatenate(chosen))


def hold_out_validation(
    dataset: Dataset, num_validation: int, seed: int
) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """Split stratified validation images off the training images.

    Args:
      dataset: The data set; its test images stay as they are.
      num_validation: How many images to hold out, 1 to N - 1.
      seed: At least 0.

    Returns:
      The data set with the remaining training images, the validation images
      [num_validation, ...] and their labels [num_validation].

    Raises:
      InputError: Nothing is held out, or no training image is left.
    """
    num_train = len(dataset.train_labels)
    if not 1 <= num_validation < num_train:
        raise InputError(
            f"--num-selection: {num_validation} of {num_train} training images cannot be held "
            f"out for validation; allowed: 1 to {num_train - 1}"
        )
    held_out = np.zeros(num_train, bool)
    held_out[stratified_indices(dataset.train_labels, num_validation, seed, Stream.VALIDATION)] = (
        True
    )
    remaining = dataclasses.replace(
        dataset,
        train_images=dataset.train_images[~held_out],
        train_labels=dataset.train_labels[~held_out],
    )
    return remaining, dataset.train_images[held_out], dataset.train_labels[held_out]
