"""The two critical attack strengths of a linear data set."""

from __future__ import annotations

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conic import solve_epsilon_conic

from phase_jax.linear import (
    adversarial_loss,
    collapse_epsilon,
    population_risk,
    sample_data,
    solve,
    solve_clean,
    solve_epsilon_star,
    solve_trajectory_epsilon,
    std_length,
)
from phase_jax.linear.problem import fit_clean, reduce_problem
from phase_jax.linear.threshold import measure_first_slope
from phase_jax.types import EpsilonStatus

SHAPES = (
    (40, 12),
    (10, 40),
    pytest.param((60, 4), marks=pytest.mark.slow),
    pytest.param((12, 15), marks=pytest.mark.slow),
)
SEEDS = 4
NUM_AT_ONCE = 6


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def draw(shape, seed=0):
    theta = jnp.ones(shape[1]) / np.sqrt(shape[1])
    x, y = sample_data(jax.random.key(seed), shape[0], theta, 1.0)
    return x, y, population_risk(solve_clean(x, y), theta, 1.0, 0.0)


@functools.partial(jax.jit, static_argnames="norm")
def solve_many(x, y, thresholds, norm):
    return jax.vmap(lambda t: solve_epsilon_star(x, y, t, norm=norm))(thresholds)


def solve_padded(x, y, thresholds, norm):
    """Solve for a few thresholds with one compiled program a shape and norm."""
    found = solve_many(x, y, jnp.resize(jnp.asarray(thresholds, x.dtype), NUM_AT_ONCE), norm)
    return jax.tree.map(lambda leaf: leaf[: len(thresholds)], found)


@functools.partial(jax.jit, static_argnames="norm")
def minimise_many(x, y, epsilons, norm):
    return jax.vmap(lambda e: solve(x, y, e, norm=norm))(epsilons)


@functools.partial(jax.jit)
def follow(x, y, distances):
    return jax.vmap(lambda d: solve_trajectory_epsilon(x, y, d))(distances)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_epsilon_star_equals_the_conic_solver_with_brentq(shape, norm):
    # 4 shapes x 2 norms x 4 seeds x 2 thresholds = 64 instances, half of them in the slow suite
    num_compared = num_left_out = 0
    for seed in range(SEEDS):
        x, y, risk = draw(shape, seed)
        clean, unit = jnp.mean((y - x @ solve_clean(x, y)) ** 2), jnp.mean(y * y)
        thresholds = [risk, clean + 0.4 * (unit - clean)]
        found = solve_padded(x, y, thresholds, norm)
        for threshold, value, status in zip(thresholds, found.value, found.status, strict=True):
            if abs(threshold / unit - 1) < 1e-3:
                num_left_out += 1
                continue
            expected = EpsilonStatus.UNDEFINED if threshold < clean else EpsilonStatus.FOUND
            expected = EpsilonStatus.INFINITE if threshold >= unit else expected
            assert status == expected
            num_compared += 1
            if expected != EpsilonStatus.FOUND:
                assert np.isnan(value)
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "may be inaccurate": it aims below its rounding
                reference = solve_epsilon_conic(np.asarray(x), np.asarray(y), threshold, norm)
            np.testing.assert_allclose(value, reference, rtol=1e-4)
    assert num_compared >= 2 * SEEDS - 1
    assert num_compared + num_left_out == 2 * SEEDS


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss_at_epsilon_star_is_the_threshold(shape, norm):
    x, y, _ = draw(shape, 3)
    clean, unit = jnp.mean((y - x @ solve_clean(x, y)) ** 2), jnp.mean(y * y)
    shares = jnp.asarray([1e-5, 1e-3, 0.1, 0.5, 0.9, 0.99])
    thresholds = clean + shares * (unit - clean)
    found = solve_padded(x, y, thresholds, norm)
    assert np.all(found.status == EpsilonStatus.FOUND)
    assert np.all(np.diff(found.value) > 0)
    losses = minimise_many(x, y, found.value, norm).loss
    np.testing.assert_allclose(losses, thresholds, atol=2e-9 * unit)
    assert np.all(found.value < collapse_epsilon(x, y, norm))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_slope_is_the_derivative_of_the_minimum(norm):
    x, y, _ = draw((40, 12), 4)
    threshold = 0.5 * jnp.mean((y - x @ solve_clean(x, y)) ** 2) + 0.5 * jnp.mean(y * y)
    found = solve_padded(x, y, [threshold], norm)
    step = 1e-4 * found.value
    epsilons = jnp.resize(jnp.concatenate([found.value - step, found.value + step]), NUM_AT_ONCE)
    low, high, *_ = minimise_many(x, y, epsilons, norm).loss
    np.testing.assert_allclose(found.slope[0], (high - low) / (2 * step[0]), rtol=1e-3)


def test_threshold_at_the_ends():
    x, y, _ = draw((40, 12), 5)
    clean, unit = jnp.mean((y - x @ solve_clean(x, y)) ** 2), jnp.mean(y * y)
    thresholds = jnp.asarray([0.9 * clean, 1.001 * unit, jnp.nan, -1.0, jnp.inf])
    found = solve_padded(x, y, thresholds, "l2")
    kinds = [EpsilonStatus(int(code)).name for code in found.status]
    assert kinds[:4] == ["UNDEFINED", "INFINITE", "NONFINITE", "UNDEFINED"]
    assert np.all(np.isnan(found.value))
    assert np.all(found.num_crossings == 0)


def test_first_order_theory_holds_where_it_should():
    # sqrt(n) << d << n: epsilon* is about Delta / (2 sqrt(2 / pi) |theta| sigma) for each data set
    x, y, risk = draw((400, 60), 6)
    theta = solve_clean(x, y)
    rise = risk - jnp.mean((y - x @ theta) ** 2)
    first_order = rise / (2 * jnp.linalg.norm(theta) * jnp.abs(y - x @ theta).mean())
    found = jax.tree.map(lambda leaf: leaf[0], solve_padded(x, y, [risk], "l2"))
    # The first step from the clean minimiser is a lower bound of epsilon*.
    assert first_order * 0.9 < found.value < first_order * 1.5


@pytest.mark.parametrize(
    "shape", [pytest.param((60, 10), marks=pytest.mark.slow), (20, 60)], ids=str
)
def test_trajectory_threshold_is_the_first_crossing_of_a_fine_grid(shape):
    distance = std_length(*shape, 1.0, 1.0)
    for seed in range(3):
        x, y, _ = draw(shape, seed)
        clean = solve_clean(x, y)
        grid = jnp.geomspace(1e-3, 1.0, 120) * collapse_epsilon(x, y)
        thetas = minimise_many(x, y, grid, "l2").theta
        lengths = np.linalg.norm(thetas - clean, axis=1)
        found = jax.tree.map(lambda leaf: leaf[0], follow(x, y, jnp.full(1, distance)))
        beyond = np.flatnonzero(lengths >= distance)
        if not beyond.size:
            assert found.status == EpsilonStatus.INFINITE
            continue
        assert found.status == EpsilonStatus.FOUND
        assert grid[beyond[0] - 1] <= found.value <= grid[beyond[0]] * (1 + 1e-9)
        theta = minimise_many(x, y, jnp.full(120, found.value), "l2").theta[0]
        np.testing.assert_allclose(jnp.linalg.norm(theta - clean), distance, rtol=1e-5)


@pytest.mark.parametrize("shape", [(40, 12), (60, 3), (12, 40)])
def test_first_slope_of_the_distance_is_that_of_exact_solves(shape):
    x, y, _ = draw(shape, 5)
    problem = reduce_problem(x, y, "l2")
    slope = measure_first_slope(problem.design, fit_clean(problem.design, problem.y))
    small = 1e-4 * collapse_epsilon(x, y)
    theta = minimise_many(x, y, jnp.full(120, small), "l2").theta[0]
    measured = jnp.linalg.norm(theta - solve_clean(x, y)) / small
    np.testing.assert_allclose(slope * problem.scale, measured, rtol=1e-2, atol=1e-6)


def test_trajectory_threshold_has_statuses():
    x, y, _ = draw((40, 12), 7)
    distances = jnp.asarray([jnp.linalg.norm(solve_clean(x, y)) * 1.01, jnp.nan, 0.0, -1.0])
    found = follow(x, y, distances)
    kinds = [EpsilonStatus(int(code)).name for code in found.status]
    assert kinds == ["INFINITE", "NONFINITE", "NONFINITE", "NONFINITE"]


def test_single_precision_agrees():
    x, y, risk = draw((60, 12), 8)
    narrow = solve_padded(x.astype(jnp.float32), y.astype(jnp.float32), [risk], "l2")
    wide = solve_padded(x, y, [risk], "l2")
    assert narrow.value.dtype == jnp.float32
    np.testing.assert_allclose(narrow.value, wide.value, rtol=2e-3)


def test_loss_at_the_clean_minimiser_bounds_the_minimum():
    x, y, _ = draw((40, 12), 9)
    clean = solve_clean(x, y)
    epsilons = jnp.asarray([0.01, 0.1, 1.0, 0.02, 0.2, 2.0])
    losses = minimise_many(x, y, epsilons, "l2").loss
    bounds = jax.vmap(lambda e: adversarial_loss(clean, x, y, e))(epsilons)
    assert np.all(losses <= bounds + 1e-12)
