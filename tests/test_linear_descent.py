"""Gradient descent in the linear model against closed forms and a plain NumPy loop."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phase_jax.linear.descent import NARROW, descend, measure_curvature
from phase_jax.linear.model import (
    NORMS,
    adversarial_gradient,
    adversarial_loss,
    sample_data,
)
from phase_jax.types import InputError

# Few features and many, which take different paths, on both sides of D = N.
SIZES = ((30, 4), (6, 12), (40, NARROW + 4), (10, NARROW + 20))
EPSILONS = (0.0, 0.05, 0.2, 0.6)
NUM_STEPS = 50  # the same everywhere, so that tests share compiled programs

descend_compiled = jax.jit(descend, static_argnames=("num_steps", "norm", "record_fn"))


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def draw(sizes, seed=0):
    num_examples, num_features = sizes
    theta_0 = jnp.full(num_features, num_features**-0.5)
    return sample_data(jax.random.key(seed), num_examples, theta_0, 0.5)


def descend_plainly(x, y, epsilon, step_size, num_steps, norm):
    """The paper's loop for one attack strength, in NumPy."""
    x, y = np.asarray(x), np.asarray(y)
    theta = np.zeros(x.shape[1])
    path = [theta]
    for _ in range(num_steps):
        residual = y - x @ theta
        length = np.abs(theta).sum() if norm == "linf" else np.linalg.norm(theta)
        slope = np.sign(theta) if norm == "linf" else theta / (length or 1)
        attacked = np.sign(residual)[:, None] * x - epsilon * slope
        theta = theta + step_size * (np.abs(residual) + epsilon * length) @ attacked / y.size
        path.append(theta)
    return np.stack(path)


def measure_losses(theta, x, y, epsilons, norm="l2"):
    """Adversarial losses of coefficients [..., E, D], in NumPy."""
    theta, epsilons = np.asarray(theta), np.asarray(epsilons)
    dual = np.abs(theta).sum(-1) if norm == "linf" else np.linalg.norm(theta, axis=-1)
    residual = np.asarray(y) - theta @ np.asarray(x).T
    return ((np.abs(residual) + (epsilons * dual)[..., None]) ** 2).mean(-1)


@pytest.mark.parametrize("sizes", SIZES)
def test_clean_descent_follows_its_closed_form(sizes):
    x, y = draw(sizes)
    run = descend_compiled(x, y, EPSILONS, num_steps=NUM_STEPS)
    decay = np.eye(x.shape[1]) - run.step_size[0] * np.asarray(x.T @ x) / y.size
    limit = np.linalg.lstsq(x, y)[0]
    for step in (0, 1, 7, NUM_STEPS):
        expected = limit - np.linalg.matrix_power(decay, step) @ limit
        np.testing.assert_allclose(run.records[step, 0], expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(run.records[-1], run.theta)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("sizes", SIZES)
def test_paths_agree_with_a_plain_loop(sizes, norm):
    x, y = draw(sizes)
    run = descend_compiled(x, y, EPSILONS, num_steps=NUM_STEPS, norm=norm)
    assert run.records.shape == (NUM_STEPS + 1, len(EPSILONS), x.shape[1])
    for lane, epsilon in enumerate(EPSILONS):
        expected = descend_plainly(x, y, epsilon, run.step_size[lane], NUM_STEPS, norm)
        np.testing.assert_allclose(run.records[:, lane], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("sizes", SIZES)
def test_a_step_is_half_the_gradient_of_the_loss(sizes, norm):
    x, y = draw(sizes)
    theta = jnp.linspace(-1, 1.3, x.shape[1])
    step = descend_compiled(x, y, EPSILONS, num_steps=1, norm=norm, start=theta, step_size=1.0)
    gradients = 2 * (theta - step.theta)
    for gradient_fn in (adversarial_gradient, jax.grad(adversarial_loss)):
        batched = jax.jit(
            jax.vmap(functools.partial(gradient_fn, norm=norm), (None, None, None, 0))
        )
        expected = batched(theta, x, y, jnp.array(EPSILONS))
        np.testing.assert_allclose(gradients, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("sizes", SIZES)
def test_the_subgradient_is_zero_at_zero_residuals_and_at_zero(sizes):
    x, _ = draw(sizes)
    theta = jnp.where(jnp.arange(x.shape[1]) == 0, 1.0, 0.0)
    at_fit = descend_compiled(x, x[:, 0], [0.5], num_steps=1, start=theta, step_size=1.0)
    np.testing.assert_allclose(at_fit.theta[0], 0.75 * theta, rtol=1e-12, atol=1e-12)
    at_zero = descend_compiled(x, jnp.zeros(x.shape[0]), [0.5], num_steps=3)
    np.testing.assert_array_equal(at_zero.theta, jnp.zeros((1, x.shape[1])))


def test_the_first_step_from_zero_is_the_clean_one():
    x, y = draw(SIZES[0])
    run = descend(x, y, EPSILONS, num_steps=1, step_size=0.1)
    expected = 0.1 * x.T @ y / y.size
    for theta in run.theta:
        np.testing.assert_allclose(theta, expected, rtol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("sizes", SIZES)
def test_the_loss_falls_at_the_default_step_size(sizes, norm):
    """Clean training at every step; the others until they go to and fro between kinks."""
    x, y = draw(sizes)
    run = descend_compiled(x, y, EPSILONS, num_steps=NUM_STEPS, norm=norm)
    losses = measure_losses(run.records, x, y, EPSILONS, norm)
    assert (np.diff(losses, axis=0)[:, 0] <= 1e-12).all()
    assert (losses[-1, :2] < losses[0, :2]).all()
    # A strongly attacked lane wanders about 0; with the step size of l2 attacks, linf would leave.
    assert (losses < 4 * losses[0]).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("sizes", SIZES)
def test_every_step_is_along_a_subgradient(sizes, norm):
    """L(u) >= L(theta) + g^T (u - theta) for every u: so it is at kinks, too."""
    x, y = draw(sizes)
    run = descend_compiled(x, y, EPSILONS, num_steps=NUM_STEPS, norm=norm)
    gradients = 2 * (run.records[:-1] - run.records[1:]) / run.step_size[:, None]
    losses = measure_losses(run.records[:-1], x, y, EPSILONS, norm)
    for other in (run.records[:1], run.records[-1:], run.records[5:6], run.records[20:21] - 0.3):
        support = losses + (gradients * (other - run.records[:-1])).sum(-1)
        assert (measure_losses(other, x, y, EPSILONS, norm) >= support - 1e-10).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("sizes", SIZES)
def test_a_lane_among_others_is_the_lane_alone(sizes, norm):
    x, y = draw(sizes)
    together = descend_compiled(x, y, EPSILONS, num_steps=NUM_STEPS, norm=norm).records
    for lane, epsilon in enumerate(EPSILONS):
        alone = descend_compiled(x, y, [epsilon], num_steps=NUM_STEPS, norm=norm).records
        np.testing.assert_allclose(alone[:, 0], together[:, lane], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("sizes", SIZES[1:3])
def test_replicates_may_be_batched_and_compiled(sizes):
    data = [draw(sizes, seed) for seed in range(3)]
    x, y = (jnp.stack(part) for part in zip(*data, strict=True))
    run_fn = functools.partial(descend, num_steps=20)
    batched = jax.jit(jax.vmap(run_fn, (0, 0, None)))(x, y, jnp.array(EPSILONS))
    for replicate in range(3):
        alone = run_fn(x[replicate], y[replicate], EPSILONS)
        np.testing.assert_allclose(batched.records[replicate], alone.records, rtol=1e-8, atol=1e-11)
        np.testing.assert_allclose(batched.step_size[replicate], alone.step_size, rtol=1e-12)


@pytest.mark.parametrize("sizes", SIZES)
def test_the_default_step_size_follows_the_curvature(sizes):
    """1 / (lambda_max + c epsilon^2), lambda_max at most ln(min(N, D)) / 2^15 too large."""
    x, y = draw(sizes)
    largest = np.linalg.norm(x, 2) ** 2 / y.size
    excess = float(measure_curvature(x)) / largest - 1
    assert -1e-12 < excess < np.log(min(sizes)) / 2**15 + 1e-12
    for norm, reach in (("l2", 1), ("linf", x.shape[1])):
        run = descend_compiled(x, y, EPSILONS, num_steps=1, norm=norm)
        expected = 1 / (measure_curvature(x) + reach * np.array(EPSILONS) ** 2)
        np.testing.assert_allclose(run.step_size, expected, rtol=1e-12)


def test_equal_eigenvalues_are_the_worst_case_of_the_curvature():
    x = 3 * jnp.eye(8)
    expected = 9 / 8 * 8 ** (0.5**15)
    np.testing.assert_allclose(measure_curvature(x), expected, rtol=1e-12)
    assert measure_curvature(0 * x) == 0


def test_descent_goes_on_from_where_it_stopped():
    x, y = draw(SIZES[2])
    first = descend_compiled(x, y, EPSILONS, num_steps=8)
    second = descend_compiled(
        x, y, EPSILONS, num_steps=12, start=first.theta, step_size=first.step_size
    )
    whole = descend_compiled(x, y, EPSILONS, num_steps=20)
    np.testing.assert_allclose(second.theta, whole.theta, rtol=1e-12)


def test_records_are_what_the_caller_asks_for():
    x, y = draw(SIZES[0])
    nothing = descend(x, y, EPSILONS, num_steps=5, record_fn=None)
    assert nothing.records is None
    lengths = descend(
        x, y, EPSILONS, num_steps=5, record_fn=lambda theta: {"length": (theta**2).sum(-1)}
    )
    assert lengths.records["length"].shape == (6, len(EPSILONS))
    np.testing.assert_array_equal(lengths.theta, nothing.theta)
    still = descend(x, y, EPSILONS, num_steps=0, start=jnp.ones(4))
    np.testing.assert_array_equal(still.records, np.ones((1, len(EPSILONS), 4)))


@pytest.mark.parametrize("sizes", SIZES[1:3])
def test_the_type_follows_the_design(sizes):
    x, y = (part.astype(jnp.float32) for part in draw(sizes))
    run = descend(x, y, np.array(EPSILONS, np.float64), num_steps=3)
    assert {leaf.dtype for leaf in jax.tree.leaves(run)} == {np.dtype(np.float32)}


def test_a_new_epsilon_does_not_compile_again():
    x, y = draw(SIZES[0])
    traces = []

    @jax.jit
    def run(epsilons):
        traces.append(epsilons)
        return descend(x, y, epsilons, num_steps=2).theta

    run(jnp.array([0.0, 0.1]))
    run(jnp.array([0.3, 0.0]))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "l1"}, "norm: 'l1' .* l2, linf"),
        ({"epsilons": [0.1, -0.2]}, "epsilons: -0.2 is negative"),
        ({"epsilons": 0.1}, r"epsilons: shape \(\)"),
        ({"num_steps": -1}, "num_steps: -1"),
        ({"y": np.zeros(3)}, r"y: shape \(3,\) .* \(30,\)"),
        ({"x": np.zeros(30)}, r"x: shape \(30,\)"),
        ({"start": np.zeros(7)}, r"start: shape \(7,\) .* \(2, 4\)"),
        ({"step_size": np.ones(3)}, r"step_size: shape \(3,\) .* \(2,\)"),
    ],
)
def test_wrong_input_is_refused(change, message):
    x, y = draw(SIZES[0])
    arguments = {"x": x, "y": y, "epsilons": [0.0, 0.1], "num_steps": 2} | change
    with pytest.raises(InputError, match=message):
        descend(**arguments)
