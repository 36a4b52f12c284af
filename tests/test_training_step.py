"""One training step with every objective: attack mode, BatchNorm, padding, noise, augmentation."""

from __future__ import annotations

import functools

import chex
import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_problem import random_dataset, small_config

from phase_jax.attacks import gaussian, pgd
from phase_jax.config import BATCH_NORM_MODES, OBJECTIVES
from phase_jax.losses import build_objective, cross_entropy
from phase_jax.models import wrap_linen
from phase_jax.sweep import map_lanes
from phase_jax.training import TrainData, make_lane_fns
from phase_jax.training.lane import make_evaluation_attack
from phase_jax.training.step import make_step, resolve_batch_norm
from phase_jax.types import InputError

KEY = jax.random.key(3)
BATCH, SHAPE = 12, (6, 6, 1)
WEIGHTS = jnp.array([1.0] * 8 + [0.0] * 4)
RATE = 0.1
every_objective = pytest.mark.parametrize("name", OBJECTIVES)


class NormNetwork(nn.Module):
    """BatchNorm after the first layer, statistics of the examples that count."""

    @nn.compact
    def __call__(self, x, *, train, weights=None):
        x = nn.Dense(8)(x.reshape(x.shape[0], -1))
        mask = None if weights is None else weights[:, None] > 0
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x, mask=mask)
        return nn.Dense(3)(nn.tanh(x))


MODEL = wrap_linen(NormNetwork(), SHAPE)
DATASET = random_dataset(num_train=BATCH)
IMAGES, LABELS = jnp.asarray(DATASET.train_images), jnp.asarray(DATASET.train_labels)


@functools.cache
def compile_step(name, config, beta=None):
    """Make a step once for all tests."""
    objective = build_objective(name, beta=beta)
    return jax.jit(make_step(config, MODEL, objective, optax.sgd(RATE), 255.0))


@functools.cache
def prepare_carry():
    """Return what a step carries; statistics have moved away from their start."""
    params, state = MODEL.init(KEY)
    _, state = MODEL.apply(params, state, 3 * IMAGES / 255 - 1, train=True)
    return params, state, optax.sgd(RATE).init(params)


def prepare(name, beta=None, **changes):
    return compile_step(name, small_config(**changes), beta), prepare_carry()


def test_each_objective_has_its_own_statistics_during_the_attack():
    modes = {name: resolve_batch_norm(small_config(), build_objective(name)) for name in OBJECTIVES}
    assert modes == {"vanilla": "batch", "trades": "running", "mart": "running"}
    for mode in BATCH_NORM_MODES:
        config = small_config(attack={"batch_norm": mode})
        assert resolve_batch_norm(config, build_objective("mart")) == mode


@functools.partial(jax.jit, static_argnums=(0, 1))
def step_by_hand(name, mode, carry, epsilon, weights, key):
    """One step of SGD, written out for a whole batch of images."""
    (params, state, _), objective = carry, build_objective(name)
    x, attack_key = IMAGES.astype(jnp.float32) / 255, jax.random.split(key, 3)[0]

    def logits_in(train, params, state, z):
        options = {"weights": weights} if train else {}
        return MODEL.apply(params, state, z, train=train, **options)

    attacked = functools.partial(logits_in, mode == "batch", params, state)
    clean = attacked(x)[0]
    adversarial = pgd(
        lambda z: weights * objective.measure_attack_loss(attacked(z)[0], LABELS, clean),
        x,
        attack_key,
        epsilon=epsilon,
        step_size=2.5 * epsilon / 3,
        num_steps=3,
        start_noise=None if name == "vanilla" else 0.001,
    )

    def mean_loss(params):
        clean, after = logits_in(True, params, state, x)
        logits, after = logits_in(True, params, state if name == "vanilla" else after, adversarial)
        losses = objective.measure_train_loss(logits, LABELS, clean)
        return (weights * losses).sum() / weights.sum(), (logits, after)

    (loss, (logits, after)), gradients = jax.value_and_grad(mean_loss, has_aux=True)(params)
    params = jax.tree.map(lambda p, g: p - RATE * g, params, gradients)
    return params, after, loss, (weights * cross_entropy(logits, LABELS)).sum()


@every_objective
@pytest.mark.parametrize("mode", BATCH_NORM_MODES)
def test_a_step_is_the_one_written_out_by_hand(name, mode):
    step, carry = prepare(name, attack={"batch_norm": mode})
    (params, state, _), info = step(carry, 0.05, IMAGES, LABELS, WEIGHTS, KEY)
    expected = step_by_hand(name, mode, carry, 0.05, WEIGHTS, KEY)
    chex.assert_trees_all_close((params, state), expected[:2], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(info.loss / WEIGHTS.sum(), expected[2], rtol=1e-4)
    np.testing.assert_allclose(info.cross_entropy, expected[3], rtol=1e-4)


@every_objective
def test_the_mode_during_the_attack_matters(name):
    results = []
    for mode in BATCH_NORM_MODES:
        step, carry = prepare(name, attack={"batch_norm": mode})
        results.append(step(carry, 0.3, IMAGES, LABELS, jnp.ones(BATCH), KEY)[1])
    assert abs(results[0].loss / results[1].loss - 1) > 1e-3


@every_objective
@pytest.mark.parametrize("mode", BATCH_NORM_MODES)
def test_padding_counts_nowhere(name, mode):
    step, carry = prepare(name, attack={"batch_norm": mode})
    outcomes = [
        step(carry, 0.1, images, LABELS, WEIGHTS, KEY)
        for images in (IMAGES, IMAGES.at[8:].set(0), IMAGES.at[8:].set(255))
    ]
    for other in outcomes[1:]:
        chex.assert_trees_all_close(other, outcomes[0], rtol=1e-6, atol=1e-7)


def test_a_padded_batch_gives_what_its_images_give():
    step, carry = prepare("vanilla", attack={"random_start": False})
    padded = step(carry, 0.1, IMAGES, LABELS, WEIGHTS, KEY)
    alone = step(carry, 0.1, IMAGES[:8], LABELS[:8], jnp.ones(8), KEY)
    chex.assert_trees_all_close(padded, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "num_passes"), [("vanilla", 1), ("trades", 2), ("mart", 2)])
def test_statistics_move_with_the_descent_only(name, num_passes):
    """At zero every pass of the descent sees the clean images; the attack takes 7 steps."""
    step, carry = prepare(name, attack={"num_steps": 7, "batch_norm": "batch"})
    (_, state, _), _ = step(carry, 0.0, IMAGES, LABELS, WEIGHTS, KEY)
    expected = carry[1]
    for _ in range(num_passes):
        _, expected = MODEL.apply(carry[0], expected, IMAGES / 255, train=True, weights=WEIGHTS)
    chex.assert_trees_all_close(state, expected, rtol=1e-5, atol=1e-6)


def test_trades_at_zero_has_no_divergence_and_beta_says_nothing():
    outcomes = []
    for beta in (0.0, 6.0):
        step, carry = prepare("trades", beta)
        (params, _, _), info = step(carry, 0.0, IMAGES, LABELS, WEIGHTS, KEY)
        np.testing.assert_allclose(info.loss, info.cross_entropy, rtol=1e-6)
        outcomes.append(params)
    chex.assert_trees_all_close(*outcomes, rtol=1e-4, atol=1e-6)


@every_objective
def test_restarts_are_refused_where_images_influence_one_another(name):
    def make(mode, model=MODEL):
        config = small_config(attack={"num_restarts": 2, "batch_norm": mode})
        return make_lane_fns(config, model, build_objective(name), pixel_scale=255.0)

    with pytest.raises(InputError, match=r"\A--attack-restarts: 2 [^\n]*running\Z"):
        make("batch")
    make("running")
    make("batch", MODEL._replace(has_batch_statistics=False))


def test_restarts_of_the_training_attack_make_it_stronger():
    losses = []
    for num_restarts in (1, 5):
        attack = {"num_restarts": num_restarts, "batch_norm": "running", "num_steps": 1}
        step, carry = prepare("vanilla", attack={**attack, "step_size": 0.2})
        losses.append(step(carry, 0.1, IMAGES, LABELS, jnp.ones(BATCH), KEY)[1].loss)
    assert losses[1] > losses[0]


# Noise as a control, and augmentation.


def test_noise_of_the_same_radius_trains_on_noise_and_is_evaluated_under_pgd():
    """Remark 2: the training attack is noise on the sphere; evaluation still attacks."""
    step, carry = prepare("vanilla", attack={"name": "gaussian"})
    _, info = step(carry, 0.2, IMAGES, LABELS, jnp.ones(BATCH), KEY)
    x = IMAGES.astype(jnp.float32) / 255
    noisy = gaussian(None, x, jax.random.split(KEY, 3)[0], epsilon=0.2)
    logits, _ = MODEL.apply(*carry[:2], noisy, train=True)
    np.testing.assert_allclose(info.loss, cross_entropy(logits, LABELS).sum(), rtol=1e-5)
    evaluated = make_evaluation_attack(small_config(attack={"name": "gaussian"}))

    def loss_fn(z):
        return cross_entropy(MODEL.apply(*carry[:2], z, train=False)[0], LABELS)

    attacked = evaluated(loss_fn, x, KEY, epsilon=0.2)
    expected = pgd(loss_fn, x, KEY, epsilon=0.2, num_steps=3)
    np.testing.assert_allclose(attacked, expected, rtol=1e-5, atol=1e-6)
    assert loss_fn(attacked).mean() > loss_fn(noisy).mean() > loss_fn(x).mean() - 0.1


def test_augmentation_comes_before_the_attack_and_does_not_depend_on_its_strength():
    step, carry = prepare("vanilla", training={"augmentation": "crop_flip_rotate"})
    plain, _ = prepare("vanilla")
    arguments = (IMAGES, LABELS, jnp.ones(BATCH), KEY)
    _, zero = step(carry, 0.0, *arguments)
    _, tiny = step(carry, 1e-6, *arguments)
    _, other = plain(carry, 0.0, *arguments)
    np.testing.assert_allclose(zero.loss, tiny.loss, rtol=1e-4)
    assert abs(zero.loss / other.loss - 1) > 1e-3


def train_lanes(name, width):
    """Train 3 lanes for an epoch of two batches, the second one partial, at a chunk width."""
    config = small_config(
        training={"batch_size": 8, "num_epochs": 1, "augmentation": "crop_flip"},
        evaluation={"num_steps": 2},
    )
    lane = make_lane_fns(config, MODEL, build_objective(name), pixel_scale=255.0)

    def one_lane(epsilon, key, data):
        return lane.run_epochs(lane.init(key), epsilon, data, 1)[1]

    return map_lanes(one_lane, width=width, num_shared=1)


def test_a_step_of_lanes_gives_each_lane_what_it_gets_alone():
    """Lanes have their own parameters, statistics, strengths and keys."""
    step, carry = prepare("trades")
    carries = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.1 * leaf, 0.9 * leaf]), carry)
    epsilons, keys = jnp.array([0.0, 0.05, 0.3]), jax.random.split(KEY, 3)
    axes = (0, 0, None, None, None, 0)
    together = jax.jit(jax.vmap(step, axes))(carries, epsilons, IMAGES, LABELS, WEIGHTS, keys)
    for i in range(3):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], carries)
        alone = step(own, epsilons[i], IMAGES, LABELS, WEIGHTS, keys[i])
        chex.assert_trees_all_close(
            jax.tree.map(lambda leaf, i=i: leaf[i], together), alone, rtol=1e-4, atol=1e-5
        )


@pytest.mark.slow
@every_objective
def test_lanes_together_give_each_lane_what_it_gets_alone(name):
    data = TrainData(IMAGES, LABELS, IMAGES, LABELS)
    epsilons, keys = jnp.array([0.0, 0.05, 0.3]), jax.random.split(KEY, 3)
    alone = jax.jit(train_lanes(name, 1))(epsilons, keys, data)
    together = jax.jit(train_lanes(name, 3))(epsilons, keys, data)
    chex.assert_trees_all_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["trades", "mart"])
def test_programs_lower_for_every_platform(name):
    data = TrainData(IMAGES, LABELS, IMAGES, LABELS)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 3))
    exported = jax.export.export(jax.jit(train_lanes(name, 3)), platforms=("cpu", "cuda", "tpu"))(
        jax.ShapeDtypeStruct((3,), jnp.float32), keys, data
    )
    assert exported.platforms == ("cpu", "cuda", "tpu")
