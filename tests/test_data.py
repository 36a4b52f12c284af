"""Named data sets: loading, subsets, validation images, fingerprints."""

from __future__ import annotations

import json
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from prepared_data import draw_originals, sort_examples, write_fake

from phase_jax import data
from phase_jax.config import DATASETS
from phase_jax.data.directory import resolve_data_dir
from phase_jax.data.subset import Stream, stratified_indices
from phase_jax.data.tfds_import import import_tfds
from phase_jax.types import InputError

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Small prepared cifar100, svhn_cropped and mnist in the stock data sets' formats."""
    tfds = import_tfds()
    root = tmp_path_factory.mktemp("prepared")
    fakes = {
        "mnist": ("3.0.1", (28, 28, 1), 10, {}),
        "cifar100": (
            "3.0.2",
            (32, 32, 3),
            100,
            {
                "coarse_label": (tfds.features.ClassLabel(num_classes=20), 7),
                "id": (tfds.features.Text(), "some_id"),
            },
        ),
        "svhn_cropped": ("3.1.0", (32, 32, 3), 10, {"id": (tfds.features.Text(), "some_id")}),
    }
    for name, (version, shape, num_classes, extra_features) in fakes.items():
        write_fake(
            name,
            version,
            fake_splits(shape, num_classes, with_extra=name == "svhn_cropped"),
            root,
            num_classes=num_classes,
            extra_features=extra_features,
        )
    return root


def fake_splits(shape, num_classes, *, with_extra=False):
    sizes = {"train": 300, "test": 150} | ({"extra": 20} if with_extra else {})
    return {
        split: draw_originals(num, shape, num_classes, seed)
        for seed, (split, num) in enumerate(sizes.items())
    }


# Digits.


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    digits = data.load_dataset("digits")
    assert digits.train_images.shape == (797, 8, 8, 1)
    assert digits.test_images.shape == (1000, 8, 8, 1)
    assert digits.train_images.dtype == digits.test_images.dtype == np.uint8
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int32
    assert (digits.num_classes, digits.pixel_max, digits.name) == (10, 16, "digits")
    original = load_digits()
    assert sort_examples(
        np.concatenate([digits.train_images, digits.test_images]),
        np.concatenate([digits.train_labels, digits.test_labels]),
    ) == sort_examples(original.images.astype(np.uint8), original.target)


def test_digits_split_is_fixed_and_stratified():
    first, second = data.load_dataset("digits", seed=0), data.load_dataset("digits", seed=1)
    assert data.fingerprint_dataset(first) == data.fingerprint_dataset(second)
    all_counts = np.bincount(first.train_labels) + np.bincount(first.test_labels)
    exact = 1000 * all_counts / 1797
    assert np.abs(np.bincount(first.test_labels) - exact).max() < 1
    # Another split would make every result computed from the digits incomparable.
    assert data.fingerprint_dataset(first).startswith("c8727585ee1bf0d3")


# Subsets.


def test_load_subset_of_digits():
    everything = data.load_dataset("digits")
    subset = data.load_dataset("digits", num_train=130, num_test=50, seed=3)
    assert subset.train_images.shape == (130, 8, 8, 1)
    assert subset.test_images.shape == (50, 8, 8, 1)
    assert np.bincount(subset.train_labels).min() >= 12
    kept = sort_examples(subset.train_images, subset.train_labels)
    assert set(kept) <= set(sort_examples(everything.train_images, everything.train_labels))
    other = data.load_dataset("digits", num_train=130, num_test=50, seed=4)
    again = data.load_dataset("digits", num_train=130, num_test=50, seed=3)
    assert data.fingerprint_dataset(subset) == data.fingerprint_dataset(again)
    assert data.fingerprint_dataset(subset) != data.fingerprint_dataset(other)


def test_one_example_is_a_subset():
    subset = data.load_dataset("digits", num_train=1, num_test=1)
    assert len(subset.train_labels) == len(subset.test_labels) == 1
    assert subset.num_classes == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_train": 798}, "--num-train: 798 is not allowed; allowed: 1 to 797, the train"),
        ({"num_test": 1001}, "--num-test: 1001 is not allowed; allowed: 1 to 1000, the test"),
        ({"num_train": 0}, "--num-train: 0 is not allowed"),
        ({"num_test": -1}, "--num-test: -1 is not allowed"),
        ({"seed": -1}, "--seed: -1 is not allowed"),
    ],
)
def test_impossible_subset_is_refused(arguments, message):
    with pytest.raises(InputError) as caught:
        data.load_dataset("digits", **arguments)
    assert message in str(caught.value)


# Prepared data sets.


@pytest.mark.parametrize(
    ("name", "shape", "num_classes"),
    [
        ("mnist", (28, 28, 1), 10),
        ("cifar100", (32, 32, 3), 100),
        ("svhn_cropped", (32, 32, 3), 10),
    ],
)
def test_prepared_data_is_loaded(name, shape, num_classes, data_dir):
    loaded = data.load_dataset(name, data_dir=data_dir)
    assert loaded.train_images.shape == (300, *shape)
    assert loaded.test_images.shape == (150, *shape)
    assert loaded.train_images.dtype == np.uint8
    assert loaded.train_labels.dtype == np.int32
    assert (loaded.num_classes, loaded.pixel_max, loaded.name) == (num_classes, 255, name)
    splits = fake_splits(shape, num_classes)
    expected = sort_examples(*splits["train"])
    assert sort_examples(loaded.train_images, loaded.train_labels) == expected
    expected = sort_examples(*splits["test"])
    assert sort_examples(loaded.test_images, loaded.test_labels) == expected


def test_order_and_values_are_those_of_tfds(data_dir):
    loaded = data.load_dataset("cifar100", data_dir=data_dir)
    source = import_tfds().data_source("cifar100", split="test", data_dir=data_dir, download=False)
    for position in (0, 17, 149):
        example = source[position]
        np.testing.assert_array_equal(loaded.test_images[position], example["image"])
        assert loaded.test_labels[position] == example["label"]


def test_prepared_subset_is_part_of_the_whole(data_dir):
    whole = data.load_dataset("svhn_cropped", data_dir=data_dir)
    subset = data.load_dataset("svhn_cropped", data_dir=data_dir, num_train=100, num_test=40)
    chosen = stratified_indices(whole.train_labels, 100, 0, Stream.TRAIN)
    np.testing.assert_array_equal(subset.train_images, whole.train_images[chosen])
    chosen = stratified_indices(whole.test_labels, 40, 0, Stream.TEST)
    np.testing.assert_array_equal(subset.test_labels, whole.test_labels[chosen])


def test_loading_uses_neither_network_nor_output(data_dir, monkeypatch, capfd):
    def refuse(*args, **kwargs):
        raise AssertionError("loading used the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    data.load_dataset("mnist", data_dir=data_dir, num_train=50, num_test=50)
    assert capfd.readouterr() == ("", "")


def test_default_directory_is_tfdss(data_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    assert data.check_available("mnist") == data_dir / "mnist" / "3.0.1"
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_data_dir() == tmp_path / "tensorflow_datasets"
    assert resolve_data_dir("~/elsewhere") == tmp_path / "elsewhere"
    with pytest.raises(InputError, match=r"nothing is prepared in .*/tensorflow_datasets/mnist;"):
        data.check_available("mnist")


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "digits"])
def test_missing_data_says_how_to_prepare(name, tmp_path):
    with pytest.raises(InputError) as caught:
        data.load_dataset(name, data_dir=tmp_path / "my data")
    message = str(caught.value)
    assert "\n" not in message
    assert f"nothing is prepared in {tmp_path}/my data/{name};" in message
    assert (
        f"python -m phase_jax.data prepare {name} --source DIR_WITH_ORIGINAL_FILES "
        f"--data-dir '{tmp_path}/my data'" in message
    )


def test_unknown_name_is_refused():
    with pytest.raises(InputError, match="--dataset: 'mnits' is not known; allowed: digits, mnist"):
        data.load_dataset("mnits")


def test_digits_need_no_directory(tmp_path):
    assert data.check_available("digits", tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "dataset_info.json").unlink(), "has no readable dataset_info.json"),
        (lambda path: (path / "dataset_info.json").write_text("{"), "no readable dataset_info"),
        (
            lambda path: next(path.glob("*-test.array_record*")).unlink(),
            r"is not complete \(0 of 1 test files\)",
        ),
        (lambda path: (path / "features.json").unlink(), "cannot be read"),
        (
            lambda path: next(path.glob("*-train.array_record*")).write_bytes(b"\0" * 5000),
            r"cannot be read \(.*\); if its files are damaged, remove it and prepare again",
        ),
    ],
    ids=["no info", "half an info", "no test file", "no features", "damaged file"],
)
def test_damaged_directory_is_refused_in_one_line(damage, message, data_dir, tmp_path):
    shutil.copytree(data_dir / "mnist", tmp_path / "mnist")
    damage(tmp_path / "mnist" / "3.0.1")
    with pytest.raises(InputError, match=message) as caught:
        data.load_dataset("mnist", data_dir=tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "mnist" / "3.0.1") in str(caught.value)


def test_other_file_format_is_refused(data_dir, tmp_path):
    shutil.copytree(data_dir / "mnist", tmp_path / "mnist")
    path = tmp_path / "mnist" / "3.0.1" / "dataset_info.json"
    info = json.loads(path.read_text())
    del info["fileFormat"]  # how TFDS marks its default, tfrecord
    path.write_text(json.dumps(info))
    with pytest.raises(InputError, match="holds tfrecord files, which need TensorFlow to read"):
        data.load_dataset("mnist", data_dir=tmp_path)


def test_newest_version_is_taken(data_dir, tmp_path):
    for version in ("3.0.1", "3.0.10", "3.0.9"):
        shutil.copytree(data_dir / "mnist" / "3.0.1", tmp_path / "mnist" / version)
    (tmp_path / "mnist" / "incomplete.ABC123_9.0.0").mkdir()
    assert data.check_available("mnist", tmp_path).name == "3.0.10"


def test_answer_to_missing_data_is_quick(tmp_path):
    code = (
        "import sys\n"
        "from phase_jax.data import check_available\n"
        "try:\n"
        f"    check_available('mnist', {str(tmp_path)!r})\n"
        "except ValueError as error:\n"
        "    print(error)\n"
        "heavy = {'jax', 'tensorflow_datasets', 'sklearn', 'PIL', 'requests'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    start = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "nothing is prepared" in result.stdout
    assert time.monotonic() - start < 2.0
