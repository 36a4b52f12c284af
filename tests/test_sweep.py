"""Sweeps from end to end: lanes, results, files."""

from __future__ import annotations

import csv
import dataclasses
import json
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_problem import random_dataset, small_config, small_digits

from phase_jax import (
    EpsilonStatus,
    InputError,
    LaneStatus,
    Model,
    load_dataset,
    run_sweep,
    solve_epsilon_star,
    write_result,
)
from phase_jax.report import build_document
from phase_jax.sweep import choose_lane_width
from phase_jax.validation import validate_config


@pytest.fixture(scope="module")
def result():
    return run_sweep(small_config(target_epsilon=0.3), data=small_digits())


def test_clean_training_is_always_a_lane(result):
    np.testing.assert_allclose(result.epsilons, [0.0, 0.02, 0.1])
    assert result.lanes.train_loss.shape == (3, 2)
    assert result.history["train_loss"].shape == (3, 2, 4)


def test_the_threshold_is_the_clean_test_loss_of_each_seeds_clean_model(result):
    np.testing.assert_allclose(result.thresholds, result.lanes.clean_test_loss[0], rtol=1e-6)
    np.testing.assert_allclose(result.thresholds, result.lanes.evaluated_test_loss[0], rtol=1e-6)
    assert result.clean_example_losses.shape == (2, 100)


def test_logged_values_are_those_of_the_selected_epoch(result):
    for e in range(3):
        for s in range(2):
            place = int(np.argmin(result.history["test_loss"][e, s]))
            assert result.lanes.selected_epoch[e, s] == place + 1
            for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
                logged = getattr(result.lanes, name)[e, s]
                assert logged == pytest.approx(result.history[name][e, s, place])


def test_evaluated_values_are_means_over_all_images(result):
    np.testing.assert_allclose(
        result.lanes.evaluated_test_loss, result.example_losses.mean(axis=2), rtol=1e-6
    )
    assert (result.lanes.evaluated_test_loss >= result.lanes.clean_test_loss - 1e-6).all()
    assert (np.diff(result.lanes.evaluated_train_loss, axis=0) > 0).all()


@pytest.mark.parametrize("train_loss", ["logged", "evaluated"])
def test_epsilon_star_can_be_solved_from_either_train_loss(result, train_loss):
    config = dataclasses.replace(
        result.config, solver=dataclasses.replace(result.config.solver, train_loss=train_loss)
    )
    other = run_sweep(config, data=small_digits())
    curve = {"logged": "train_loss", "evaluated": "evaluated_train_loss"}[train_loss]
    for s in range(2):
        alone = solve_epsilon_star(
            result.epsilons, getattr(result.lanes, curve)[:, s], result.thresholds[s]
        )
        assert other.epsilon_star.seeds[s].status == alone.status
        np.testing.assert_allclose(other.epsilon_star.seeds[s].value, alone.value, rtol=1e-5)


def test_a_seed_shares_initialisation_order_and_noise_across_strengths(result):
    """With epsilon = 0 and a tiny epsilon, common random numbers give almost equal histories."""
    config = dataclasses.replace(result.config, epsilon_grid=(1e-7, 0.1))
    close = run_sweep(config, data=small_digits()).history["train_loss"]
    np.testing.assert_allclose(close[0], close[1], rtol=1e-4)
    assert not np.allclose(close[0, 0], close[0, 1], rtol=1e-2)  # seeds differ


def test_the_same_configuration_gives_the_same_bits(result):
    again = run_sweep(result.config, data=small_digits())
    for name, values in result.history.items():
        np.testing.assert_array_equal(values, again.history[name])
    np.testing.assert_array_equal(result.example_losses, again.example_losses)
    assert again.epsilon_star == result.epsilon_star or math.isnan(
        again.epsilon_star.seeds[0].value
    )


def test_other_master_seeds_give_other_numbers(result):
    other = run_sweep(dataclasses.replace(result.config, seed=1), data=small_digits())
    assert not np.allclose(other.history["train_loss"], result.history["train_loss"], rtol=1e-3)


def test_every_automatic_choice_is_filled_in(result):
    lanes = result.config.lanes
    assert lanes.width == 3  # two chunks of a dense network's six lanes
    assert lanes.epochs_per_chunk == 1
    assert result.config.epsilon_grid == tuple(result.epsilons)
    assert result.config.attack.step_size == pytest.approx(2.5 / 3)
    assert result.config.evaluation.step_size == pytest.approx(2.5 / 3)
    assert (result.config.data.num_train, result.config.data.num_test) == (150, 100)


def test_chunks_of_epochs_do_not_change_the_result(result):
    config = dataclasses.replace(
        result.config, lanes=dataclasses.replace(result.config.lanes, epochs_per_chunk=3)
    )
    chunked = run_sweep(config, data=small_digits())  # chunks of 3 and 1
    np.testing.assert_allclose(
        chunked.history["train_loss"], result.history["train_loss"], rtol=1e-5
    )


def test_progress_is_reported_in_every_phase():
    heard = []
    run_sweep(small_config(), data=small_digits(), progress_fn=heard.append)
    assert [report.phase for report in heard] == ["compile", *["train"] * 4, "evaluate"]
    last = heard[-2]
    assert (last.epoch, last.num_epochs, last.num_lanes) == (4, 4, 6)
    assert last.examples_per_second > 0
    assert last.seconds_left == 0
    assert np.isfinite(last.train_losses).all()


def test_a_learning_rate_that_is_too_large_is_reported_as_divergence():
    config = small_config(training={"learning_rate": 1e6, "num_epochs": 2})
    result = run_sweep(config, data=small_digits())
    assert (result.lanes.status == LaneStatus.DIVERGED).any()
    assert result.epsilon_star.status is not EpsilonStatus.FOUND
    document = json.dumps(build_document(result), allow_nan=False)
    assert "DIVERGED" in document


def test_a_lane_that_predicts_one_class_is_reported_and_left_out():
    """A strong attack on a nearly untrained network collapses; the solve leaves it out."""
    constant = Model(
        init=lambda key: ({"bias": jnp.zeros(10)}, {}),
        apply=lambda params, state, x, *, train, key=None: (
            jnp.broadcast_to(params["bias"], (x.shape[0], 10)),
            state,
        ),
    )
    result = run_sweep(small_config(), model=constant, data=small_digits())
    assert (result.lanes.status == LaneStatus.COLLAPSED).all()
    assert result.epsilon_star.status is EpsilonStatus.NONFINITE
    assert "one class" in build_document(result)["cautions"][0]


def test_validation_images_are_taken_out_of_training_and_never_from_the_test_set():
    config = small_config(data={"selection": "validation", "num_selection": 20})
    result = run_sweep(config, data=small_digits())
    assert result.description["data"]["num_train"] == 130
    assert result.description["data"]["num_selection"] == 20
    assert result.example_losses.shape[2] == 100
    again = run_sweep(result.config, data=small_digits())  # held out once, not once more
    assert again.description == result.description
    np.testing.assert_array_equal(again.history["test_loss"], result.history["test_loss"])


class BatchNormNetwork(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Dense(16)(x.reshape(x.shape[0], -1))
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(3)(nn.Dropout(0.1, deterministic=not train)(x))


def test_the_users_own_network_data_and_loss_are_used():
    def squared_error(logits, labels):
        return jnp.sum((logits - jax.nn.one_hot(labels, 3)) ** 2, axis=-1)

    config = small_config(training={"batch_size": 16}, data={"num_selection": 20})
    result = run_sweep(
        config, model=BatchNormNetwork(), data=random_dataset(), objective=squared_error
    )
    assert result.description["objective"] == "squared_error"
    assert result.description["model"]["name"] == "BatchNormNetwork"
    assert result.description["data"]["name"] == "random"
    statistics = result.model_state["batch_stats"]["BatchNorm_0"]["mean"]
    assert statistics.shape == (3, 2, 16)
    assert not np.allclose(statistics, 0)
    assert validate_config(result.config) == result.config  # can be run again


def test_fingerprints_name_the_data_and_the_parameter_tree(result):
    same = run_sweep(result.config, data=small_digits()).description
    assert same == result.description
    other = run_sweep(
        result.config, data=load_dataset("digits", num_train=150, num_test=100, seed=1)
    ).description
    assert other["data"]["sha256"] != same["data"]["sha256"]
    assert other["model"] == same["model"]
    assert same["model"]["num_parameters"] == 64 * 16 + 16 + 16 * 10 + 10


@pytest.mark.parametrize(
    ("changes", "arguments", "named"),
    [
        ({"training": {"batch_size": 151}}, {}, "--batch-size: 151"),
        ({}, {"data": np.zeros((3, 8, 8))}, "data: ndarray"),
        ({}, {"model": 3}, "model: int"),
        ({}, {"objective": "magic"}, "objective: 'magic'"),
        (
            {"model": {"name": "mnist_cnn_small"}},
            {"data": random_dataset(shape=(3, 3, 1))},
            "model:",
        ),
        ({}, {"model": BatchNormNetwork()}, r"logits of shape \[2, 3\]"),
        ({"epsilon_grid": (-0.1,)}, {}, "--eps-grid: -0.1"),
        ({"num_seeds": 0}, {}, "--seeds: 0"),
    ],
)
def test_what_does_not_fit_is_one_line_before_anything_is_compiled(changes, arguments, named):
    arguments = {"data": small_digits(), **arguments}
    with pytest.raises(InputError, match=named) as caught:
        run_sweep(small_config(**changes), **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("num_lanes", "dense", "backend", "expected"),
    [
        (44, True, "cpu", 11),
        (6, True, "cpu", 3),
        (8, True, "cpu", 4),
        (13, True, "cpu", 3),
        (100, True, "cpu", 10),
        (3, True, "cpu", 3),
        (18, False, "cpu", 1),
        (18, False, "gpu", 18),
        (1, True, "tpu", 1),
    ],
)
def test_the_lane_width_fits_backend_and_network(num_lanes, dense, backend, expected):
    params = {"kernel": np.zeros((4, 4) if dense else (3, 3, 1, 8))}
    assert choose_lane_width(num_lanes, params, backend) == expected


@pytest.fixture(scope="module")
def run_directory(result, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "small"
    write_result(result, out)
    return out


def test_every_promised_file_is_written_and_nothing_else(run_directory):
    assert sorted(path.name for path in run_directory.iterdir()) == sorted(
        [
            "result.json",
            "lanes.csv",
            "history.npz",
            "examples.npz",
            "adversarial.npz",
            "report.html",
            "parameters",
            "loss_curve.png",
            "loss_curve.svg",
            "learning_curves.png",
            "learning_curves.svg",
            "overfitting.csv",
            "overfitting.png",
            "overfitting.svg",
            "transition.csv",
            "transition.png",
            "transition.svg",
        ]
    )


def test_result_json_holds_what_the_result_holds(run_directory, result):
    document = json.loads((run_directory / "result.json").read_text())
    assert document == build_document(result)
    assert document["target"]["epsilon"] == 0.3
    assert [lane["epsilon"] for lane in document["lanes"][::2]] == list(result.epsilons)
    assert document["versions"]["jax"] == jax.__version__
    assert document["device"]["backend"] == jax.default_backend()
    assert document["config"]["training"]["num_epochs"] == 4


def test_lanes_csv_has_a_row_a_lane(run_directory, result):
    with (run_directory / "lanes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert float(rows[-1]["train_loss"]) == pytest.approx(result.lanes.train_loss[2, 1])


def test_arrays_are_read_back_without_pickle(run_directory, result):
    with np.load(run_directory / "history.npz", allow_pickle=False) as history:
        np.testing.assert_array_equal(history["test_loss"], result.history["test_loss"])
    with np.load(run_directory / "examples.npz", allow_pickle=False) as examples:
        np.testing.assert_array_equal(examples["example_losses"], result.example_losses)


def test_selected_parameters_are_read_back_and_give_the_stated_loss(run_directory, result):
    from orbax.checkpoint import v1 as ocp

    from phase_jax import build_model, cross_entropy

    tree = ocp.load((run_directory / "parameters").resolve())
    clean = jax.tree.map(lambda leaf: leaf[0, 0], tree["params"])
    model = build_model("mlp", num_classes=10, input_shape=(8, 8, 1), widths=(16,))
    digits = small_digits()
    logits, _ = model.apply(clean, {}, digits.test_images / np.float32(16), train=False)
    loss = cross_entropy(logits, jnp.asarray(digits.test_labels)).mean()
    assert float(loss) == pytest.approx(result.thresholds[0], rel=1e-5)
