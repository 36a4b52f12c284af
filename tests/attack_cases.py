"""Attacks, images and losses that the tests of attacks share."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phase_jax.attacks import NORMS, fgm, gaussian, pgd

ATTACKS = {
    "pgd": functools.partial(pgd, num_steps=4),
    "pgd with restarts": functools.partial(pgd, num_steps=2, num_restarts=3),
    "pgd from noise": functools.partial(pgd, num_steps=4, start_noise=1e-3),
    "pgd without random start": functools.partial(pgd, num_steps=4, random_start=False),
    "fgm": fgm,
    "fgm with random start": functools.partial(fgm, random_start=True),
    "gaussian": gaussian,
}
DETERMINISTIC = ("pgd without random start", "fgm")
EPSILONS = (0.0, 1e-6, 8 / 255, 0.3, 2.0)
KEY = jax.random.key(11)
SHAPE = (2, 2, 5)  # as many channels as images: B numbers aligned with the wrong axis show
NUM_PIXELS = 20

every_norm = pytest.mark.parametrize("norm", NORMS)


def draw_images():
    """One image inside the box, one black, one white, one of both, one with 8-bit values."""
    rng = np.random.default_rng(0)
    rows = [
        rng.uniform(0.1, 0.9, SHAPE),
        np.zeros(SHAPE),
        np.ones(SHAPE),
        rng.integers(0, 2, SHAPE),
        rng.choice([0, 1, 2, 127, 128, 254, 255], SHAPE) / 255,
    ]
    return np.stack(rows).astype(np.float32)


IMAGES = draw_images()
FIRST_LAYER, SECOND_LAYER = (
    np.random.default_rng(1).normal(0, 0.5, shape).astype(np.float32)
    for shape in ((NUM_PIXELS, 8), (8, 3))
)
WEIGHTS = np.random.default_rng(2).normal(size=NUM_PIXELS).astype(np.float32)


def network_loss(images):
    """Cross-entropy of a small tanh network, class 0."""
    hidden = jnp.tanh(images.reshape(len(images), -1) @ FIRST_LAYER)
    return -jax.nn.log_softmax(hidden @ SECOND_LAYER)[:, 0]


def linear_loss(images):
    return images.reshape(len(images), -1) @ WEIGHTS


def run_attack(name, norm, loss_fn, images, key, epsilon):
    return ATTACKS[name](loss_fn, images, key, epsilon=epsilon, norm=norm)


def measure(delta, norm):
    """Norm of each perturbation, in double precision."""
    delta = np.asarray(delta, np.float64).reshape(len(delta), -1)
    return np.abs(delta).max(axis=1) if norm == "linf" else np.linalg.norm(delta, axis=1)


def assert_inside(adversarial, images, epsilon, norm):
    """Check the box exactly, and the ball up to the rounding of x + delta."""
    adversarial = np.asarray(adversarial)
    assert adversarial.shape == images.shape
    assert adversarial.dtype == images.dtype
    assert np.all((adversarial >= 0) & (adversarial <= 1))
    rounding = 1e-7 if norm == "linf" else 1e-7 * np.sqrt(images[0].size)
    assert np.all(measure(np.float64(adversarial) - images, norm) <= epsilon + rounding)
