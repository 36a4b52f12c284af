"""`diagnose`: one call from a network and images to a verdict."""

from __future__ import annotations

import dataclasses
import math

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx
from small_problem import random_dataset, small_config

import phase_jax.diagnosis
from phase_jax import EpsilonStatus, FineTuningConfig, InputError, diagnose, load_run, run_sweep
from phase_jax.adaptive import AdaptiveConfig, AdaptiveSweep

DATA = random_dataset(num_train=60, num_test=30)
TRAIN, TEST = (DATA.train_images, DATA.train_labels), (DATA.test_images, DATA.test_labels)
CONFIG = small_config(training={"num_epochs": 2}, data={"num_selection": 30})
ONE_ROUND = AdaptiveConfig(max_rounds=1)
QUICK = FineTuningConfig(epsilon_grid=(0.01, 0.02), attacks=("pgd",), num_epochs=1)


class Network(nn.Module):
    """BatchNorm, dropout, a linear layer."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.BatchNorm(use_running_average=not train)(x.reshape(len(x), -1))
        return nn.Dense(3)(nn.Dropout(0.1, deterministic=not train)(x))


@pytest.fixture(scope="module")
def variables():
    return Network().init(jax.random.key(0), DATA.train_images[:1] / 255.0, train=False)


@pytest.fixture(scope="module")
def scratch():
    """Diagnose without a clean model, the adaptive sweep replaced by one of two strengths."""

    def sweep(config, adaptive, **given):
        assert adaptive is ONE_ROUND
        config = dataclasses.replace(config, epsilon_grid=(0.05, 0.1))
        return AdaptiveSweep(run_sweep(config, **given), ((0.05, 0.1),), math.nan, 0, None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phase_jax.diagnosis, "run_adaptive_sweep", sweep)
        return diagnose(
            Network(), TRAIN, TEST, epsilon=0.1, num_seeds=2, config=CONFIG, adaptive=ONE_ROUND
        )


def test_without_a_clean_model_an_adaptive_sweep(scratch):
    assert scratch.fine_tuning is None
    np.testing.assert_allclose(scratch.curve.epsilons, [0, 0.05, 0.1], rtol=1e-6)
    assert scratch.lanes.config.target_epsilon == 0.1
    assert scratch.epsilon_star is scratch.lanes.epsilon_star
    sound = scratch.lanes.lanes.status[1] == 0
    expected = scratch.lanes.lanes.train_loss[1][sound].mean()
    assert scratch.curve.train_loss[1] == pytest.approx(expected)
    assert "25.5/255" in str(scratch) or scratch.epsilon_star.value is None
    assert str(scratch).startswith(scratch.verdict)


@pytest.mark.slow
def test_the_adaptive_sweep_finds_its_grid():
    found = diagnose(
        Network(), TRAIN, TEST, epsilon=0.1, num_seeds=1, config=CONFIG, adaptive=ONE_ROUND
    )
    assert any("the grid was found in 1 round" in note for note in found.lanes.notes)
    assert found.lanes.lanes.train_loss.shape == (4, 1)


def test_plots_and_saves(scratch, tmp_path):
    assert scratch.plot().axes
    scratch.save(tmp_path / "run")
    again = load_run(tmp_path / "run")
    assert again.epsilon_star.status == scratch.epsilon_star.status


def test_with_a_clean_model_it_is_fine_tuned(variables, tmp_path):
    found = diagnose(
        Network(), TRAIN, TEST, epsilon=0.1, norm="l2", num_seeds=2, config=CONFIG,
        params=variables["params"], model_state={"batch_stats": variables["batch_stats"]},
        fine_tuning=QUICK,
    )  # fmt: skip
    assert found.fine_tuning.origin["kind"] == "imported"
    assert found.lanes.config.attack.norm == "l2"
    np.testing.assert_allclose(found.curve.epsilons, [0, 0.01, 0.02], rtol=1e-6)
    assert found.epsilon_star is found.fine_tuning.epsilon_star
    assert found.epsilon_star.status in set(EpsilonStatus)
    kernel = found.lanes.params["Dense_0"]["kernel"]
    np.testing.assert_array_equal(kernel[0, 0], variables["params"]["Dense_0"]["kernel"])
    assert any("imported" in text for text in found.cautions)
    assert found.plot().axes
    assert found.save(tmp_path / "tuned").name == "result.json"


def test_default_strengths_at_8_are_those_of_the_paper(monkeypatch):
    class Stop(Exception):  # noqa: N818
        pass

    def record(config, fine_tuning, **options):
        np.testing.assert_allclose(np.multiply(fine_tuning.epsilons, 255), [0.25, 0.5, 1])
        raise Stop

    monkeypatch.setattr(phase_jax.diagnosis, "run_fine_tuning", record)
    with pytest.raises(Stop):
        diagnose(Network(), TRAIN, TEST, params={}, config=CONFIG)


@pytest.mark.slow
def test_an_nnx_module_counts_as_trained():
    size = int(np.prod(DATA.input_shape))

    class Small(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.out = nnx.Linear(size, 3, rngs=rngs)

        def __call__(self, x):
            return self.out(x.reshape(len(x), -1))

    module = Small(nnx.Rngs(0))
    found = diagnose(
        module, TRAIN, TEST, epsilon=0.1, num_seeds=1, config=CONFIG, fine_tuning=QUICK
    )
    kernel = found.lanes.params["out"]["kernel"]
    np.testing.assert_array_equal(kernel[0, 0], module.out.kernel[...])


FLOATS = DATA.train_images / 255.0
REFUSED = {
    "above one": ((2 * FLOATS, TRAIN[1]), {}, "train_images"),
    "labels": ((TRAIN[0], TRAIN[1] + 0.5), {}, "train_labels"),
    "no pair": (TRAIN[0], {}, "train: allowed: a pair"),
    "epsilon": (TRAIN, {"epsilon": 0.0}, "epsilon: 0.0 is not allowed"),
    "norm": (TRAIN, {"norm": "l1"}, "l1"),
    "name and arrays": ("digits", {}, "test: arrays are not allowed"),
    "seeds": (TRAIN, {"num_seeds": 0}, "--seeds"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_gets_one_line(name):
    train, options, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as refusal:
        diagnose(Network(), train, TEST, **{"config": CONFIG, **options})
    assert "\n" not in str(refusal.value)


def test_missing_statistics_are_named(variables):
    with pytest.raises(InputError, match=r"model_state: .*BatchNorm_0.*mean.* is missing"):
        diagnose(Network(), TRAIN, TEST, params=variables["params"], config=CONFIG)
