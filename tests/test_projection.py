"""Projection onto the ball, for any floating-point input."""

from __future__ import annotations

import functools

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from attack_cases import (
    every_norm,
    measure,
)

from phase_jax.attacks import project
from phase_jax.attacks.ball import clamp_to_box

# Projection.

LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).tiny)  # compiled programs may flush what is below
check_property = hypothesis.settings(
    derandomize=True, deadline=None, max_examples=60, database=None
)
project_rows = jax.jit(project, static_argnames="norm")


@functools.partial(jax.jit, static_argnames="norm")
def attack_rows(delta, x, epsilon, norm):
    return clamp_to_box(project(delta, epsilon, norm), x, (0.0, 1.0))


draw_epsilon = st.sampled_from(
    [0.0, 1e-45, 1e-39, 1e-30, 1e-6, 8 / 255, 0.3, 2.0, 1e30, 3e38]
) | st.floats(2.0**-20, 8, width=32)


def draw_rows(largest):
    """Draw three perturbations; half of the numbers are of the order of 1."""
    numbers = st.floats(-largest, largest, width=32) | st.floats(-2, 2, width=32)
    return hypothesis.extra.numpy.arrays(np.float32, (3, 5), elements=numbers)


@every_norm
@check_property
@hypothesis.given(data=st.data(), epsilon=draw_epsilon)
def test_projection_ends_in_the_ball_and_is_idempotent(norm, data, epsilon):
    delta = data.draw(draw_rows(LARGEST))
    once = np.asarray(project_rows(delta, np.float32(epsilon), norm=norm))
    assert np.all(measure(once, norm) <= epsilon * (1 + 1e-6) + 5 * SMALLEST)
    twice = project_rows(once, np.float32(epsilon), norm=norm)
    np.testing.assert_allclose(twice, once, rtol=1e-6, atol=SMALLEST)


@every_norm
@check_property
@hypothesis.given(data=st.data(), epsilon=draw_epsilon)
def test_projection_is_nonexpansive(norm, data, epsilon):
    deltas = [data.draw(draw_rows(LARGEST)) for _ in range(2)]
    first, second = (
        np.float64(project_rows(delta, np.float32(epsilon), norm=norm)) for delta in deltas
    )
    distance = measure(np.float64(deltas[0]) - deltas[1], norm)
    rounding = 1e-6 * epsilon + 5 * SMALLEST
    assert np.all(measure(first - second, norm) <= distance * (1 + 1e-6) + rounding)


@every_norm
@check_property
@hypothesis.given(delta=draw_rows(2.0**100), epsilon=draw_epsilon)
def test_projection_is_the_nearest_point(norm, delta, epsilon):
    if norm == "linf":
        nearest = np.clip(np.float64(delta), -epsilon, epsilon)
    else:
        length = np.maximum(measure(delta, norm), epsilon)[:, None]
        nearest = delta * np.divide(epsilon, length, out=np.ones_like(length), where=length > 0)
    projected = project_rows(delta, np.float32(epsilon), norm=norm)
    np.testing.assert_allclose(projected, nearest, rtol=1e-6, atol=SMALLEST)


@every_norm
@check_property
@hypothesis.given(data=st.data(), epsilon=draw_epsilon)
def test_what_is_projected_and_clamped_is_in_the_ball_and_in_the_box(norm, data, epsilon):
    pixels = st.sampled_from([0.0, 1e-45, 1e-39, 0.5, 1.0]) | st.floats(0, 1, width=32)
    x = data.draw(hypothesis.extra.numpy.arrays(np.float32, (3, 5), elements=pixels))
    delta = data.draw(draw_rows(LARGEST))
    inside = np.asarray(attack_rows(delta, x, np.float32(epsilon), norm=norm))
    assert np.all(measure(inside, norm) <= epsilon * (1 + 1e-6) + 5 * SMALLEST)
    assert np.all((x + inside >= 0) & (x + inside <= 1))


@every_norm
@pytest.mark.parametrize("value", [1e38, 3e38])  # its reciprocal, its length are out of range
def test_projection_brings_the_largest_numbers_into_the_ball(value, norm):
    delta = np.array([[value, 0.0, -value]], np.float32)
    assert measure(project_rows(delta, 0.1, norm=norm), norm) <= 0.1 * (1 + 1e-6)
