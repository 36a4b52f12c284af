"""Fine-tunings that are stopped and continued: the numbers of an undisturbed one, or a refusal."""

from __future__ import annotations

import dataclasses
import json
import signal

import jax
import numpy as np
import pytest
from small_problem import small_config, small_digits

from phase_jax import InputError
from phase_jax.cli import main
from phase_jax.config import FineTuningConfig
from phase_jax.finetune import run_fine_tuning
from phase_jax.finetune.document import build_fine_tuning_document
from phase_jax.finetune.run import ImportedModel
from phase_jax.report.session import StopSignals
from phase_jax.sweep import CheckpointPlan

CONFIG = small_config(
    num_seeds=1,
    training={"num_epochs": 2},
    attack={"num_steps": 1},
    evaluation={"num_steps": 1, "batch_size": 100},
    lanes={"width": 2},
)
TUNING = FineTuningConfig(epsilon_grid=(0.02, 0.05), attacks=("fgm",), num_epochs=3)
OTHER = ("seconds", "revision", "notes")  # where, how fast, and what happened on the way


class Killed(BaseException):
    """Nobody expects it."""


def tune(folder=None, tuning=TUNING, **options):
    plan = None if folder is None else CheckpointPlan(folder / "checkpoint.npz", minutes=0.0)
    return run_fine_tuning(CONFIG, tuning, data=small_digits(), checkpoint=plan, **options)


def numbers(document):
    return {name: document[name] for name in document if name not in OTHER}


def kill_at(place):
    """Kill at the end of a chunk, before it is saved; places count the chunks of all trainings."""
    heard = []

    def progress_fn(progress):
        heard.append(progress.phase == "train")
        if sum(heard) == place:
            raise Killed

    return progress_fn


@pytest.fixture(scope="module")
def undisturbed():
    return tune()


@pytest.mark.slow
def test_killed_in_every_training_it_resumes_to_the_bit(undisturbed, tmp_path):
    """Clean epochs 1-2, fine-tuned 1-3; what is saved is not trained again."""
    for place in (2, 3):  # clean epoch 2 of the first start, fine-tuned epoch 2 of the second
        with pytest.raises(Killed):
            tune(tmp_path, progress_fn=kill_at(place))
    assert {path.name for path in tmp_path.glob("*.npz")} == {"checkpoint.npz", "checkpoint-2.npz"}
    heard = []
    resumed = tune(tmp_path, progress_fn=heard.append)
    assert [report.epoch for report in heard if report.phase == "train"] == [2, 3]
    assert resumed.notes == ("clean: going on after epoch 2", "fgm: going on after epoch 1")
    assert resumed.runs["fgm"].notes == resumed.notes
    document = build_fine_tuning_document(resumed)
    assert numbers(document) == numbers(build_fine_tuning_document(undisturbed))
    assert document["notes"] == list(resumed.notes)
    here, there = resumed.runs["fgm"], undisturbed.runs["fgm"]
    jax.tree.map(np.testing.assert_array_equal, here.params, there.params)
    np.testing.assert_array_equal(here.example_losses, there.example_losses)


@pytest.fixture
def stopped(tmp_path):
    with pytest.raises(Killed):
        tune(tmp_path, progress_fn=kill_at(2))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"epsilon_grid": (0.02, 0.06)}, r"fine_tuning\.epsilon_grid is \[0\.02, 0\.05\] there"),
        (
            {"num_epochs": 4, "attacks": ("pgd",)},
            r"fine_tuning\.attacks is \['fgm'\] there but \['pgd'\] in this run, "
            r"fine_tuning\.num_epochs is 3 there but 4",
        ),
    ],
)
def test_other_settings_are_refused_by_name(stopped, changes, named):
    with pytest.raises(InputError, match=named) as caught:
        tune(stopped, dataclasses.replace(TUNING, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_another_start_is_refused(stopped, undisturbed):
    run = undisturbed.runs["fgm"]
    params, state = jax.tree.map(lambda leaf: leaf[0, 0], (run.params, run.model_state))
    with pytest.raises(InputError, match=r"start\.sha256 is None there but '[0-9a-f]{64}'"):
        tune(stopped, clean=ImportedModel(params, state))


FLAGS = [
    "finetune", "--eps-grid", "0.02,0.05", "--attack", "fgm", "--fine-tune-epochs", "2", "--seeds",
    "1", "--num-train", "100", "--num-test", "50", "--widths", "8", "--epochs", "2",
    "--attack-steps", "1", "--eval-steps", "1", "--no-compilation-cache",
]  # fmt: skip


@pytest.mark.slow
def test_the_command_stops_on_a_signal_and_resumes(tmp_path, monkeypatch, capsys):
    out, whole = tmp_path / "run", tmp_path / "whole"
    answers = iter([None, signal.SIGTERM])
    with monkeypatch.context() as patch:
        patch.setattr(StopSignals, "poll", lambda self: next(answers))
        assert main([*FLAGS, "--out", str(out)]) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "phase-jax: stopped after epoch 2 of 2; it can be resumed\n"
    for arguments, named in (
        ([], "unfinished run; pass --resume"),
        (["--resume", "--overwrite"], "--overwrite and --resume exclude one another"),
        (["--resume", "--epochs", "3"], "training.num_epochs is 2 there but 3 in this run"),
    ):
        assert main([*FLAGS, "--out", str(out), *arguments]) == 2
        assert named in capsys.readouterr().err
    sweep = ["sweep", *FLAGS[1:3], *FLAGS[7:]]
    assert main([*sweep, "--out", str(out), "--resume"]) == 2
    assert "kind is 'fine_tuning'; allowed: 'sweep'" in capsys.readouterr().err
    assert main([*FLAGS, "--out", str(out), "--resume"]) == 0
    assert "clean: going on after epoch 2" in capsys.readouterr().out
    assert main([*FLAGS, "--out", str(whole), "--resume"]) == 0  # begins, as there is nothing
    here, there = (json.loads((run / "result.json").read_text()) for run in (out, whole))
    assert numbers(here) == numbers(there)
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}
    assert not list(out.glob("checkpoint*"))
