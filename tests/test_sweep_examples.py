"""The adversarial examples that a run keeps to be looked at."""

from __future__ import annotations

import types

import jax
import numpy as np
import pytest
from small_problem import small_config, small_digits

from phase_jax.sweep.examples import NUM_EXAMPLES, attack_examples, choose_examples
from phase_jax.sweep.execute import Clock
from phase_jax.sweep.setup import prepare_model, prepare_sweep
from phase_jax.types import LaneStatus

OK, DIVERGED = LaneStatus.OK, LaneStatus.DIVERGED
STATUS = np.array([[DIVERGED, OK], [OK, OK], [DIVERGED, DIVERGED]])


def attack_untrained(norm):
    """Attack with untrained networks, six different ones at three strengths and two seeds."""
    config = small_config(attack={"norm": norm}, evaluation={"num_steps": 2})
    sweep = prepare_sweep(config, model=None, data=small_digits(), objective=None)
    states = jax.vmap(sweep.lane.init)(jax.random.split(jax.random.key(3), 6))
    params = jax.tree.map(
        lambda leaf: np.asarray(leaf).reshape(3, 2, *leaf.shape[1:]), states.selected_params
    )
    results = types.SimpleNamespace(
        epsilons=np.asarray(sweep.config.epsilons),
        lanes=types.SimpleNamespace(status=STATUS),
        params=params,
        model_state={},
    )
    clock = Clock()
    examples = attack_examples(sweep, results, clock)
    assert clock.seconds["evaluate"] > 0
    return config, results, examples


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_examples_are_test_images_moved_within_the_ball(norm):
    data = small_digits()
    _, results, examples = attack_untrained(norm)
    assert examples.images.shape == (NUM_EXAMPLES, *data.input_shape)
    stored = (examples.images * data.pixel_scale).round().astype(np.uint8)
    for image, label in zip(stored, examples.labels, strict=True):
        places = np.flatnonzero((data.test_images == image).all(axis=(1, 2, 3)))
        assert label in data.test_labels[places]
    changes = (examples.adversarial - examples.images).reshape(3, NUM_EXAMPLES, -1)
    lengths = np.linalg.norm(changes, ord=np.inf if norm == "linf" else 2, axis=2)
    assert not lengths[0].any()  # epsilon = 0 changes nothing
    assert (lengths <= results.epsilons[:, None] + 1e-6).all()
    assert (lengths[1:].max(axis=1) > 0.5 * results.epsilons[1:]).all()
    assert examples.adversarial.min() >= 0
    assert examples.adversarial.max() <= 1


def test_the_lane_shown_is_the_first_that_ended_well():
    config, results, examples = attack_untrained("linf")
    np.testing.assert_array_equal(examples.seeds, [1, 0, -1])
    network = prepare_model(config, small_digits(), None)
    for place, seed in ((0, 1), (1, 0)):
        params = jax.tree.map(lambda leaf, e=place, s=seed: leaf[e, s], results.params)
        for images, probabilities in (
            (examples.images, examples.clean_probabilities),
            (examples.adversarial[place], examples.probabilities),
        ):
            logits, _ = network.apply(params, {}, images, train=False)
            expected = jax.nn.softmax(logits)
            np.testing.assert_allclose(probabilities[place], expected, atol=1e-6)


def test_images_are_chosen_class_by_class():
    assert choose_examples(np.array([3, 3, 1, 3, 1, 0, 3, 3, 3])).tolist() == [5, 2, 0, 4, 1, 3]
    assert choose_examples(np.array([7])).tolist() == [0]
    assert choose_examples(np.arange(10)[::-1]).tolist() == [9, 8, 7, 6, 5, 4]
