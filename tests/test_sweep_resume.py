"""Sweeps that are stopped, killed and continued: the bits of an undisturbed run, or a refusal."""

from __future__ import annotations

import dataclasses
import json
import signal

import jax.numpy as jnp
import numpy as np
import pytest
from small_problem import small_config, small_digits

from phase_jax import InputError, Model, run_sweep
from phase_jax.cli import main
from phase_jax.report import build_document, session
from phase_jax.sweep import CheckpointPlan, checkpoint
from phase_jax.types import StoppedRunError

CONFIG = small_config(lanes={"width": 4})  # 6 lanes: the second chunk is padded
EVERY_CHUNK = {"minutes": 0.0}


class Killed(BaseException):
    """Nobody expects it."""


def sweep(config=CONFIG, **options):
    return run_sweep(config, data=small_digits(), **options)


def kill_at(epoch):
    def progress_fn(progress):
        if progress.phase == "train" and progress.epoch == epoch:
            raise Killed

    return progress_fn


def plan_in(folder, **when):
    return CheckpointPlan(folder / "run.npz", **{**EVERY_CHUNK, **when})


def numbers(result):
    """Everything that result.json holds but where and how fast it was."""
    document = build_document(result)
    other = ("seconds", "revision", "notes")  # notes tell of interruptions
    return {name: document[name] for name in document if name not in other}


def assert_equal_results(result, expected):
    assert numbers(result) == numbers(expected)
    for name, values in expected.history.items():
        np.testing.assert_array_equal(result.history[name], values)
    np.testing.assert_array_equal(result.example_losses, expected.example_losses)
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(
            result.params["Dense_0"][name], expected.params["Dense_0"][name]
        )


@pytest.fixture(scope="module")
def undisturbed():
    return sweep()


@pytest.mark.parametrize("epochs", [(1,), (2, 3), (4,)])
def test_a_killed_run_resumes_to_the_bit(undisturbed, tmp_path, epochs):
    """The chunk whose end is reported has not been saved when the run is killed there."""
    for epoch in epochs:
        with pytest.raises(Killed):
            sweep(checkpoint=plan_in(tmp_path), progress_fn=kill_at(epoch))
    heard = []
    resumed = sweep(checkpoint=plan_in(tmp_path), progress_fn=heard.append)
    assert_equal_results(resumed, undisturbed)
    trained, saved = (
        [report.epoch for report in heard if report.phase == phase] for phase in ("train", "save")
    )
    assert trained == saved == list(range(epochs[-1], 5))
    assert [report.seconds_left for report in heard if report.phase == "train"][-1] == 0
    wanted = () if epochs == (1,) else (f"going on after epoch {epochs[-1] - 1}",)
    assert resumed.notes == wanted


def test_a_finished_training_is_not_repeated(undisturbed, tmp_path):
    sweep(checkpoint=plan_in(tmp_path, minutes=None))  # saves the last chunk all the same
    heard = []
    again = sweep(checkpoint=plan_in(tmp_path), progress_fn=heard.append)
    assert [report.phase for report in heard] == ["compile", "resume", "evaluate"]
    assert_equal_results(again, undisturbed)


def test_a_stop_is_saved_and_resumes_to_the_bit(undisturbed, tmp_path):
    answers = iter([None, signal.SIGTERM])
    stopped = r"^stopped after epoch 2 of 4; it can be resumed$"
    with pytest.raises(StoppedRunError, match=stopped) as caught:
        sweep(checkpoint=plan_in(tmp_path, minutes=None), stop_fn=lambda: next(answers))
    assert caught.value.signal_number == signal.SIGTERM
    resumed = sweep(checkpoint=plan_in(tmp_path))
    assert resumed.notes == ("going on after epoch 2",)
    assert_equal_results(resumed, undisturbed)
    with pytest.raises(StoppedRunError, match="nothing is saved"):
        sweep(stop_fn=lambda: signal.SIGINT)


def test_the_plan_decides_when_to_save(monkeypatch, tmp_path):
    saved = []
    monkeypatch.setattr(
        checkpoint.CheckpointFile, "save", lambda self, saved_: saved.append(saved_.progress)
    )
    for when, expected in (
        ({"minutes": None}, [4]),
        ({"minutes": None, "epochs": 3}, [3, 4]),
        ({"minutes": None, "epochs": 2}, [2, 4]),
        ({"minutes": 1000.0}, [4]),
        ({}, [1, 2, 3, 4]),
    ):
        saved.clear()
        sweep(checkpoint=plan_in(tmp_path, **when))
        assert saved == [f"epoch {epoch}" for epoch in expected]


@pytest.fixture
def stopped(tmp_path):
    """Return the plan of a run that was killed after epochs 1 and 2 were saved."""
    plan = plan_in(tmp_path)
    with pytest.raises(Killed):
        sweep(checkpoint=plan, progress_fn=kill_at(3))
    return plan


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_seeds": 3}, "num_seeds is 2 there but 3 in this run"),
        (
            {"epsilon_grid": (0.02, 0.2)},
            r"epsilon_grid is \[0.0, 0.02, 0.1\] there but \[0.0, 0.02",
        ),
        (
            {"seed": 1, "training": {"momentum": 0.5, "num_epochs": 5}},
            "seed is 0 there but 1 in this run, training.num_epochs is 4 .*, training.momentum is",
        ),
        ({"lanes": {"width": 3}}, "lanes.width is 4 there but 3"),
    ],
)
def test_other_settings_are_refused_by_name(stopped, changes, named):
    changes = {"lanes": {"width": 4}, **changes}
    before = stopped.path.read_bytes()
    with pytest.raises(InputError, match=named) as caught:
        sweep(small_config(**changes), checkpoint=stopped)
    assert "\n" not in str(caught.value)
    assert stopped.path.read_bytes() == before


def test_other_data_and_networks_are_refused_by_name(stopped):
    images = small_digits()
    other = dataclasses.replace(images, test_images=images.test_images[::-1].copy())
    with pytest.raises(InputError, match=r"given\.data\.sha256 is"):
        run_sweep(CONFIG, data=other, checkpoint=stopped)
    network = Model(
        init=lambda key: ({}, {}), apply=lambda params, state, x, **_: (jnp.zeros((len(x), 10)), {})
    )
    with pytest.raises(InputError, match=r"given\.model\."):
        run_sweep(CONFIG, data=images, model=network, checkpoint=stopped)


def test_what_changes_no_lane_may_change(stopped, undisturbed):
    solver = dataclasses.replace(CONFIG.solver, confidence=0.5)
    config = dataclasses.replace(CONFIG, target_epsilon=0.2, solver=solver)
    resumed = sweep(config, checkpoint=stopped)
    np.testing.assert_array_equal(resumed.history["test_loss"], undisturbed.history["test_loss"])
    assert resumed.epsilon_star.confidence == 0.5


def test_a_damaged_checkpoint_costs_one_chunk(stopped, undisturbed):
    content = bytearray(stopped.path.read_bytes())
    content[len(content) // 2] ^= 1
    stopped.path.write_bytes(content)
    heard = []
    resumed = sweep(checkpoint=stopped, note_fn=heard.append)
    assert_equal_results(resumed, undisturbed)
    damaged, going_on = heard
    assert "is damaged; going on from epoch 1 in " in damaged
    assert going_on == "going on after epoch 1"
    assert resumed.notes == tuple(heard)


def test_another_device_is_noted(stopped, monkeypatch):
    monkeypatch.setattr("phase_jax.sweep.run.describe_origin", lambda environment: "a TPU")
    assert "here is a TPU: last digits may differ" in sweep(checkpoint=stopped).notes[-1]


QUICK = [
    "sweep", "--eps-grid", "0.05,0.1", "--seeds", "1", "--num-train", "100", "--num-test", "50",
    "--widths", "8", "--epochs", "2", "--attack-steps", "2", "--eval-steps", "2",
    "--no-compilation-cache",
]  # fmt: skip


def read_numbers(out):
    document = json.loads((out / "result.json").read_text())
    other = ("seconds", "revision", "notes")  # notes tell of interruptions
    return {name: document[name] for name in document if name not in other}


def read_log(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def list_events(out):
    numbered = ("epoch", "saved", "resumed")
    return [
        f"{line['event']} {line['epoch']}" if line["event"] in numbered else line["event"]
        for line in read_log(out)
    ]


def test_the_command_stops_on_a_signal_and_resumes(tmp_path, monkeypatch, capsys):
    out, whole = tmp_path / "run", tmp_path / "whole"
    with monkeypatch.context() as patch:
        patch.setattr(session.StopSignals, "poll", lambda self: signal.SIGTERM)
        assert main([*QUICK, "--out", str(out)]) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "phase-jax: stopped after epoch 1 of 2; it can be resumed\n"
    assert {path.name for path in out.iterdir()} == {"checkpoint.npz", "log.jsonl"}
    assert main([*QUICK, "--out", str(out)]) == 2
    assert "unfinished run; pass --resume" in capsys.readouterr().err
    assert main([*QUICK, "--out", str(out), "--resume", "--epochs", "3"]) == 2
    assert "training.num_epochs is 2 there but 3 in this run" in capsys.readouterr().err
    assert main([*QUICK, "--out", str(out), "--resume"]) == 0
    assert "going on after epoch 1" in capsys.readouterr().out
    assert main([*QUICK, "--out", str(whole), "--resume"]) == 0  # begins, as there is nothing
    assert read_numbers(out) == read_numbers(whole)
    assert list_events(out) == [
        "started", "compiling", "epoch 1", "saved 1", "stopped",
        "started", "compiling", "note", "resumed 1", "epoch 2", "saved 2", "evaluating", "finished",
    ]  # fmt: skip
    logged = [line for line in read_log(out) if line["event"] == "epoch"]
    history = np.load(out / "history.npz")
    for name in ("train_loss", "test_loss", "train_accuracy", "test_accuracy"):
        found = np.stack([line[name] for line in logged], axis=-1)
        np.testing.assert_allclose(found, history[name], rtol=1e-5)
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}
    assert not list(out.glob("checkpoint*"))
    assert main([*QUICK, "--out", str(out), "--resume"]) == 2
    assert "finished run" in capsys.readouterr().err
