"""Lemmas 1 and 2: corrected moments against simulation, printed ones against the same."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phase_jax.linear import moments
from phase_jax.types import InputError

SIGMA, LENGTH = 0.8, 1.5
SIZES = ((40, 8), (8, 40), (30, 20))
NUM_REPLICATES = 4000


@functools.cache
def simulate(num_examples: int, num_features: int) -> dict[str, np.ndarray]:
    """Clean training of many data sets: theta_hat, train loss and gap of each."""
    rng = np.random.default_rng(7)
    theta_0 = np.full(num_features, LENGTH / num_features**0.5)
    x = rng.standard_normal((NUM_REPLICATES, num_examples, num_features))
    y = x @ theta_0 + SIGMA * rng.standard_normal((NUM_REPLICATES, num_examples))
    turned = x.swapaxes(1, 2)
    if num_examples > num_features:
        theta = np.linalg.solve(turned @ x, turned @ y[..., None])[..., 0]
    else:
        theta = (turned @ np.linalg.solve(x @ turned, y[..., None]))[..., 0]
    loss = ((y - (x @ theta[..., None])[..., 0]) ** 2).mean(1)
    risk = SIGMA**2 + ((theta - theta_0) ** 2).sum(1)
    return {"theta": theta, "loss": loss, "gap": risk - loss}


def estimate_mean(values: np.ndarray) -> tuple[float, float]:
    return values.mean(), values.std() / values.size**0.5


def estimate_variance(values: np.ndarray) -> tuple[float, float]:
    """A variance, and its standard error from the fourth moment."""
    return estimate_mean((values - values.mean()) ** 2)


def standard_errors_away(estimate: tuple[float, float], value: float) -> float:
    return abs(estimate[0] - value) / estimate[1]


@pytest.mark.parametrize("sizes", SIZES)
def test_corrected_moments_agree_with_simulation(sizes):
    runs = simulate(*sizes)
    spread = ((runs["theta"] - runs["theta"].mean(0)) ** 2).sum(1)
    expected = {
        "variance": (estimate_mean(spread), moments.estimator_variance(*sizes, SIGMA, LENGTH)),
        "gap": (estimate_mean(runs["gap"]), moments.gap_mean(*sizes, SIGMA, LENGTH)),
        "gap variance": (
            estimate_variance(runs["gap"]),
            moments.gap_variance(*sizes, SIGMA, LENGTH),
        ),
        "gap square": (
            estimate_mean(runs["gap"] ** 2),
            moments.gap_second_moment(*sizes, SIGMA, LENGTH),
        ),
    }
    if sizes[0] > sizes[1]:
        expected["loss"] = estimate_mean(runs["loss"]), moments.train_loss_mean(*sizes, SIGMA)
        expected["loss variance"] = (
            estimate_variance(runs["loss"]),
            moments.train_loss_variance(*sizes, SIGMA),
        )
    distances = {name: standard_errors_away(*pair) for name, pair in expected.items()}
    assert max(distances.values()) < 4, distances


def test_printed_moments_do_not_agree_with_simulation():
    tall, wide = simulate(40, 8), simulate(8, 40)
    spread = ((wide["theta"] - wide["theta"].mean(0)) ** 2).sum(1)
    distances = {
        "variance": standard_errors_away(
            estimate_mean(spread), moments.estimator_variance(8, 40, SIGMA, LENGTH, form="printed")
        ),
        "gap": standard_errors_away(
            estimate_mean(tall["gap"]), moments.gap_mean(40, 8, SIGMA, LENGTH, form="printed")
        ),
        "gap square": standard_errors_away(
            estimate_mean(tall["gap"] ** 2),
            moments.gap_second_moment(40, 8, SIGMA, LENGTH, form="printed"),
        ),
        "loss variance": standard_errors_away(
            estimate_variance(tall["loss"]),
            moments.train_loss_variance(40, 8, SIGMA, form="printed"),
        ),
    }
    assert min(distances.values()) > 20, distances


def test_forms_as_written():
    """The worked numbers of N = 100, D = 20 and of N = 20, D = 100, sigma = |theta_0| = 1."""
    assert moments.gap_mean(100, 20) == pytest.approx(20 / 79 + 0.2, rel=1e-12)
    assert moments.gap_mean(100, 20, form="printed") == pytest.approx(20 / 79 - 0.2, rel=1e-12)
    assert moments.estimator_variance(20, 100) == pytest.approx(20 / 79 + 0.16, rel=1e-12)
    assert moments.estimator_variance(20, 100, form="printed") == pytest.approx(20 / 79, rel=1e-12)
    assert moments.train_loss_variance(100, 20) == pytest.approx(0.016, rel=1e-12)
    assert moments.train_loss_variance(100, 20, form="printed") == pytest.approx(1.6, rel=1e-12)
    assert moments.std_length(20, 100) ** 2 == pytest.approx(20 / 79 + 0.16, rel=1e-12)


def test_few_features_leave_the_printed_second_moment_at_a_constant():
    assert moments.gap_second_moment(10**6, 2) == pytest.approx(2e-6, rel=1e-3)
    assert moments.gap_second_moment(10**6, 2, form="printed") == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize("num_features", [9, 10, 11])
def test_moments_that_do_not_exist_are_infinite(num_features):
    for moment in (
        moments.estimator_variance,
        moments.std_length,
        moments.gap_mean,
        moments.gap_variance,
        moments.gap_second_moment,
    ):
        assert moment(10, num_features) == math.inf


def test_second_moments_need_more_than_the_first():
    for sizes in ((10, 7), (10, 8), (10, 12), (10, 13)):
        assert math.isfinite(moments.gap_mean(*sizes))
        assert moments.gap_variance(*sizes) == moments.gap_second_moment(*sizes) == math.inf
    assert math.isfinite(moments.gap_variance(10, 6))
    assert math.isfinite(moments.gap_variance(10, 14))


def test_what_the_paper_does_not_give_is_nan():
    assert math.isnan(moments.gap_mean(10, 30, form="printed"))
    assert math.isnan(moments.gap_second_moment(10, 30, form="printed"))


def test_interpolation_has_no_train_loss():
    assert moments.train_loss_mean(10, 30) == 0
    assert moments.train_loss_variance(10, 30) == 0


def test_sigma_may_be_an_array_or_traced():
    sigma = jnp.array([0.5, 1.0])
    compiled = jax.jit(lambda s: moments.std_length(20, 100, s))(sigma)
    expected = [moments.std_length(20, 100, float(s)) for s in sigma]
    np.testing.assert_allclose(compiled, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: moments.gap_mean(10, 3, form="right"), "form: 'right' .* corrected, printed"),
        (lambda: moments.estimator_variance(0, 3), "num_examples: 0 .* 1 or more"),
        (lambda: moments.gap_variance(3, -1), "num_features: -1 .* 1 or more"),
    ],
)
def test_wrong_requests_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
