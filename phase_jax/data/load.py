"""Loading a named data set into memory, without a network and without TensorFlow."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from phase_jax.data.directory import check_available
from phase_jax.data.subset import Stream, stratified_indices
from phase_jax.data.tfds_import import import_tfds
from phase_jax.types import Dataset, InputError

if TYPE_CHECKING:
    import os
    import pathlib

DIGITS_NUM_TEST = 1_000


def load_dataset(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    num_train: int | None = None,
    num_test: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Load a named data set, or a stratified, seeded subset of it.

    `digits` are scikit-learn's 1,797 bundled images of 8 x 8 pixels with values 0 to 16, in a
    fixed stratified split of 797 training and 1,000 test images that no seed changes. All others
    are read from a directory that TFDS (or `phase_jax.data.prepare_dataset`) has prepared; the
    labels of `cifar100` are the 100 fine ones. Nothing is ever downloaded.

    Args:
      name: One of `phase_jax.config.DATASETS`.
      data_dir: Directory with prepared TFDS data; by default `$TFDS_DATA_DIR` or
        `~/tensorflow_datasets`.
      num_train: Size of the training subset, 1 to all; by default all.
      num_test: Size of the test subset, 1 to all; by default all.
      seed: Chooses the subsets, at least 0; without subsets it has no effect.

    Returns:
      The data set: images uint8 [N, H, W, C], labels int32 [N].

    Raises:
      InputError: The data set is unknown or not prepared, its files cannot be read, or a subset
        is larger than what there is.
    """
    prepared = check_available(name, data_dir)
    if seed < 0:
        raise InputError(f"--seed: {seed!r} is not allowed; allowed: a whole number, at least 0")
    if prepared is None:
        read_split, num_classes, pixel_max = _open_digits(), 10, 16
    else:
        read_split, num_classes, pixel_max = *_open_prepared(prepared), 255
    train_images, train_labels = _draw("train", read_split, num_train, seed, name)
    test_images, test_labels = _draw("test", read_split, num_test, seed, name)
    return Dataset(
        train_images,
        train_labels,
        test_images,
        test_labels,
        num_classes=num_classes,
        name=name,
        pixel_max=pixel_max,
    )


ReadSplit = Callable[[str], tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]]
"""Split name -> labels of the whole split, and a function that decodes the images chosen."""


def _draw(
    split: str, read_split: ReadSplit, num: int | None, seed: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and labels of a split, or of a stratified subset of `num`."""
    labels, decode = read_split(split)
    if num is not None and not 1 <= num <= len(labels):
        raise InputError(
            f"--num-{split}: {num} is not allowed; allowed: 1 to {len(labels)}, the {split} "
            f"images of {name}"
        )
    if num is None or num == len(labels):
        chosen = np.arange(len(labels))
    else:
        chosen = stratified_indices(labels, num, seed, Stream[split.upper()])
    return decode(chosen), labels[chosen]


def _open_digits() -> ReadSplit:
    """Return a reader of scikit-learn's digits in the fixed split."""
    from sklearn.datasets import load_digits

    features, all_labels = load_digits(return_X_y=True)
    images = np.asarray(features).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = np.asarray(all_labels)
    test = stratified_indices(labels, DIGITS_NUM_TEST, 0, Stream.DIGITS_SPLIT)
    positions = {"train": np.setdiff1d(np.arange(len(labels)), test), "test": test}

    def read_split(split):
        return labels[positions[split]], lambda chosen: images[positions[split][chosen]]

    return read_split


def _open_prepared(directory: pathlib.Path) -> tuple[ReadSplit, int]:
    """Return a reader of a prepared TFDS directory, and its number of classes."""
    tfds = import_tfds()
    with _explain_failures(directory):
        builder = tfds.builder_from_directory(directory)
        features = builder.info.features
        shape, num_classes = features["image"].shape, features["label"].num_classes

    def read_split(split):
        # Images stay compressed: reading all of them costs little, decoding does.
        with _explain_failures(directory):
            source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
            records = source.__getitems__(range(len(source)))
        labels = np.array([record["label"] for record in records])

        def decode(chosen):
            with _explain_failures(directory):
                return _decode_images([records[position]["image"] for position in chosen], shape)

        return labels, decode

    return read_split, num_classes


def _decode_images(encoded: list[bytes], shape: tuple[int, ...]) -> np.ndarray:
    """Decode PNG images: [len(encoded), H, W, C] uint8."""
    import PIL.Image

    images = np.empty((len(encoded), *shape), np.uint8)
    for row, content in zip(images, encoded, strict=True):
        with PIL.Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            row[...] = np.asarray(image).reshape(shape)
    return images


@contextlib.contextmanager
def _explain_failures(directory: pathlib.Path) -> Iterator[None]:
    """Say in one line which prepared files cannot be read."""
    try:
        yield
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"--data-dir: {directory} cannot be read ({reason}); if its files are "
            "damaged, remove it and prepare again"
        ) from error
