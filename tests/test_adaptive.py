"""Sweeps that find their own grid."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from small_problem import random_dataset, small_config, small_digits

from phase_jax import EpsilonStatus, LaneStatus, load_run, run_sweep
from phase_jax.adaptive import run_adaptive_sweep
from phase_jax.adaptive.run import FIRST_GRID, bracket_seeds, choose_next
from phase_jax.adaptive.settings import AdaptiveConfig
from phase_jax.cli import main
from phase_jax.storage.checkpoint import CheckpointFile

FOUND, BEYOND = EpsilonStatus.FOUND, EpsilonStatus.BEYOND_GRID


def make_lanes(values, epsilons=(0.0, 0.1, 0.2, 0.4), status=None, norm="linf"):
    """Make what is read of a result: one value, or None for beyond the grid, a seed."""
    seeds = [
        SimpleNamespace(value=math.nan if v is None else v, status=BEYOND if v is None else FOUND)
        for v in values
    ]
    overall = FOUND if any(v is not None for v in values) else BEYOND
    shape = (len(epsilons), len(values))
    return SimpleNamespace(
        epsilons=np.array(epsilons),
        lanes=SimpleNamespace(status=np.zeros(shape, int) if status is None else status),
        epsilon_star=SimpleNamespace(status=overall, seeds=seeds),
        config=SimpleNamespace(attack=SimpleNamespace(norm=norm)),
    )


def test_brackets_are_the_sound_neighbours():
    status = np.zeros((4, 2), int)
    status[2, 1] = LaneStatus.COLLAPSED
    brackets = bracket_seeds(make_lanes([0.15, 0.3], status=status))
    assert [(b.low, b.high) for b in brackets] == [(0.1, 0.2), (0.1, 0.4)]
    assert brackets[1].width == pytest.approx(1.0)


def test_next_strengths_go_into_the_widest_gaps():
    new = choose_next(make_lanes([0.15, 0.3]), AdaptiveConfig(num_strengths=5))
    np.testing.assert_allclose(new, [0.4 / 3, 0.5 / 3, 0.25, 0.3, 0.35])
    few = make_lanes([0.15, 0.2999], epsilons=(0.0, 0.1, 0.2, 0.295, 0.3, 0.4))
    np.testing.assert_allclose(choose_next(few, AdaptiveConfig(num_strengths=1)), [0.15])


def test_narrow_brackets_end_the_search():
    lanes = make_lanes([0.2, 0.205], epsilons=(0.0, 0.199, 0.203, 0.206))
    assert choose_next(lanes, AdaptiveConfig(precision=0.05)) == ()
    assert choose_next(lanes, AdaptiveConfig(precision=0.001))


def test_below_the_first_strength_the_size_is_sought():
    new = choose_next(make_lanes([0.01]), AdaptiveConfig(num_strengths=3))
    np.testing.assert_allclose(new, [0.0125, 0.025, 0.05])


@pytest.mark.parametrize(("norm", "expected"), [("linf", [0.8, 1.0]), ("l2", [0.8, 1.6])])
def test_beyond_the_grid_it_is_widened_while_pixels_can_move(norm, expected):
    np.testing.assert_allclose(
        choose_next(make_lanes([None], norm=norm), AdaptiveConfig()), expected
    )
    full = make_lanes([None], epsilons=(0.0, 1.0))
    assert choose_next(full, AdaptiveConfig()) == ()


def test_a_seed_that_others_left_behind_is_followed_upwards():
    narrow = make_lanes([0.15, None], epsilons=(0.0, 0.149, 0.151, 0.4))
    np.testing.assert_allclose(choose_next(narrow, AdaptiveConfig()), [0.5])
    wide = choose_next(make_lanes([0.15, None]), AdaptiveConfig(num_strengths=1))
    np.testing.assert_allclose(wide, [0.15, 0.5])
    full = make_lanes([0.15, None], epsilons=(0.0, 0.149, 0.151, 1.0))
    assert choose_next(full, AdaptiveConfig()) == ()


@pytest.mark.parametrize("status", [EpsilonStatus.UNDEFINED, EpsilonStatus.INFINITE])
def test_no_crossing_ends_the_search(status):
    lanes = make_lanes([None])
    lanes.epsilon_star.status = lanes.epsilon_star.seeds[0].status = status
    assert choose_next(lanes, AdaptiveConfig()) == ()


@pytest.fixture(scope="module")
def found():
    """Search on 150 digits: coarse, but real."""
    said = []
    config = small_config(training={"num_epochs": 8}, lanes={"width": 2})
    adaptive = AdaptiveConfig(precision=0.2, num_strengths=3)
    search = run_adaptive_sweep(
        config, adaptive, data=small_digits(), round_fn=lambda text, result: said.append(text)
    )
    return config, adaptive, search, said


@pytest.mark.slow
def test_search_ends_at_the_precision_asked_for(found):
    _, adaptive, search, said = found
    assert search.result.epsilon_star.status == FOUND
    assert search.resolution <= adaptive.precision
    assert choose_next(search.result, adaptive) == ()
    assert len(said) == 1 + len(search.rounds)
    assert search.gradients > 0 < search.fixed_gradients
    assert "rounds" in search.result.notes[-1]


@pytest.mark.slow
def test_search_gives_the_lanes_of_one_sweep(found):
    config, _, search, _ = found
    whole = run_sweep(search.result.config, data=small_digits())
    np.testing.assert_array_equal(whole.lanes.train_loss, search.result.lanes.train_loss)
    assert whole.epsilon_star.value == search.result.epsilon_star.value
    assert set(np.concatenate(search.rounds)) == set(whole.epsilons[1:])
    assert config.num_seeds == len(whole.seeds)


@pytest.mark.slow
def test_without_an_answer_from_fine_tuning_the_first_grid_is_fixed(monkeypatch):
    import phase_jax.adaptive.run as module

    tuned = SimpleNamespace(epsilon_star=SimpleNamespace(value=None), gradients={"clean": 5})
    monkeypatch.setattr(module, "run_fine_tuning", lambda *a, **k: tuned)
    config = small_config(training={"num_epochs": 1})
    search = run_adaptive_sweep(config, AdaptiveConfig(max_rounds=1), data=random_dataset())
    assert search.rounds == (FIRST_GRID["linf"],)
    assert search.gradients > 5


@pytest.mark.slow
def test_command_line_leaves_a_finished_run(tmp_path, capsys):
    flags = "--epochs 2 --num-train 100 --num-test 50 --seeds 1 --precision 0.9 --rounds 2"
    out = tmp_path / "run"
    assert main(["sweep", "--eps-grid", "auto", *flags.split(), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "fine-tuning with FGM" in text
    assert "round 1" in text
    document = json.loads((out / "result.json").read_text())
    assert "rounds" in document["notes"][-1]
    assert load_run(out).config.epsilon_grid


class Killed(BaseException):
    """Nobody expects it."""


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_from_its_files(tmp_path, monkeypatch, capsys):
    """Killed while fine-tuning, in rounds 1 and 2, it comes to the numbers of a quiet search."""
    flags = "--epochs 8 --num-train 150 --num-test 100 --seeds 1 --precision 0.01 --rounds 2"
    command = ["sweep", "--eps-grid", "auto", *flags.split(), "--checkpoint-every", "0m"]
    command += ["--attack-steps", "2", "--eval-steps", "2", "--no-compilation-cache", "--resume"]
    command += ["--widths", "16", "--batch-size", "32", "--learning-rate", "0.1"]
    out, whole = tmp_path / "run", tmp_path / "whole"
    assert main([*command, "--out", str(whole)]) == 0
    save = CheckpointFile.save
    for name, number, left in (
        ("checkpoint-tuning-2.npz", 1, {"checkpoint-tuning.npz"}),
        ("checkpoint.npz", 2, {"checkpoint.npz", "checkpoint-tuning.npz"}),
        ("checkpoint-epsilons.npz", 2, {"checkpoint-epsilons.npz", "result.json"}),
    ):
        saved = []

        def kill(self, what, *, name=name, number=number, saved=saved):
            if self.path.name == name:
                saved.append(what)
                if len(saved) == number:
                    raise Killed
            save(self, what)

        with monkeypatch.context() as patch:
            patch.setattr(CheckpointFile, "save", kill)
            with pytest.raises(Killed):
                main([*command, "--out", str(out)])
        assert left <= {path.name for path in out.iterdir()}
    capsys.readouterr()
    assert main([*command, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "fine-tuning with FGM" not in printed
    assert "round 2: training at" in printed
    assert "going on after epoch 1" in printed
    here, there = (json.loads((path / "result.json").read_text()) for path in (out, whole))
    assert len(here["search"]["rounds"]) == 2
    for name in set(here) - {"seconds", "revision", "notes"}:
        assert here[name] == there[name], name
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}
    for arguments, named in (
        ([], "--resume: the search is over after 2 rounds"),
        (["--rounds", "3", "--learning-rate", "0.5"], "training.learning_rate is"),
    ):
        assert main([*command, *arguments, "--out", str(out)]) == 2
        assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        (["--eps-grid", "auto", "--extend"], "--eps-grid"),
        (["--eps-grid", "auto", "--precision", "0"], "--precision"),
        (["--eps-grid", "auto", "--rounds", "0"], "--rounds"),
        (["--eps-grid", "0.1", "--rounds", "3"], "--rounds: 3 has no meaning here"),
        (["--precision", "0.1"], "--precision: 0.1 has no meaning here"),
        (["--eps-grid", "automatic"], "--eps-grid"),
    ],
)
def test_bad_input_gets_one_line(flags, field, tmp_path, capsys):
    assert main(["sweep", *flags, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"phase-jax: {field}")
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
