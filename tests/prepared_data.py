"""Small prepared data sets, and where the original files of the real ones may be found."""

from __future__ import annotations

import os
import pathlib
from typing import NamedTuple

import numpy as np
import PIL.Image
import pytest

from phase_jax.data.sources import CIFAR10_FILES
from phase_jax.data.tfds_import import import_tfds


class Originals(NamedTuple):
    """Decoded images and labels of one split, in the order in which they were written."""

    images: np.ndarray
    labels: np.ndarray


def find_originals(*parts: str) -> pathlib.Path:
    """Return a file or folder below the test data, or skip the test where it is absent."""
    beside = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = pathlib.Path(os.environ.get("PHASE_JAX_TEST_DATA") or beside)
    path = folder.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no {'/'.join(parts)}: set PHASE_JAX_TEST_DATA to a folder of original files")
    return path


def draw_originals(num: int, shape: tuple[int, ...], num_classes: int, seed: int) -> Originals:
    """Draw random images with labels of unequal frequencies, every class at least once."""
    rng = np.random.default_rng(seed)
    labels = np.minimum(rng.geometric(3 / num_classes, num) - 1, num_classes - 1)
    labels[:num_classes] = np.arange(num_classes)
    return Originals(rng.integers(0, 256, (num, *shape), np.uint8), rng.permutation(labels))


def write_fake(
    name: str,
    version: str,
    splits: dict[str, Originals],
    root: pathlib.Path,
    *,
    num_classes: int,
    extra_features: dict | None = None,
    file_format: str = "array_record",
) -> pathlib.Path:
    """Write a TFDS directory with the features of a stock data set, by TFDS's own writer.

    `extra_features` gives features that this package does not read, as (type, value) pairs.
    """
    tfds = import_tfds()
    tfds.disable_progress_bar()
    shape = splits["train"].images.shape[1:]
    extra = extra_features or {}

    class FakeBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=shape),
                "label": tfds.features.ClassLabel(num_classes=num_classes),
                **{key: feature for key, (feature, _) in extra.items()},
            }
            info = tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )
            info.initialize_from_bucket = lambda: None  # it leaves a temporary directory
            return info

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in splits}

        def _generate_examples(self, split):
            for index, (image, label) in enumerate(zip(*splits[split], strict=True)):
                values = {key: value for key, (_, value) in extra.items()}
                picture = PIL.Image.fromarray(image.squeeze())
                yield index, {"image": picture, "label": int(label), **values}

    FakeBuilder.name = name
    builder = FakeBuilder(data_dir=root)
    builder.download_and_prepare(file_format=file_format)
    return pathlib.Path(builder.data_dir)


def sort_examples(images: np.ndarray, labels: np.ndarray) -> list[bytes]:
    """Return the examples as sorted bytes, to compare sets of them regardless of their order."""
    pairs = zip(images, labels, strict=True)
    return sorted(bytes([label]) + image.tobytes() for image, label in pairs)


def write_cifar10_bins(folder: pathlib.Path, num_records: int) -> dict[str, list[bytes]]:
    """Write random files in the official CIFAR-10 binary format; return sorted examples."""
    folder.mkdir(parents=True, exist_ok=True)
    originals = {"train": [], "test": []}
    for seed, file_name in enumerate((*CIFAR10_FILES["train"], "test_batch.bin")):
        images, labels = draw_originals(num_records, (32, 32, 3), 10, seed)
        planes = images.transpose(0, 3, 1, 2).reshape(num_records, 3072)
        np.concatenate([labels[:, None].astype(np.uint8), planes], 1).tofile(folder / file_name)
        originals["test" if "test" in file_name else "train"] += sort_examples(images, labels)
    return {split: sorted(examples) for split, examples in originals.items()}
