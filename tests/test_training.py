"""One lane: what it computes, and that it does not depend on what surrounds it."""

from __future__ import annotations

import dataclasses
import math

import chex
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_problem import small_config, small_digits

from phase_jax import build_model, make_train
from phase_jax.losses import VANILLA
from phase_jax.sweep import map_lanes
from phase_jax.training import TrainData, make_evaluate, make_lane_fns
from phase_jax.training.lane import make_evaluation_attack
from phase_jax.training.optimizer import build_optimizer


@pytest.fixture(scope="module")
def problem():
    digits = small_digits()
    data = TrainData(
        *map(
            jnp.asarray,
            (digits.train_images, digits.train_labels, digits.test_images, digits.test_labels),
        )
    )
    model = build_model("mlp", num_classes=10, input_shape=(8, 8, 1), widths=(16,))
    return model, data


def lane_of(config, model):
    return make_lane_fns(config, model, VANILLA, pixel_scale=16.0)


def train_of(config, model):
    return make_train(config, model, pixel_scale=16.0)


def test_training_at_zero_is_ordinary_training_written_out_by_hand(problem):
    """A loop in NumPy order, with optax and the documented keys, gives the same losses."""
    model, data = problem
    config = small_config(training={"num_epochs": 2, "momentum": 0.0, "decay_at": ()})
    state, history = jax.jit(train_of(config, model))(0.0, jax.random.key(5), data)
    params, _ = model.init(jax.random.fold_in(jax.random.key(5), 0))
    batch_size, num_train = config.training.batch_size, len(data.train_labels)
    x = data.train_images.astype(jnp.float32) / 16

    @jax.jit
    def loss_and_grad(params, batch, labels):
        def loss(params):
            logits, _ = model.apply(params, {}, batch, train=True)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        return jax.value_and_grad(loss)(params)

    def descend(params, grad):
        rate, decay = config.training.learning_rate, config.training.weight_decay
        return jax.tree.map(lambda p, g: p - rate * (g + decay * p), params, grad)

    for epoch in range(2):
        epoch_key = jax.random.fold_in(jax.random.fold_in(jax.random.key(5), 1), epoch)
        order = jax.random.permutation(jax.random.split(epoch_key, 3)[0], num_train)
        total = 0.0
        for start in range(0, num_train, batch_size):  # the last batch holds 22 images
            places = order[start : start + batch_size]
            loss, grad = loss_and_grad(params, x[places], data.train_labels[places])
            total += float(loss) * len(places)
            params = descend(params, grad)
        np.testing.assert_allclose(history.train_loss[epoch], total / num_train, rtol=1e-5)
    chex.assert_trees_all_close(state.params, params, rtol=1e-4, atol=1e-6)


def test_zero_gives_exactly_the_clean_loss(problem):
    model, data = problem
    config = small_config()
    evaluate = make_evaluate(
        model, VANILLA, make_evaluation_attack(config), batch_size=32, pixel_scale=16.0
    )
    params, state = model.init(jax.random.key(0))
    arguments = (params, state, data.train_images, data.train_labels, jax.random.key(1))
    result = jax.jit(evaluate)(*arguments, 0.0)
    np.testing.assert_array_equal(result.loss, result.clean_loss)
    stronger = jax.jit(evaluate)(*arguments, 0.1)
    np.testing.assert_array_equal(stronger.clean_loss, result.clean_loss)
    assert stronger.loss.mean() > result.loss.mean()


def test_evaluation_covers_every_image_once_whatever_the_batch_size(problem):
    model, data = problem
    config = small_config(evaluation={"random_start": False})
    params, state = model.init(jax.random.key(0))
    losses = []
    for batch_size in (7, 64, 150, 1000):
        attack = make_evaluation_attack(config)
        evaluate = make_evaluate(model, VANILLA, attack, batch_size=batch_size, pixel_scale=16.0)
        images, labels = data.train_images, data.train_labels
        losses.append(
            jax.jit(evaluate)(params, state, images, labels, jax.random.key(1), 0.05).loss
        )
        assert losses[-1].shape == (150,)
        np.testing.assert_allclose(losses[-1], losses[0], rtol=1e-4, atol=1e-6)


def test_the_selected_epoch_has_the_smallest_test_loss_and_its_parameters_are_kept(problem):
    model, data = problem
    config = small_config(training={"num_epochs": 8, "learning_rate": 0.8})
    lane = lane_of(config, model)
    state, history = jax.jit(lane.run_epochs, static_argnums=3)(
        lane.init(jax.random.key(2)), 0.05, data, 8
    )
    best = int(np.argmin(history.test_loss))
    assert int(state.selected_epoch) == best + 1
    assert state.selected_test_loss == history.test_loss[best]
    kept, _ = jax.jit(lane.run_epochs, static_argnums=3)(
        lane.init(jax.random.key(2)), 0.05, data, best + 1
    )
    chex.assert_trees_all_close(state.selected_params, kept.params, rtol=1e-5, atol=1e-6)


def test_training_in_chunks_equals_training_at_once(problem):
    model, data = problem
    lane = lane_of(small_config(), model)
    run = jax.jit(lane.run_epochs, static_argnums=3)
    whole, history = run(lane.init(jax.random.key(3)), 0.05, data, 4)
    half, first = run(lane.init(jax.random.key(3)), 0.05, data, 2)
    both, second = run(half, 0.05, data, 2)
    chex.assert_trees_all_equal(whole.params, both.params)
    np.testing.assert_array_equal(
        history.train_loss, np.concatenate([first.train_loss, second.train_loss])
    )


def test_train_compiles_once_for_all_strengths_and_keys(problem):
    model, data = problem
    chex.clear_trace_counter()
    config = small_config(training={"num_epochs": 1})
    train = jax.jit(chex.assert_max_traces(train_of(config, model), n=1))
    for epsilon, seed in ((0.0, 0), (0.05, 1), (0.3, 2)):
        state, _ = train(jnp.float32(epsilon), jax.random.key(seed), data)
        assert not state.diverged


def few_steps(config, model, width):
    """Train 4 lanes, 3 steps each (one epoch of 3 batches), at a chunk width."""
    lane = lane_of(config, model)
    epsilons = jnp.array([0.0, 0.03, 0.1, 0.3])
    keys = jax.random.split(jax.random.key(7), 4)

    def one_lane(epsilon, key, data):
        return lane.run_epochs(lane.init(key), epsilon, data, 1)

    mapped = jax.jit(map_lanes(one_lane, width=width, num_shared=1))
    return mapped, epsilons, keys


@pytest.mark.parametrize(
    "width", [1, 3, *(pytest.param(width, marks=pytest.mark.slow) for width in (2, 4))]
)
def test_lanes_together_give_each_lane_what_it_gets_alone(problem, width):
    model, data = problem
    config = small_config(training={"batch_size": 50, "num_epochs": 1})
    mapped, epsilons, keys = few_steps(config, model, width)
    _, together = mapped(epsilons, keys, data)
    alone = jax.jit(train_of(config, model))
    for i in range(4):
        _, info = alone(epsilons[i], keys[i], data)
        np.testing.assert_allclose(together.train_loss[i], info.train_loss, rtol=1e-5)
        np.testing.assert_allclose(together.test_loss[i], info.test_loss, rtol=1e-5)


@pytest.mark.parametrize("width", [1, pytest.param(2, marks=pytest.mark.slow), 4])
def test_a_lane_has_the_same_bits_whatever_its_neighbours_at_equal_width(problem, width):
    model, data = problem
    mapped, epsilons, keys = few_steps(small_config(), model, width)
    state, info = mapped(epsilons, keys, data)
    order = jnp.array([2, 0, 3, 1])
    other_state, other_info = mapped(epsilons[order], keys[order], data)
    chex.assert_trees_all_equal(
        jax.tree.map(lambda leaf: leaf[order], (state.params, info)),
        (other_state.params, other_info),
    )


@pytest.mark.parametrize("width", [1, pytest.param(2, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_lane_that_diverges_leaves_the_others_bit_identical(problem, width, poison):
    model, data = problem
    lane = lane_of(small_config(), model)
    epsilons, keys = jnp.array([0.0, 0.03, 0.1, 0.3]), jax.random.split(jax.random.key(7), 4)
    states = jax.jit(map_lanes(lane.init, width=width))(keys)

    def run_lane(state, epsilon, data):
        return lane.run_epochs(state, epsilon, data, 2)

    run = jax.jit(map_lanes(run_lane, width=width, num_shared=1))
    sound_state, sound = run(states, epsilons, data)
    poisoned = jax.tree.map(lambda leaf: leaf.at[1].set(poison), states.params)
    state, info = run(states._replace(params=poisoned), epsilons, data)
    others = jnp.array([0, 2, 3])
    chex.assert_trees_all_equal(
        jax.tree.map(lambda leaf: leaf[others], (state.params, info)),
        jax.tree.map(lambda leaf: leaf[others], (sound_state.params, sound)),
    )
    np.testing.assert_array_equal(state.diverged, [False, True, False, False])
    assert int(state.selected_epoch[1]) == 0


def test_a_lane_that_diverges_later_keeps_its_last_sound_selection(problem):
    model, data = problem
    lane = lane_of(small_config(), model)
    run = jax.jit(lane.run_epochs, static_argnums=3)
    state, _ = run(lane.init(jax.random.key(0)), 0.05, data, 2)
    poisoned = jax.tree.map(lambda leaf: leaf * jnp.nan, state.params)
    after, info = run(state._replace(params=poisoned), 0.05, data, 1)
    assert bool(after.diverged)
    assert not np.isfinite(info.train_loss).any()
    assert after.selected_epoch == state.selected_epoch
    chex.assert_trees_all_equal(after.selected_params, state.selected_params)


def test_nothing_returns_to_the_host_within_a_chunk_and_data_are_not_constants(problem):
    model, data = problem
    lane = lane_of(small_config(), model)
    arguments = (lane.init(jax.random.key(0)), jnp.float32(0.05), data)
    run = jax.jit(lambda state, epsilon, data: lane.run_epochs(state, epsilon, data, 2))
    text = run.lower(*arguments).as_text()
    assert "callback" not in text
    assert len(text) < 400_000  # 150 images alone would add 9,600 numbers
    run(*arguments)
    with jax.transfer_guard("disallow"):
        jax.block_until_ready(run(*arguments))


def test_the_learning_rate_drops_at_the_stated_minibatch():
    config = small_config(
        training={"num_epochs": 4, "weight_decay": 0.0, "momentum": 0.0, "learning_rate": 1.0}
    ).training
    optimizer = build_optimizer(config, steps_per_epoch=5)
    state = optimizer.init(jnp.zeros(()))
    rates = []
    for _ in range(20):
        update, state = optimizer.update(jnp.ones(()), state, jnp.zeros(()))
        rates.append(-float(update))
    # t = epoch + (i + 1) / 5 reaches 2 with the 10th minibatch and 3 with the 15th
    expected = [1.0] * 9 + [0.1] * 5 + [0.01] * 6
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_weight_decay_is_an_l2_penalty_on_every_parameter(optimizer):
    config = small_config(training={"optimizer": optimizer, "weight_decay": 0.1}).training
    with_decay = build_optimizer(config, 5)
    without = build_optimizer(dataclasses.replace(config, weight_decay=0.0), 5)
    params, grads = jnp.array([2.0, -1.0]), jnp.array([0.3, 0.2])
    update, _ = with_decay.update(grads, with_decay.init(params), params)
    by_hand, _ = without.update(grads + 0.1 * params, without.init(params), params)
    np.testing.assert_allclose(update, by_hand, rtol=1e-6)


@pytest.mark.parametrize("name", ["mnist_cnn", "mnist_cnn_small"])
def test_training_programs_lower_for_every_platform(problem, name):
    digits = small_digits()
    model = build_model(name, num_classes=10, input_shape=(28, 28, 1), conv_form="lax")
    images = jnp.zeros((20, 28, 28, 1), jnp.uint8)
    data = TrainData(images, digits.train_labels[:20], images, digits.test_labels[:20])
    lane = make_lane_fns(small_config(), model, VANILLA, pixel_scale=255.0)

    def run_lane(key, epsilon, data):
        return lane.run_epochs(lane.init(key), epsilon, data, 1)[1]

    mapped = jax.jit(map_lanes(run_lane, width=4, num_shared=1))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 4))
    exported = jax.export.export(mapped, platforms=("cpu", "cuda", "tpu"))(
        keys, jax.ShapeDtypeStruct((4,), jnp.float32), data
    )
    assert exported.platforms == ("cpu", "cuda", "tpu")
