"""What can be derived about single attacks: optima, iterates, distributions."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_cases import (
    DETERMINISTIC,
    EPSILONS,
    IMAGES,
    KEY,
    NUM_PIXELS,
    SHAPE,
    WEIGHTS,
    assert_inside,
    every_norm,
    linear_loss,
    measure,
    network_loss,
    run_attack,
)

from phase_jax.attacks import fgm, gaussian, pgd

# What can be derived on linear losses.


def reach_optimum(norm, images, epsilon):
    """Largest w.x over the ball around each image: w.x + epsilon |w|_dual."""
    dual = np.abs(WEIGHTS).sum() if norm == "linf" else np.linalg.norm(WEIGHTS)
    return images.reshape(len(images), -1) @ WEIGHTS + epsilon * dual


OPTIMAL = {
    "fgm": fgm,
    "pgd": functools.partial(pgd, num_steps=20, random_start=False),
    "pgd with random start and long steps": lambda *arguments, epsilon, **options: pgd(
        *arguments, epsilon=epsilon, step_size=epsilon, num_steps=60, **options
    ),
}


@every_norm
@pytest.mark.parametrize("name", OPTIMAL)
def test_attack_reaches_the_optimum_of_a_linear_loss(name, norm):
    options = {"norm": norm, "bounds": (-100.0, 100.0)}
    attack_fn = jax.jit(
        lambda epsilon: OPTIMAL[name](linear_loss, IMAGES, KEY, epsilon=epsilon, **options)
    )
    for epsilon in (0.01, 0.3, 2.0):
        losses = np.asarray(attack_fn(epsilon), np.float64).reshape(5, -1) @ WEIGHTS
        optimum = reach_optimum(norm, IMAGES, epsilon)
        np.testing.assert_allclose(losses, optimum, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("epsilon", [8 / 255, 0.3, 2.0])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_linf_attack_of_a_linear_loss_is_exact_in_the_pixel_box(name, epsilon):
    adversarial = run_attack(name, "linf", linear_loss, IMAGES, None, epsilon)
    corner = np.clip(IMAGES + epsilon * np.sign(WEIGHTS).reshape(SHAPE), 0, 1)
    np.testing.assert_allclose(adversarial, corner, rtol=0, atol=2e-7)


@every_norm
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_attack_of_a_linear_loss_is_never_below_the_clean_loss(name, norm):
    attack_fn = jax.jit(functools.partial(run_attack, name, norm, linear_loss, IMAGES, KEY))
    for epsilon in EPSILONS:
        gained = (np.float64(attack_fn(epsilon)) - IMAGES).reshape(5, -1) @ WEIGHTS
        assert np.all(gained >= -1e-7)


# The iterates of PGD, against a reference in NumPy.

MATRIX = np.random.default_rng(3).normal(size=(NUM_PIXELS, NUM_PIXELS)) / NUM_PIXELS
SYMMETRIC = MATRIX + MATRIX.T
LOSSES = {
    "linear": (
        lambda x: x @ np.float64(WEIGHTS),
        lambda x: np.broadcast_to(np.float64(WEIGHTS), x.shape),
    ),
    "quadratic": (
        lambda x: 0.5 * jnp.sum(x * (x @ SYMMETRIC), axis=1) + x @ np.float64(WEIGHTS) / 10,
        lambda x: x @ SYMMETRIC + np.float64(WEIGHTS) / 10,
    ),
}


def iterate_reference(gradient_fn, x, epsilon, step_size, norm, num_steps):
    """Yield the iterates of projected gradient ascent on rows of `x` in [0, 1]."""
    delta = np.zeros_like(x)
    for _ in range(num_steps):
        gradient = gradient_fn(x + delta)
        if norm == "linf":
            delta = np.clip(delta + step_size * np.sign(gradient), -epsilon, epsilon)
        else:
            length = np.linalg.norm(gradient, axis=1, keepdims=True)
            delta = delta + step_size * gradient / (length + 1e-10)
            delta *= np.minimum(1, epsilon / np.linalg.norm(delta, axis=1, keepdims=True))
        delta = np.clip(x + delta, 0, 1) - x
        yield x + delta


@every_norm
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("step_size", [0.03, 0.25])
def test_every_iterate_of_pgd_equals_the_reference(loss, norm, step_size):
    loss_fn, gradient_fn = LOSSES[loss]
    x = IMAGES.reshape(5, -1).astype(np.float64)
    reference = iterate_reference(gradient_fn, x, 0.2, step_size, norm, num_steps=5)
    with jax.enable_x64(True), jax.disable_jit():
        for num_steps, expected in enumerate(reference, start=1):
            iterate = pgd(
                loss_fn,
                jnp.asarray(x),
                epsilon=0.2,
                step_size=step_size,
                num_steps=num_steps,
                norm=norm,
                random_start=False,
            )
            np.testing.assert_allclose(iterate, expected, rtol=0, atol=1e-12)


@every_norm
def test_default_step_is_two_and_a_half_times_epsilon_over_the_number_of_steps(norm):
    options = {"epsilon": 0.2, "num_steps": 5, "norm": norm, "random_start": False}
    with jax.disable_jit():
        by_default = pgd(network_loss, IMAGES, **options)
        explicit = pgd(network_loss, IMAGES, step_size=0.1, **options)
    np.testing.assert_allclose(by_default, explicit, rtol=0, atol=1e-6)


@every_norm
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_huge_gradients_stay_in_the_ball(name, norm):
    adversarial = run_attack(name, norm, lambda x: 1e38 * linear_loss(x), IMAGES, None, 0.1)
    assert_inside(adversarial, IMAGES, 0.1, norm)


# Starts and restarts.


@every_norm
def test_restarts_keep_the_largest_loss_of_each_image(norm):
    options = {"epsilon": 0.3, "step_size": 0.03, "num_steps": 1, "norm": norm}
    with jax.disable_jit():
        kept = network_loss(pgd(network_loss, IMAGES, KEY, num_restarts=4, **options))
        singles = [
            network_loss(pgd(network_loss, IMAGES, key, **options))
            for key in jax.random.split(KEY, 4)
        ]
    np.testing.assert_allclose(kept, np.max(singles, axis=0), rtol=0, atol=1e-6)
    assert np.all(kept >= singles[0])  # never worse than the first key alone
    assert len(set(np.argmax(singles, axis=0))) > 1  # no key is the best for all images


GREY_IMAGES = np.full((3000, 6), 0.5, np.float32)


def draw_starts(norm):
    """Random starts in units of epsilon, [N, D], far from the box."""
    options = {"epsilon": 0.25, "num_steps": 1, "norm": norm}
    start = pgd(lambda x: jnp.zeros(len(x)), GREY_IMAGES, KEY, **options)
    return (np.asarray(start, np.float64) - 0.5) / 0.25


def assert_mean_is(samples, mean):
    """Compare the mean over the first axis with its expectation, within 4 standard errors."""
    standard_error = samples.std(axis=0) / np.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(axis=0) - mean) < 4 * standard_error)


def test_linf_start_is_uniform_in_the_cube():
    start = draw_starts("linf")
    assert_mean_is(start, 0)
    assert_mean_is(start**2, 1 / 3)
    assert_mean_is(start**4, 1 / 5)


def test_l2_start_has_a_uniform_radius_and_no_preferred_direction():
    start = draw_starts("l2")
    radius = np.linalg.norm(start, axis=1)
    assert_mean_is(radius, 1 / 2)
    assert_mean_is(radius**2, 1 / 3)
    assert_mean_is(start, 0)
    assert_mean_is((start / radius[:, None]) ** 2, 1 / 6)


# Gaussian noise.


@every_norm
def test_gaussian_noise_has_length_epsilon_where_the_box_is_not_hit(norm):
    delta = np.float64(gaussian(None, GREY_IMAGES, KEY, epsilon=0.1, norm=norm)) - 0.5
    np.testing.assert_allclose(measure(delta, norm), 0.1, rtol=0, atol=1e-7 * np.sqrt(6))


@every_norm
def test_gaussian_noise_has_mean_zero(norm):
    delta = np.float64(gaussian(None, GREY_IMAGES, KEY, epsilon=0.1, norm=norm)) - 0.5
    assert_mean_is(delta, 0)
