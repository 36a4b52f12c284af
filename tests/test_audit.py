"""Audits: a weak evaluation attack is found out, clean lanes do not move, refusals are one line."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from small_problem import small_config

from phase_jax import EpsilonStarEstimate, EpsilonStatus, InputError, run_sweep, write_result
from phase_jax.audit import AuditSettings, run_audit, session
from phase_jax.audit.result import Attacked, is_outside
from phase_jax.audit.settings import FILES
from phase_jax.cli import main

HARDER = AuditSettings(num_steps=5, num_restarts=2, num_images=None)


def make_estimate(value, low=None, high=None, status=EpsilonStatus.FOUND):
    return EpsilonStarEstimate(value, status, low, high, 0.95, "", "", 0, 0, ())


@pytest.fixture(scope="module")
def run():
    """Train against PGD, evaluate with steps of a hundredth of epsilon from the image itself."""
    weak = {"num_steps": 1, "step_size": 0.01, "random_start": False, "batch_size": 150}
    config = small_config(
        epsilon_grid=(0.1,), evaluation=weak, data={"num_train": 150, "num_test": 100}
    )
    return run_sweep(config)


@pytest.fixture(scope="module")
def audit(run):
    return run_audit(run, HARDER)


def test_the_runs_own_attack_comes_first_and_gives_what_the_run_recorded(run, audit):
    for split, recorded in (("train", "train"), ("test", "test")):
        own = getattr(audit, split).average()[:, :, 0]
        expected = getattr(run.lanes, f"evaluated_{recorded}_loss")
        np.testing.assert_allclose(own, expected, rtol=1e-5)
    assert audit.train.losses.shape == (2, 2, 4, 150)


def test_clean_lanes_do_not_move(audit):
    losses = audit.train.losses[0]
    np.testing.assert_allclose(losses, np.broadcast_to(losses[:, :1], losses.shape), rtol=1e-5)


def test_a_weak_evaluation_is_found_out(run, audit):
    rise, error = audit.train.measure_rise()
    assert rise[1] > 10 * error[1] > 0
    own, worst = audit.test.measure_accuracies()
    assert worst[1] < own[1]
    assert audit.epsilon_star.seeds == run.epsilon_star_other.seeds
    moved = audit.epsilon_star_audited.value
    assert moved is None or moved < (audit.epsilon_star.value or np.inf)


def test_worst_losses_and_accuracies_are_taken_image_by_image():
    losses = np.array([[[[1.0, 5.0], [3.0, 2.0]]]])
    correct = np.array([[[[True, True], [False, True]]]])
    attacked = Attacked(losses, correct, np.array([[True]]))
    assert attacked.take_worst()[0, 0] == 4.0
    rise, error = attacked.measure_rise()
    assert (rise[0], error[0]) == (1.0, 1.0)
    assert attacked.measure_accuracies() == (np.array([1.0]), np.array([0.5]))


def test_seeds_that_failed_do_not_count():
    losses = np.stack([np.full((2, 3), 1.0), np.full((2, 3), np.nan)])[None]
    losses[0, 0, 1] = 2.0
    correct = np.stack([np.ones((2, 3), bool), np.zeros((2, 3), bool)])[None]
    attacked = Attacked(losses, correct, np.array([[True, False]]))
    assert [values.tolist() for values in attacked.measure_rise()] == [[1.0], [0.0]]
    assert [values.tolist() for values in attacked.measure_accuracies()] == [[1.0], [1.0]]
    nobody = attacked._replace(sound=np.array([[False, False]]))
    assert np.isnan(nobody.measure_rise()).all()


@pytest.mark.parametrize(
    ("audited", "outside"),
    [
        (make_estimate(0.04), False),
        (make_estimate(0.02), True),
        (make_estimate(0.07), True),
        (make_estimate(None, status=EpsilonStatus.UNDEFINED), True),
    ],
)
def test_moving_means_leaving_the_interval(audited, outside):
    assert is_outside(audited, make_estimate(0.05, 0.03, 0.06)) is outside


def test_an_open_interval_has_no_upper_end():
    assert not is_outside(make_estimate(9.0), make_estimate(0.05, 0.03, None))


def test_the_command_writes_and_refuses(run, audit, tmp_path, capsys, monkeypatch):
    asked = {}

    def answer(run, settings, **options):
        asked.update(dataclasses.asdict(settings))
        return audit

    monkeypatch.setattr(session, "run_audit", answer)
    write_result(run, tmp_path / "run")
    command = ["audit", str(tmp_path / "run"), "--out", str(tmp_path / "out")]
    assert main([*command, "--restarts", "0"]) == 2
    assert "--restarts: 0 is not allowed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    fast = ["--eps", "0.1", "--steps", "3", "--restarts", "2", "--num-images", "60"]
    assert main([*command, *fast, "--no-compilation-cache"]) == 0
    assert asked == {
        "audited_epsilons": (0.1,),
        "num_steps": 3,
        "num_restarts": 2,
        "num_images": 60,
        "seed": 0,
    }
    printed = capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["verdict"] in printed
    assert [row["epsilon"] for row in document["rises"]] == pytest.approx([0, 0.1])
    losses = document["lanes"][-1]["train_losses"]
    assert losses["worst of all"] >= max(losses[name] for name in audit.attacks) > 0


def test_strengths_that_were_not_trained_are_refused(run):
    with pytest.raises(InputError, match=r"--eps: 0\.3 was not trained"):
        run_audit(run, dataclasses.replace(HARDER, audited_epsilons=(0.3,)))
