"""Stratified subsets, validation images and fingerprints."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from prepared_data import sort_examples

from phase_jax import data
from phase_jax.data.subset import Stream, stratified_indices
from phase_jax.types import Dataset, InputError


def small_dataset(num_train=40, num_classes=3):
    rng = np.random.default_rng(0)
    return Dataset(
        rng.integers(0, 17, (num_train, 2, 2, 1)),
        np.arange(num_train) % num_classes,
        rng.integers(0, 17, (12, 2, 2, 1)),
        np.arange(12) % num_classes,
        pixel_max=16,
    )


# Subsets.


@pytest.mark.parametrize("num", [0, 1, 2, 9, 50, 99, 100])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_stratified_indices_keep_shares(num, seed):
    labels = np.random.default_rng(seed).choice([0, 1, 4, 7], 100, p=[0.6, 0.3, 0.07, 0.03])
    chosen = stratified_indices(labels, num, seed, Stream.TRAIN)
    assert len(chosen) == len(set(chosen)) == num
    assert np.all(np.diff(chosen) > 0)
    counts = np.bincount(labels[chosen], minlength=8)
    exact = num * np.bincount(labels, minlength=8) / 100
    assert np.abs(counts - exact).max() < 1
    remainders = exact - np.floor(exact)
    got_one_more = counts > np.floor(exact)
    lowest = remainders[got_one_more].min(initial=1)
    assert lowest >= remainders[~got_one_more].max(initial=0), "not the largest remainders"


def test_stratified_indices_follow_seed_and_stream():
    labels = np.arange(200) % 7

    def draw(seed, stream):
        return stratified_indices(labels, 60, seed, stream).tolist()

    draws = [draw(seed, stream) for seed in (0, 1) for stream in Stream]
    assert len({tuple(chosen) for chosen in draws}) == len(draws)
    assert draw(1, Stream.TEST) == draw(1, Stream.TEST)


def test_stratified_indices_are_the_same_on_every_machine():
    chosen = stratified_indices(np.arange(30) % 4, 9, 5, Stream.TRAIN)
    assert chosen.tolist() == [4, 6, 7, 8, 16, 19, 21, 26, 29]


def test_larger_subset_contains_smaller():
    labels = np.arange(200) % 5
    small, large = (set(stratified_indices(labels, num, 3, Stream.TRAIN)) for num in (50, 100))
    assert small < large


# Validation images.


def test_validation_images_are_held_out_of_training():
    dataset = small_dataset()
    remaining, images, labels = data.hold_out_validation(dataset, 13, seed=2)
    assert images.shape == (13, 2, 2, 1)
    assert labels.shape == (13,)
    assert np.bincount(labels).min() >= 4
    assert remaining.train_images.shape == (27, 2, 2, 1)
    assert (remaining.num_classes, remaining.pixel_max) == (3, 16)
    np.testing.assert_array_equal(remaining.test_images, dataset.test_images)
    together = sort_examples(
        np.concatenate([remaining.train_images, images]),
        np.concatenate([remaining.train_labels, labels]),
    )
    assert together == sort_examples(dataset.train_images, dataset.train_labels)


def test_held_out_images_follow_the_seed():
    dataset = small_dataset()
    draws = [data.hold_out_validation(dataset, 13, seed)[1].tobytes() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_validation_works_for_flat_float_images():
    images = np.linspace(0, 1, 60, dtype=np.float32).reshape(20, 3)
    labels = np.arange(20) % 2
    remaining, held_out, _ = data.hold_out_validation(Dataset(images, labels, images, labels), 5, 0)
    assert remaining.train_images.shape == (15, 3)
    assert held_out.dtype == np.float32


@pytest.mark.parametrize("num_validation", [40, 41, 0, -1])
def test_validation_must_leave_training_images(num_validation):
    with pytest.raises(InputError, match=r"--num-selection: .* allowed: 1 to 39"):
        data.hold_out_validation(small_dataset(), num_validation, seed=0)
    assert len(data.hold_out_validation(small_dataset(), 39, seed=0)[0].train_labels) == 1


# Fingerprints.


def test_fingerprint_covers_everything_but_the_name():
    dataset = small_dataset()
    fingerprint = data.fingerprint_dataset(dataset)
    assert len(fingerprint) == 64
    assert set(fingerprint) <= set("0123456789abcdef")
    assert data.fingerprint_dataset(dataclasses.replace(dataset, name="other")) == fingerprint
    changed = dataset.train_images.copy()
    changed[0, 0, 0, 0] ^= 1
    replacements = [
        {"train_images": changed},
        {"train_images": dataset.train_images[:, ::-1]},
        {
            "train_images": dataset.train_images / np.float32(16),
            "test_images": np.zeros((12, 2, 2, 1)),
        },
        {"train_labels": dataset.train_labels[::-1]},
        {"test_labels": dataset.test_labels[::-1]},
        {"test_images": dataset.train_images[:12]},
        {"pixel_max": 17},
        {"num_classes": 4},
        {
            "train_images": dataset.train_images.reshape(-1, 4),
            "test_images": dataset.test_images.reshape(-1, 4),
        },
    ]
    fingerprints = [
        data.fingerprint_dataset(dataclasses.replace(dataset, **fields)) for fields in replacements
    ]
    assert len({fingerprint, *fingerprints}) == len(replacements) + 1


def test_fingerprint_is_the_same_on_every_machine():
    assert (
        data.fingerprint_dataset(small_dataset())
        == "a99acc7a20b90701951c67cf5d7973078166af6f4047d52ae59c7c8935641aea"
    )


def test_fingerprint_ignores_memory_layout():
    dataset = small_dataset()
    columns_first = dataclasses.replace(
        dataset, train_images=np.asfortranarray(dataset.train_images)
    )
    assert data.fingerprint_dataset(columns_first) == data.fingerprint_dataset(dataset)
