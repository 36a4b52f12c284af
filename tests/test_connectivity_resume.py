"""Studies of connectivity that are stopped and continued, while training and while measuring."""

from __future__ import annotations

import dataclasses
import json
import signal

import jax
import numpy as np
import pytest
from small_problem import small_digits, small_run

from phase_jax import InputError, write_result
from phase_jax.cli import main
from phase_jax.connectivity import ConnectivitySettings, run_connectivity
from phase_jax.connectivity.write import build_document
from phase_jax.report.session import StopSignals
from phase_jax.sweep import CheckpointPlan
from phase_jax.types import StoppedRunError

SETTINGS = ConnectivitySettings(num_epochs=3, num_points=11, grid_size=4, width=2)  # 41 networks
OTHER = ("seconds", "revision", "notes")


@pytest.fixture(scope="module")
def run():
    return small_run()


@pytest.fixture(scope="module")
def undisturbed(run):
    return connect(run)


def connect(run, folder=None, settings=SETTINGS, **options):
    plan = None if folder is None else CheckpointPlan(folder / "checkpoint.npz", minutes=None)
    return run_connectivity(run, settings, data=small_digits(), checkpoint=plan, **options)


def stop_after(num_chunks):
    answers = iter([None] * (num_chunks - 1) + [signal.SIGTERM])
    return lambda: next(answers)


def numbers(document):
    return {name: document[name] for name in document if name not in OTHER}


@pytest.mark.slow
def test_stopped_in_both_phases_it_resumes_to_the_bit(run, undisturbed, tmp_path):
    for num_chunks, place in (
        (2, "epoch 2 of 3"),
        (1, "epoch 3 of 3"),
        (3, "network 12 of 44"),
        (1, "network 16 of 44"),
    ):
        with pytest.raises(StoppedRunError, match=f"^stopped after {place}; it can be resumed$"):
            connect(run, tmp_path, stop_fn=stop_after(num_chunks))
    with pytest.raises(InputError, match=r"settings\.num_epochs is 3 there but 4 in this run"):
        connect(run, tmp_path, dataclasses.replace(SETTINGS, num_epochs=4))
    other = dataclasses.replace(run, params=jax.tree.map(lambda leaf: 2 * leaf, run.params))
    with pytest.raises(InputError, match=r"networks\.sha256 is '[0-9a-f]{64}' there but"):
        connect(other, tmp_path)
    resumed = connect(run, tmp_path)
    assert resumed.notes == ("going on after epoch 3", "going on after network 16")
    document = build_document(resumed)
    assert numbers(document) == numbers(build_document(undisturbed))
    assert document["notes"] == list(resumed.notes)
    jax.tree.map(np.testing.assert_array_equal, resumed.bends, undisturbed.bends)
    for here, there in zip(resumed.plane, undisturbed.plane, strict=True):
        np.testing.assert_array_equal(here, there)


@pytest.mark.slow
def test_the_command_stops_on_a_signal_and_resumes(run, tmp_path, monkeypatch, capsys):
    write_result(run, tmp_path / "run")
    command = ["connectivity", str(tmp_path / "run"), "--points", "5", "--grid-size", "3"]
    command += ["--epochs", "2", "--no-compilation-cache"]
    out, whole = tmp_path / "out", tmp_path / "whole"
    with monkeypatch.context() as patch:
        patch.setattr(StopSignals, "poll", lambda self: signal.SIGINT)
        assert main([*command, "--out", str(out)]) == 128 + signal.SIGINT
    assert capsys.readouterr().err == "phase-jax: stopped after epoch 1 of 2; it can be resumed\n"
    assert {path.name for path in out.iterdir()} == {"checkpoint.npz", "log.jsonl"}
    assert main([*command, "--out", str(out)]) == 2
    assert "unfinished run; pass --resume" in capsys.readouterr().err
    assert main([*command, "--out", str(out), "--resume"]) == 0
    assert "going on after epoch 1" in capsys.readouterr().out
    assert main([*command, "--out", str(whole)]) == 0
    here, there = (json.loads((path / "result.json").read_text()) for path in (out, whole))
    assert numbers(here) == numbers(there)
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}
