"""Networks of the user that are not Linen modules: NNX, and pairs of functions."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_problem import random_dataset, small_config

from phase_jax import InputError, run_sweep
from phase_jax.models import Model, take_nnx, wrap_functions, wrap_model, wrap_nnx

KEY = jax.random.key(5)
X = jnp.asarray(np.random.default_rng(1).uniform(size=(20, 6)), jnp.float32)


class Network(nnx.Module):
    """BatchNorm, dropout and a linear layer."""

    def __init__(self, rngs: nnx.Rngs):
        self.norm = nnx.BatchNorm(6, momentum=0.75, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(6, 6, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)])

    def __call__(self, x):
        x = self.dropout(self.norm(x.reshape(len(x), -1)))
        for layer in self.layers:
            x = layer(x)
        return x


def test_nnx_agrees_with_the_module_itself():
    module = Network(nnx.Rngs(0))
    model, params, state = take_nnx(module)
    module.eval()
    expected = module(X)
    logits, kept = jax.jit(lambda p, s: model.apply(p, s, X, train=False))(params, state)
    np.testing.assert_allclose(logits, expected, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, kept, state)
    assert model.has_batch_statistics
    assert model.name == "Network"


def test_nnx_state_changes_in_training_and_the_module_does_not():
    module = Network(nnx.Rngs(0))
    before = nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))
    model, params, state = take_nnx(module)
    _, changed = model.apply(params, state, X, train=True, key=KEY)
    np.testing.assert_allclose(changed["norm"]["mean"], 0.25 * X.mean(0), rtol=1e-5)
    after = nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))
    jax.tree.map(np.testing.assert_array_equal, after, before)


def test_nnx_dropout_follows_the_key():
    model = wrap_nnx(Network)
    params, state = model.init(KEY)
    first, again, other = (
        model.apply(params, state, X, train=True, key=jax.random.key(seed))[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert jnp.abs(first - other).max() > 1e-3


def test_nnx_is_initialised_by_the_key():
    model = wrap_nnx(lambda rngs: Network(rngs), name="mine")
    first, again, other = (model.init(jax.random.key(seed))[0] for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert jnp.abs(first["layers"][0]["kernel"] - other["layers"][0]["kernel"]).max() > 1e-3
    many = jax.vmap(model.init)(jax.random.split(KEY, 3))[0]
    assert many["layers"][1]["kernel"].shape == (3, 6, 3)
    assert model.name == "mine"


def test_pair_of_functions():
    model = wrap_functions(lambda key: jax.random.normal(key, (6, 3)), lambda w, x: x @ w)
    params, state = model.init(KEY)
    logits, same = model.apply(params, state, X, train=True, key=KEY, weights=jnp.ones(20))
    np.testing.assert_array_equal(logits, X @ params)
    assert same == state == {}


@pytest.mark.slow
def test_sweep_takes_them_as_lanes():
    config, data = small_config(), random_dataset()
    size = int(np.prod(data.input_shape))

    class Small(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.norm = nnx.BatchNorm(size, rngs=rngs)
            self.out = nnx.Linear(size, data.num_classes, rngs=rngs)

        def __call__(self, x):
            return self.out(self.norm(x.reshape(len(x), -1)))

    pair = (
        lambda key: {"w": 0.1 * jax.random.normal(key, (size, data.num_classes))},
        lambda params, x: x.reshape(len(x), -1) @ params["w"],
    )
    for model, leaf in ((Small, "out"), (pair, "w")):
        result = run_sweep(config, model=model, data=data)
        kernel = jax.tree.leaves(result.params[leaf])[-1]
        assert kernel.shape[:2] == result.lanes.train_loss.shape
        assert np.isfinite(result.lanes.train_loss).all()


WRONG = {
    "text": "resnet",
    "built": Network(nnx.Rngs(0)),
    "linen class": nn.Dense,
    "one function": lambda x: x,
    "three functions": (abs, abs, abs),
}


@pytest.mark.parametrize("name", WRONG)
def test_others_are_refused_in_one_line(name):
    with pytest.raises(InputError, match=r"^model: .* is not allowed; allowed: a Flax Linen") as e:
        wrap_model(WRONG[name], (6,))
    assert "\n" not in str(e.value)


def test_a_model_is_taken_as_it_is():
    model = Model(lambda key: ({}, {}), lambda *a, **k: (None, {}))
    assert wrap_model(model, (6,)) is model
