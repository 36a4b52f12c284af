"""Flax modules of the user, wrapped: statistics, dropout, arguments, names."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import numpy as np

from phase_jax.models import wrap_linen

KEY = jax.random.key(5)


class Normalised(nn.Module):
    """BatchNorm and a linear layer."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.75)(x)
        return nn.Dense(3)(x)


class Dropped(nn.Module):
    """Dropout and a linear layer."""

    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(x))


class Plain(nn.Module):
    """A linear layer that does not ask whether it is trained."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x)


class Masked(nn.Module):
    """BatchNorm over the examples that count, and a linear layer."""

    @nn.compact
    def __call__(self, x, *, train, weights=None):
        mask = None if weights is None else weights[:, None] > 0
        x = nn.BatchNorm(use_running_average=not train)(x, mask=mask)
        return nn.Dense(3)(x)


FEATURES = np.random.default_rng(1).uniform(size=(50, 6)).astype(np.float32)


def test_statistics_of_batch_norm_are_updated_in_training_only():
    model = wrap_linen(Normalised(), (6,))
    params, state = model.init(KEY)
    _, kept = model.apply(params, state, FEATURES, train=False)
    jax.tree.map(np.testing.assert_array_equal, kept, state)
    _, updated = model.apply(params, state, FEATURES, train=True)
    assert set(updated) == {"batch_stats"}
    statistics = updated["batch_stats"]["BatchNorm_0"]
    mean, variance = 0.25 * FEATURES.mean(axis=0), 0.75 + 0.25 * FEATURES.var(axis=0)
    np.testing.assert_allclose(statistics["mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(statistics["var"], variance, rtol=1e-5, atol=1e-6)


def test_batch_norm_uses_the_batch_in_training_and_the_state_otherwise():
    model = wrap_linen(Normalised(), (6,))
    params, state = model.init(KEY)
    kernel, bias = params["Dense_0"]["kernel"], params["Dense_0"]["bias"]
    logits, _ = model.apply(params, state, FEATURES, train=False)
    expected = FEATURES / np.sqrt(1 + 1e-5) @ kernel + bias
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    logits, updated = model.apply(params, state, FEATURES, train=True)
    normalised = (FEATURES - FEATURES.mean(axis=0)) / np.sqrt(FEATURES.var(axis=0) + 1e-5)
    np.testing.assert_allclose(logits, normalised @ kernel + bias, rtol=1e-4, atol=1e-5)
    later, _ = model.apply(params, updated, FEATURES, train=False)
    assert not np.array_equal(later, logits)


def test_key_matters_to_dropout_in_training_only():
    model = wrap_linen(Dropped(), (6,))
    params, state = model.init(KEY)
    assert state == {}

    def run(train, seed):
        key = jax.random.key(seed)
        logits, kept = model.apply(params, state, FEATURES, train=train, key=key)
        assert kept == {}
        return np.asarray(logits)

    np.testing.assert_array_equal(run(False, 0), run(False, 1))
    np.testing.assert_array_equal(run(False, 0), model.apply(params, {}, FEATURES, train=False)[0])
    np.testing.assert_array_equal(run(True, 0), run(True, 0))
    assert not np.array_equal(run(True, 0), run(True, 1))
    assert not np.array_equal(run(True, 0), run(False, 0))


def test_module_without_a_train_argument_can_be_wrapped():
    model = wrap_linen(Plain(), (6,))
    params, state = model.init(KEY)
    assert state == {}
    layer = params["Dense_0"]
    for train in (False, True):
        logits, _ = model.apply(params, state, FEATURES, train=train, key=KEY)
        expected = FEATURES @ layer["kernel"] + layer["bias"]
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_wrapped_module_is_called_after_its_class_unless_named():
    assert wrap_linen(Plain(), (6,)).name == "Plain"
    assert wrap_linen(Plain(), (6,), name="mine").name == "mine"


def test_weights_reach_a_module_that_takes_them_and_no_other():
    weights = (np.arange(len(FEATURES)) < 30).astype(np.float32)
    model = wrap_linen(Masked(), (6,))
    params, state = model.init(KEY)
    logits, moved = model.apply(params, state, FEATURES, train=True, weights=weights)
    alone, moved_alone = model.apply(params, state, FEATURES[:30], train=True)
    np.testing.assert_allclose(logits[:30], alone, rtol=1e-4, atol=1e-5)
    check = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(check, moved, moved_alone)
    for module in (Normalised(), Dropped(), Plain()):
        deaf = wrap_linen(module, (6,))
        params, state = deaf.init(KEY)
        logits, _ = deaf.apply(params, state, FEATURES, train=False, weights=weights)
        expected, _ = deaf.apply(params, state, FEATURES, train=False)
        np.testing.assert_array_equal(logits, expected)


def test_batch_statistics_are_found_in_the_state():
    found = [wrap_linen(module, (6,)).has_batch_statistics for module in (Normalised(), Dropped())]
    assert found == [True, False]
