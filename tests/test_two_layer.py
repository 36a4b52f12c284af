"""The two-layer network of Proposition 1 beside the linear model that it approaches."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phase_jax.linear.descent import descend
from phase_jax.linear.model import sample_data
from phase_jax.linear.two_layer import (
    ACTIVATIONS,
    TwoLayer,
    attack_two_layer,
    init_two_layer,
    linearise_two_layer,
    measure_predictor_gap,
    predict_two_layer,
    train_two_layer,
)
from phase_jax.types import InputError

NUM_EXAMPLES, NUM_FEATURES, STEP_SIZE = 50, 5, 0.2


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def draw(seed=0):
    theta_0 = jnp.full(NUM_FEATURES, NUM_FEATURES**-0.5)
    return sample_data(jax.random.key(seed), NUM_EXAMPLES, theta_0, 0.5)


def draw_test_points():
    return jax.random.normal(jax.random.key(99), (500, NUM_FEATURES))


@functools.partial(jax.jit, static_argnames=("width", "num_steps", "activation"))
def measure_gaps(key, epsilon, *, width, num_steps, activation="tanh"):
    """Gap to the linear model at the matching start, and to the one at zero."""
    x, y = draw()
    start = init_two_layer(key, NUM_FEATURES, width)
    trained = train_two_layer(
        start, x, y, epsilon, num_steps=num_steps, step_size=STEP_SIZE, activation=activation
    )
    starts = (linearise_two_layer(start, activation), jnp.zeros(NUM_FEATURES))
    linear = [
        descend(x, y, epsilon[None], num_steps=num_steps, start=beta, step_size=STEP_SIZE)
        for beta in starts
    ]
    return [
        measure_predictor_gap(trained, run.theta[0], draw_test_points(), activation)
        for run in linear
    ]


@pytest.mark.parametrize(
    ("activation", "epsilon"),
    [pytest.param("tanh", 0.0, marks=pytest.mark.slow), ("tanh", 0.2), ("softplus", 0.2)],
)
def test_the_gap_falls_with_the_width(activation, epsilon):
    keys = jax.random.split(jax.random.key(3), 4)
    gaps = []
    for width in (16, 1024):
        run = functools.partial(measure_gaps, width=width, num_steps=30, activation=activation)
        matched, _ = jax.vmap(run, (0, None))(keys, jnp.array(epsilon))
        assert (matched.maximum >= matched.root_mean_square).all()
        gaps.append(np.median(matched.root_mean_square))
    # The remainder of phi is of order 1 / h: 64 times the width, with a factor of 4 to spare.
    assert gaps[1] < gaps[0] / 16


def test_the_first_attacked_step_from_exactly_zero_differs_at_every_width():
    """A tiny start has a direction, an exact zero has none: eta epsilon mean |y| apart."""
    _, y = draw()
    epsilon = jnp.array(0.5)
    matched, zero = measure_gaps(jax.random.key(5), epsilon, width=2048, num_steps=1)
    expected = STEP_SIZE * epsilon * jnp.abs(y).mean()
    assert matched.root_mean_square < 1e-3 * expected
    # Over 500 standard normal points a root mean square has a relative error of about 0.03.
    np.testing.assert_allclose(zero.root_mean_square, expected, rtol=0.13)
    _, clean = measure_gaps(jax.random.key(5), jnp.array(0.0), width=2048, num_steps=1)
    assert clean.root_mean_square < 1e-2 * expected


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_zero_epsilon_is_clean_training(activation):
    x, y = draw()
    start = init_two_layer(jax.random.key(1), NUM_FEATURES, 8)
    attacked = attack_two_layer(start, x, y, 0.0, activation)
    np.testing.assert_array_equal(attacked, x)

    slope = jax.grad(ACTIVATIONS[activation])(0.0)

    def half_loss(hidden):
        network = TwoLayer(hidden, start.output)
        return ((y - predict_two_layer(network, x, activation)) ** 2).mean() / 2

    hidden = start.hidden
    for _ in range(10):  # |a|^2 = h
        hidden = hidden - STEP_SIZE / slope**2 * jax.grad(half_loss)(hidden)
    trained = train_two_layer(
        start, x, y, 0.0, num_steps=10, step_size=STEP_SIZE, activation=activation
    )
    np.testing.assert_allclose(trained.hidden, hidden, rtol=1e-10)
    np.testing.assert_array_equal(trained.output, start.output)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_step_is_the_gradient_at_the_attacked_points(activation):
    """By hand: f' = h^{-1/2} a_j phi'(x^T theta_j), times x for theta_j and theta_j for x."""
    x, y = (np.asarray(part) for part in draw())
    start = init_two_layer(jax.random.key(2), NUM_FEATURES, 6, delta=0.1)
    hidden, output = (np.asarray(part) for part in start)
    phi = ACTIVATIONS[activation]
    phi_slope = np.vectorize(jax.grad(phi))
    epsilon = 0.3

    pull = phi_slope(x @ hidden.T) * output / 6**0.5
    gradient = pull @ hidden
    residual = y - np.asarray(phi(x @ hidden.T)) @ output / 6**0.5
    unit = gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    attacked = x - epsilon * np.sign(residual)[:, None] * unit
    np.testing.assert_allclose(
        attack_two_layer(start, x, y, epsilon, activation), attacked, rtol=1e-10
    )

    features = attacked @ hidden.T
    residual = y - np.asarray(phi(features)) @ output / 6**0.5
    descent = (phi_slope(features) * output / 6**0.5 * residual[:, None]).T @ attacked / y.size
    rate = STEP_SIZE / phi_slope(0.0) ** 2
    trained = train_two_layer(
        start, x, y, epsilon, num_steps=1, step_size=STEP_SIZE, activation=activation
    )
    np.testing.assert_allclose(trained.hidden, hidden + rate * descent, rtol=1e-9)


def test_the_attack_is_exact_where_the_network_is_linear():
    x, y = draw()
    tiny = init_two_layer(jax.random.key(4), NUM_FEATURES, 64, delta=6.0)
    beta = linearise_two_layer(tiny)
    np.testing.assert_allclose(predict_two_layer(tiny, x), x @ beta, rtol=1e-6, atol=1e-14)
    moved = attack_two_layer(tiny, x, y, 0.4) - x
    expected = -0.4 * jnp.sign(y)[:, None] * beta / jnp.linalg.norm(beta)
    np.testing.assert_allclose(moved, expected, rtol=1e-6, atol=1e-6)


def test_a_network_without_gradient_is_not_attacked():
    x, y = draw()
    network = TwoLayer(jnp.zeros((3, NUM_FEATURES)), jnp.ones(3))
    np.testing.assert_array_equal(attack_two_layer(network, x, y, 0.5), x)


def test_the_start_has_its_distribution():
    network = init_two_layer(jax.random.key(6), 8, 2000, delta=0.5)
    variance = 1 / (8 * 2000.0**1.5)
    # The mean of 16,000 squares of normal numbers: 4 standard errors.
    spread = (network.hidden**2).mean() / variance
    assert abs(spread - 1) < 4 * (2 / 16000) ** 0.5
    assert set(np.unique(network.output)) == {-1.0, 1.0}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_vanish_at_zero_with_a_slope(activation):
    phi = ACTIVATIONS[activation]
    assert abs(phi(0.0)) < 1e-15
    assert jax.grad(phi)(0.0) in (1.0, 0.5)
    assert jnp.isfinite(jax.grad(jax.grad(phi))(0.0))


def test_keys_may_be_batched():
    x, y = draw()

    @jax.jit
    def run(key):
        start = init_two_layer(key, NUM_FEATURES, 16)
        return train_two_layer(start, x, y, 0.1, num_steps=5, step_size=STEP_SIZE).hidden

    keys = jax.random.split(jax.random.key(8), 2)
    alone = jnp.stack([run(key) for key in keys])
    np.testing.assert_allclose(jax.vmap(run)(keys), alone, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "relu"}, "activation: 'relu' .* tanh, softplus"),
        ({"epsilon": -0.1}, "epsilon: -0.1 is negative"),
        ({"num_steps": -1}, "num_steps: -1"),
        ({"x": np.zeros((50, 4))}, r"x: shape \(50, 4\) .* \[N, 5\]"),
        ({"y": np.zeros(4)}, r"y: shape \(4,\) .* \(50,\)"),
    ],
)
def test_wrong_input_is_refused(change, message):
    x, y = draw()
    network = init_two_layer(jax.random.key(0), NUM_FEATURES, 4)
    arguments = {"x": x, "y": y, "epsilon": 0.1, "num_steps": 1, "step_size": 0.1} | change
    with pytest.raises(InputError, match=message):
        train_two_layer(network, **arguments)


def test_an_empty_network_is_refused():
    with pytest.raises(InputError, match="width: 0"):
        init_two_layer(jax.random.key(0), 3, 0)
