"""Cross-entropy against double precision, and objectives by name or from a user's function."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from phase_jax.losses import VANILLA, Objective, build_objective, cross_entropy
from phase_jax.types import InputError

LABELS = np.array([0, 1, 2, 3, 3, 0])


def draw_logits(spread):
    """Logits [B, K] with a standard deviation of `spread`."""
    return spread * np.random.default_rng(0).normal(size=(len(LABELS), 4))


def reference_loss(logits):
    return -scipy.special.log_softmax(np.float64(logits), axis=1)[np.arange(len(LABELS)), LABELS]


def reference_gradient(logits):
    """Softmax minus one-hot labels."""
    return scipy.special.softmax(np.float64(logits), axis=1) - np.eye(4)[LABELS]


def differentiate(logits, labels=LABELS):
    return jax.grad(lambda values: cross_entropy(values, labels).sum())(logits)


@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0, 30.0, 1e4])
def test_cross_entropy_equals_the_reference(spread):
    logits = draw_logits(spread).astype(np.float32)
    losses = cross_entropy(jnp.asarray(logits), LABELS)
    assert losses.dtype == jnp.float32
    np.testing.assert_allclose(losses, reference_loss(logits), rtol=1e-6, atol=1e-6)
    gradient = differentiate(jnp.asarray(logits))
    np.testing.assert_allclose(gradient, reference_gradient(logits), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("spread", [1.0, 1e4])
def test_cross_entropy_keeps_double_precision(spread):
    logits = draw_logits(spread)
    with jax.enable_x64(True):
        losses, gradient = cross_entropy(jnp.asarray(logits), LABELS), differentiate(logits)
        assert losses.dtype == gradient.dtype == jnp.float64
        np.testing.assert_allclose(losses, reference_loss(logits), rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(gradient, reference_gradient(logits), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_cross_entropy_and_its_gradient_are_finite_for_large_logits(dtype):
    logits = jnp.array([[1e4, -1e4], [1e4, -1e4], [-1e4, -1e4], [1e4, 1e4]], dtype)
    labels = np.array([0, 1, 0, 1])
    losses, gradient = cross_entropy(logits, labels), differentiate(logits, labels)
    assert losses.dtype == gradient.dtype == dtype
    precision = float(jnp.finfo(dtype).eps)
    expected = [0.0, 2e4, np.log(2), np.log(2)]
    np.testing.assert_allclose(np.float64(losses), expected, rtol=precision, atol=0)
    expected = [[0, 0], [1, -1], [-0.5, 0.5], [0.5, -0.5]]
    np.testing.assert_allclose(np.float64(gradient), expected, rtol=precision, atol=0)


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_the_number_of_classes():
    losses = cross_entropy(jnp.full((3, 10), 7.0), np.array([0, 5, 9]))
    np.testing.assert_allclose(losses, np.log(10), rtol=1e-6, atol=0)


def test_cross_entropy_of_an_example_does_not_depend_on_the_others():
    logits = jnp.asarray(draw_logits(1.0), jnp.float32)
    others = logits.at[1:].set(1e4)
    assert cross_entropy(logits, LABELS)[0] == cross_entropy(others, LABELS)[0]


def test_cross_entropy_compiles_once_and_equals_the_eager_one():
    traces = []

    @jax.jit
    def compiled(logits, labels):
        traces.append(logits)
        return cross_entropy(logits, labels)

    for spread in (1.0, 100.0):
        logits = jnp.asarray(draw_logits(spread), jnp.float32)
        eager = cross_entropy(logits, LABELS)
        np.testing.assert_allclose(compiled(logits, LABELS), eager, rtol=1e-6, atol=1e-6)
    assert len(traces) == 1


# Objectives.


@pytest.mark.parametrize("frequencies", [[1.0, 0.0, 0.0], [0.25] * 4, [0.5, 0.3, 0.2]], ids=str)
def test_supremum_of_vanilla_is_the_cross_entropy_of_the_best_constant_prediction(frequencies):
    frequencies = np.array(frequencies)
    logits = np.tile(np.log(np.maximum(frequencies, 1e-30)), (len(frequencies), 1))
    with jax.enable_x64(True):
        losses = cross_entropy(jnp.asarray(logits), np.arange(len(frequencies)))
        supremum = VANILLA.supremum_fn(frequencies)
        np.testing.assert_allclose(supremum, frequencies @ losses, rtol=1e-12, atol=1e-12)


def margin_loss(logits, labels):
    return -logits[:, 0] * labels


class Scaled:
    """A loss that is an object, and has no `__name__`."""

    def __call__(self, logits, labels):
        return 2 * cross_entropy(logits, labels)


def test_vanilla_attacks_and_trains_on_cross_entropy():
    assert build_objective("vanilla") is VANILLA
    assert VANILLA.attack_loss is VANILLA.train_loss is cross_entropy


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (margin_loss, "margin_loss"),
        (Scaled(), "Scaled"),
        (functools.partial(margin_loss, labels=1), "partial"),
    ],
)
def test_own_loss_is_attacked_and_trained_on(loss, name):
    assert build_objective(loss) == Objective(name, loss, loss)


def test_objective_is_returned_as_it_is():
    objective = Objective("two losses", margin_loss, cross_entropy)
    assert build_objective(objective) is objective


@pytest.mark.parametrize(
    "wrong",
    [
        "vanila",
        "two\nlines",
        None,
        3,
        ("vanilla", margin_loss),
        ["vanilla"],
    ],
)
def test_wrong_objective_is_named_in_one_line(wrong):
    with pytest.raises(InputError, match=r"\Aobjective: [^\n]*vanilla[^\n]*\Z"):
        build_objective(wrong)
