"""Sweeps with another objective: two readings of epsilon*, resolved choices, what is written."""

from __future__ import annotations

import csv
import dataclasses
import importlib.resources
import io
import json

import jax
import jax.numpy as jnp
import jsonschema
import numpy as np
import pytest
from rich.console import Console
from small_problem import random_dataset, small_config, small_digits

from phase_jax import InputError, build_model, cross_entropy, run_sweep, write_result
from phase_jax.losses import build_objective, kl_divergence
from phase_jax.report import build_document
from phase_jax.report.console import print_summary
from phase_jax.solver import solve_epsilon_star
from phase_jax.validation import validate_config

SCHEMA = json.loads(
    importlib.resources.files("phase_jax.report").joinpath("schema/result-v1.json").read_text()
)


@pytest.fixture(scope="module")
def trades():
    config = small_config(
        epsilon_grid=(0.05, 0.3), training={"objective": "trades", "beta": 2.0, "num_epochs": 6}
    )
    return run_sweep(config, data=small_digits())


@pytest.fixture(scope="module")
def vanilla():
    config = small_config(epsilon_grid=(0.1,), num_seeds=1, training={"num_epochs": 1})
    return run_sweep(config, data=small_digits())


def test_the_resolved_configuration_says_how_it_was_trained_and_can_be_run_again(trades, vanilla):
    assert trades.config.attack.batch_norm == "running"
    assert trades.config.training.beta == 2.0
    assert vanilla.config.attack.batch_norm == "batch"
    assert vanilla.config.training.beta is None
    for result in (trades, vanilla):
        assert validate_config(result.config) == result.config


def test_each_reading_has_its_own_losses_and_thresholds(trades):
    lanes, plain = trades.lanes, trades.cross_entropy
    np.testing.assert_allclose(plain.thresholds, lanes.clean_test_cross_entropy[0], rtol=1e-5)
    # Of the clean image in the attacked one's place, the divergence is zero.
    np.testing.assert_allclose(lanes.clean_test_loss, lanes.clean_test_cross_entropy, rtol=1e-5)
    np.testing.assert_allclose(trades.thresholds, plain.thresholds, rtol=1e-5)
    np.testing.assert_allclose(lanes.train_loss[0], lanes.train_cross_entropy[0], rtol=1e-4)
    assert not np.allclose(lanes.train_loss[2], lanes.train_cross_entropy[2], rtol=1e-2)
    for s in range(2):
        for estimate, curve in (
            (trades.epsilon_star, lanes.train_loss),
            (trades.epsilon_star_other, lanes.evaluated_train_loss),
            (plain.epsilon_star, lanes.train_cross_entropy),
        ):
            alone = solve_epsilon_star(trades.epsilons, curve[:, s], trades.thresholds[s])
            assert estimate.seeds[s].status == alone.status
            np.testing.assert_allclose(estimate.seeds[s].value, alone.value, rtol=1e-5)


def test_selected_parameters_give_the_stated_losses(trades):
    params = jax.tree.map(lambda leaf: leaf[1, 0], trades.params)
    model = build_model("mlp", num_classes=10, input_shape=(8, 8, 1), widths=(16,))
    digits = small_digits()
    logits, _ = model.apply(params, {}, digits.test_images / np.float32(16), train=False)
    labels = jnp.asarray(digits.test_labels)
    loss = build_objective("trades", beta=2.0).measure_train_loss(logits, labels, logits).mean()
    np.testing.assert_allclose(trades.lanes.clean_test_loss[1, 0], loss, rtol=1e-4)
    assert not kl_divergence(logits, logits).any()


def test_every_file_holds_both_readings(trades, tmp_path):
    write_result(trades, tmp_path / "run")
    document = json.loads((tmp_path / "run" / "result.json").read_text())
    jsonschema.validate(document, SCHEMA)
    assert document["objective"] == "trades"
    assert document["train_loss"] == "clean cross-entropy + 2 KL(clean || attacked)"
    reading = document["cross_entropy"]
    assert reading["epsilon_star"]["train_loss"] == "logged"
    np.testing.assert_allclose(reading["threshold"]["per_seed"], trades.cross_entropy.thresholds)
    with (tmp_path / "run" / "lanes.csv").open() as file:
        row = list(csv.DictReader(file))[-1]
    assert float(row["train_cross_entropy"]) == pytest.approx(
        trades.lanes.train_cross_entropy[2, 1]
    )
    with np.load(tmp_path / "run" / "history.npz", allow_pickle=False) as history:
        assert history["train_cross_entropy"].shape == (3, 2, 6)


def show(result, tmp_path):
    console = Console(file=io.StringIO(), width=200)
    print_summary(console, result, tmp_path)
    return console.file.getvalue()


def test_the_summary_shows_both_readings_where_they_differ(trades, vanilla, tmp_path):
    text = show(trades, tmp_path)
    assert "train CE" in text
    assert "from plain cross-entropy (threshold" in text
    assert "CE" not in show(vanilla, tmp_path)


def test_vanilla_has_one_reading(vanilla):
    assert vanilla.cross_entropy is None
    document = build_document(vanilla)
    assert document["cross_entropy"] is None
    assert document["train_loss"] == "attacked cross-entropy"
    for name in ("train", "test", "evaluated_train", "evaluated_test", "clean_test"):
        np.testing.assert_array_equal(
            getattr(vanilla.lanes, f"{name}_loss"), getattr(vanilla.lanes, f"{name}_cross_entropy")
        )


def test_ones_own_loss_is_compared_in_cross_entropy_too():
    def scaled(logits, labels):
        return 2.0 * cross_entropy(logits, labels)

    config = small_config(epsilon_grid=(0.1,), num_seeds=1, training={"num_epochs": 1})
    result = run_sweep(config, data=small_digits(), objective=scaled)
    lanes = result.lanes
    np.testing.assert_allclose(lanes.train_loss, 2 * lanes.train_cross_entropy, rtol=1e-5)
    np.testing.assert_allclose(result.thresholds, 2 * result.cross_entropy.thresholds, rtol=1e-5)
    jsonschema.validate(build_document(result), SCHEMA)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"training": {"beta": 6.0}}, "--beta: 6.0 means nothing to vanilla"),
        ({"training": {"objective": "mart", "beta": -1.0}}, "--beta: -1.0"),
        ({"training": {"objective": "marr"}}, "--objective: 'marr'"),
        ({"training": {"augmentation": "flip"}}, "--augmentation: 'flip'"),
        ({"attack": {"batch_norm": "train"}}, "--attack-batch-norm: 'train'"),
        ({"attack": {"num_restarts": 0}}, "--attack-restarts: 0"),
        ({"attack": {"num_restarts": 2, "random_start": False}}, "--attack-restarts: 2"),
        (
            {"training": {"objective": "trades"}, "attack": {"random_start": False}},
            "--random-start: False is not allowed for trades",
        ),
    ],
)
def test_wrong_settings_are_one_line(changes, named):
    with pytest.raises(InputError, match=rf"\A{named}[^\n]*\Z"):
        validate_config(small_config(**changes))


def test_images_that_cannot_be_augmented_are_refused_before_anything_is_compiled():
    config = small_config(training={"augmentation": "crop_flip"})
    with pytest.raises(InputError, match=r"--augmentation: 'crop_flip' [^\n]*\[4, 9, 1\]"):
        run_sweep(config, data=random_dataset(shape=(4, 9, 1)))


def test_noise_and_noiseless_starts_remain_configurable_for_mart():
    for changes in ({"random_start": False}, {"name": "gaussian"}):
        config = small_config(attack=changes, training={"objective": "mart"})
        assert validate_config(config) == config
    assert dataclasses.replace(config.training, beta=6.0).beta == 6.0
