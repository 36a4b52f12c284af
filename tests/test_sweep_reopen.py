"""A finished run taken up again: its own data, network, objective and lanes, or one line."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from small_problem import random_dataset, small_config, small_digits

from phase_jax import InputError, build_model, cross_entropy, run_sweep
from phase_jax.sweep.reopen import (
    find_lane,
    reopen_data,
    reopen_model,
    reopen_objective,
    take_lane,
)


def half_cross_entropy(logits, labels):
    return 0.5 * cross_entropy(logits, labels)


@pytest.fixture(scope="module")
def result():
    config = small_config(
        epsilon_grid=(0.02,),
        training={"num_epochs": 1},
        attack={"num_steps": 1},
        evaluation={"num_steps": 1},
        data={"num_train": 150, "num_test": 100},
    )
    return run_sweep(config)


def describe(result, group, **changes):
    """Return the result as if its description said something else."""
    description = {**result.description, group: {**result.description[group], **changes}}
    return dataclasses.replace(result, description=description)


def test_the_images_come_back(result):
    again = reopen_data(result)
    np.testing.assert_array_equal(again.train_images, small_digits().train_images)
    assert reopen_data(result, again) is again


def test_the_network_computes_what_the_run_evaluated(result):
    dataset = reopen_data(result)
    network = reopen_model(result, dataset)
    for e, s in ((0, 0), (1, 1)):
        params, state = take_lane((result.params, result.model_state), e, s)
        x = dataset.test_images.astype(np.float32) / dataset.pixel_scale
        logits, _ = network.apply(params, state, x, train=False)
        loss = float(cross_entropy(logits, dataset.test_labels).mean())
        assert loss == pytest.approx(result.lanes.clean_test_loss[e, s], rel=1e-5)


def test_the_objective_comes_back(result):
    assert reopen_objective(result).name == "vanilla"
    assert reopen_objective(result, "vanilla").train_loss is cross_entropy


def test_lanes_are_found_within_rounding(result):
    assert [find_lane(result, epsilon, field="--eps") for epsilon in (0.0, 0.02)] == [0, 1]
    assert find_lane(result, float(np.float32(0.02)), field="--eps") == 1


@pytest.mark.parametrize(
    ("attempt", "named"),
    [
        (lambda r: find_lane(r, 0.03, field="--eps"), "--eps: 0.03 was not trained.*0, 0.02"),
        (lambda r: reopen_data(r, random_dataset()), "data: 'random' as given differs"),
        (lambda r: reopen_data(describe(r, "data", sha256="0" * 64)), "'digits' as loaded differs"),
        (lambda r: reopen_data(describe(r, "data", name="mine")), "images of its own .'mine'"),
        (
            lambda r: reopen_model(
                r,
                small_digits(),
                build_model("mlp", num_classes=10, input_shape=(8, 8, 1), widths=(17,)),
            ),
            r"model: mlp\(17\) with 1,285 parameters is not the run's network \(mlp\(16\), 1,210",
        ),
        (lambda r: reopen_objective(r, half_cross_entropy), "half_cross_entropy is not the run's"),
    ],
)
def test_what_is_not_the_runs_is_one_line(result, attempt, named):
    with pytest.raises(InputError, match=named) as caught:
        attempt(result)
    assert "\n" not in str(caught.value)


def test_a_lane_is_taken_without_its_axes(result):
    params = take_lane(result.params, 1, 0)
    shapes = jax.tree.map(lambda whole, part: whole.shape[2:] == part.shape, result.params, params)
    assert all(jax.tree.leaves(shapes))
