"""Attacking a batch part by part: the same images as whole batches give, start by start."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phase_jax import build_model
from phase_jax.attacks import make_attack
from phase_jax.losses import cross_entropy
from phase_jax.training.parts import attack_in_parts, choose_part

X = jax.random.uniform(jax.random.key(1), (24, 28, 28, 1))
LABELS = jnp.arange(24) % 10
MODEL = build_model("mnist_cnn_small", num_classes=10, input_shape=(28, 28, 1), hidden=8)
PARAMS, STATE = MODEL.init(jax.random.key(0))


def make_loss_fn(others):
    labels, weights = others
    return lambda z: weights * cross_entropy(MODEL.apply(PARAMS, STATE, z, train=False)[0], labels)


def run(attack, x, others, key, size):
    return jax.jit(
        lambda x, others, key: attack_in_parts(
            attack, make_loss_fn, x, others, key, epsilon=0.1, size=size
        )
    )(x, others, key)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_parts_give_what_the_whole_batch_gives(norm):
    attack = make_attack("pgd", norm=norm, num_steps=3, step_length=0.4, random_start=False)
    others = (LABELS, jnp.where(jnp.arange(24) < 20, 1.0, 0.0))
    key = jax.random.key(2)
    whole = run(attack, X, others, key, None)
    parts = run(attack, X, others, key, 8)
    assert np.abs(np.asarray(whole - parts)).max() < 1e-5
    assert np.abs(np.asarray(whole - X))[:20].max() > 0.01


def test_every_part_starts_at_random_by_its_own_key():
    attack = make_attack("pgd", norm="linf", num_steps=1, step_length=0.1)
    same = jnp.broadcast_to(X[:1], X.shape)
    others = (jnp.zeros(24, int), jnp.ones(24))
    moved = np.asarray(run(attack, same, others, jax.random.key(3), 8))
    assert len(np.unique(moved.reshape(24, -1), axis=0)) == 24
    first = attack(make_loss_fn((others[0][:8], others[1][:8])), same[:8],
                   jax.random.split(jax.random.key(3), 3)[0], epsilon=0.1)  # fmt: skip
    assert np.abs(moved[:8] - np.asarray(first)).max() < 1e-6


@pytest.mark.parametrize(
    ("num_images", "size", "part"),
    [(128, 32, 32), (80, 32, 20), (500, 32, 25), (24, 32, 24), (97, 32, 97), (64, None, 64)],
)
def test_parts_divide_the_batch(num_images, size, part):
    assert choose_part(num_images, size) == part


def test_only_networks_that_say_so_are_attacked_in_parts():
    shape = (28, 28, 1)
    assert MODEL.attack_part == 32
    lax = build_model("mnist_cnn_small", num_classes=10, input_shape=shape, conv_form="lax")
    assert lax.attack_part is None
    assert build_model("mlp", num_classes=10, input_shape=shape).attack_part is None
