"""A small, real problem for tests of training and sweeps: part of the digits, a narrow network."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from phase_jax import Dataset, SweepConfig, load_dataset, run_sweep


@functools.cache
def small_digits():
    """Return 150 training and 100 test digits."""
    return load_dataset("digits", num_train=150, num_test=100)


def small_config(**changes):
    """Return a configuration that trains in a second or two; groups are given as dicts."""
    config = SweepConfig(epsilon_grid=(0.02, 0.1), num_seeds=2)
    groups = {
        "model": {"widths": (16,)},
        "attack": {"num_steps": 3},
        "evaluation": {"num_steps": 3, "batch_size": 64},
        "training": {"num_epochs": 4, "batch_size": 32, "learning_rate": 0.1},
        "solver": {"num_resamples": 200},
        "lanes": {},
        "data": {"num_selection": 60},
    }
    top = {name: value for name, value in changes.items() if name not in groups}
    for name, fields in groups.items():
        fields = {**fields, **changes.get(name, {})}
        top[name] = dataclasses.replace(getattr(config, name), **fields)
    return dataclasses.replace(config, **top)


@functools.cache
def small_run():
    """Return a sweep of the small problem with one attack strength, two seeds, 8 epochs."""
    config = small_config(
        epsilon_grid=(0.1,),
        training={"num_epochs": 8},
        data={"num_train": 150, "num_test": 100},
    )
    return run_sweep(config, data=small_digits())


def random_dataset(num_train=40, num_test=20, shape=(6, 6, 1), num_classes=3, seed=0):
    """Return random images with labels that the brightest third of the image decides."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (num_train + num_test, *shape), np.uint8)
    labels = np.argmax(images.reshape(len(images), num_classes, -1).mean(axis=2), axis=1)
    return Dataset(
        images[:num_train],
        labels[:num_train],
        images[num_train:],
        labels[num_train:],
        num_classes=num_classes,
        name="random",
    )
