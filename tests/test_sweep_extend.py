"""Lanes added to a finished run: the bits of a run that had them from the start."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from small_problem import small_config, small_digits
from test_sweep_resume import assert_equal_results

from phase_jax import InputError, load_run, run_sweep, write_result
from phase_jax.cli import main
from phase_jax.report import session
from phase_jax.sweep import CheckpointPlan

WIDTH = {"lanes": {"width": 2}}
SMALL = small_config(epsilon_grid=(0.1,), num_seeds=1, **WIDTH)
LARGE = small_config(epsilon_grid=(0.02, 0.1), num_seeds=2, **WIDTH)


def sweep(config, **options):
    return run_sweep(config, data=small_digits(), **options)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return the path of a finished run of two lanes, less than a chunk and a half."""
    out = tmp_path_factory.mktemp("runs") / "small"
    write_result(sweep(SMALL), out)
    return out


@pytest.fixture(scope="module")
def large():
    return sweep(LARGE)


def test_an_extended_run_equals_one_that_was_large_from_the_start(small, large, tmp_path):
    trained = []
    config = dataclasses.replace(LARGE, epsilon_grid=(0.02,), lanes=SMALL.lanes)
    extended = sweep(
        config,
        earlier=load_run(small),
        progress_fn=lambda progress: trained.append(progress.num_lanes),
    )
    assert_equal_results(extended, large)
    assert set(trained) == {2}  # two lanes of the new seed, then two of the new attack strength
    write_result(extended, tmp_path / "run")
    assert_equal_results(load_run(tmp_path / "run"), large)


@pytest.mark.slow
def test_the_reading_in_cross_entropy_is_extended_too(tmp_path):
    changes = {**WIDTH, "training": {"num_epochs": 2, "objective": "trades"}}
    whole = small_config(epsilon_grid=(0.02, 0.1), **changes)
    part = dataclasses.replace(whole, epsilon_grid=(0.1,), num_seeds=1)
    write_result(sweep(part), tmp_path / "run")
    assert_equal_results(sweep(whole, earlier=load_run(tmp_path / "run")), sweep(whole))


def test_a_stopped_extension_goes_on(small, large, tmp_path):
    plan = CheckpointPlan(tmp_path / "checkpoint.npz", minutes=0.0)
    epochs = []

    class Killed(BaseException):
        pass

    def kill(progress):
        if progress.phase == "train":
            epochs.append(progress.epoch)
        if epochs.count(3) == 2:  # the third epoch of the second part
            raise Killed

    with pytest.raises(Killed):
        sweep(LARGE, earlier=load_run(small), checkpoint=plan, progress_fn=kill)
    heard = []
    extended = sweep(LARGE, earlier=load_run(small), checkpoint=plan, progress_fn=heard.append)
    assert_equal_results(extended, large)
    assert [report.epoch for report in heard if report.phase == "train"] == [3, 4]
    assert len(list(tmp_path.iterdir())) == 4
    write_result(extended, tmp_path)
    assert not list(tmp_path.glob("checkpoint*"))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, "--extend: nothing is new"),
        ({"num_seeds": 2, "lanes": {"width": 3}}, "lanes.width is 2 there but 3 here"),
        (
            {"num_seeds": 2, "seed": 5, "training": {"learning_rate": 0.2}},
            "seed is 0 there but 5 here, training.learning_rate is 0.1 there but 0.2 here",
        ),
    ],
)
def test_only_lanes_can_be_added(small, changes, named):
    changes = {"epsilon_grid": (0.1,), "num_seeds": 1, **WIDTH, **changes}
    with pytest.raises(InputError, match=named) as caught:
        sweep(small_config(**changes), earlier=load_run(small))
    assert "\n" not in str(caught.value)


def test_seeds_cannot_be_taken_away(small):
    earlier = load_run(small)
    earlier = dataclasses.replace(earlier, config=dataclasses.replace(earlier.config, num_seeds=3))
    with pytest.raises(InputError, match=r"--seeds: 2 is less .* allowed: 3 or more"):
        sweep(LARGE, earlier=earlier)


QUICK = [
    "--num-train", "100", "--num-test", "50", "--widths", "8", "--epochs", "2", "--attack-steps",
    "2", "--eval-steps", "2", "--lane-width", "2", "--no-compilation-cache",
]  # fmt: skip


def read_numbers(out):
    document = json.loads((out / "result.json").read_text())
    other = ("seconds", "revision", "notes")  # notes tell of interruptions
    return {name: document[name] for name in document if name not in other}


@pytest.mark.slow
def test_the_command_needs_only_what_is_new(tmp_path, monkeypatch, capsys):
    run, whole = ["--out", str(tmp_path / "run")], ["--out", str(tmp_path / "whole")]
    grid = "--eps-grid"
    assert main(["sweep", *QUICK, grid, "0.1", "--seeds", "1", *run]) == 0
    more = ["sweep", "--extend", grid, "0.05", "--seeds", "2", "--no-compilation-cache", *run]
    with monkeypatch.context() as patch:
        patch.setattr(session.StopSignals, "poll", lambda self: 15)
        assert main(more) == 143
    assert (tmp_path / "run" / "result.json").exists()
    assert main(more) == 0
    assert main(["sweep", *QUICK, grid, "0.05,0.1", "--seeds", "2", *whole]) == 0
    assert read_numbers(tmp_path / "run") == read_numbers(tmp_path / "whole")
    names = [{path.name for path in (tmp_path / name).iterdir()} for name in ("run", "whole")]
    assert names[0] == names[1]
    for name in ("history.npz", "examples.npz"):
        ours, theirs = (dict(np.load(tmp_path / run / name)) for run in ("run", "whole"))
        for field in theirs:
            np.testing.assert_array_equal(ours[field], theirs[field], strict=True)
    capsys.readouterr()
    assert main(more) == 2
    assert "nothing is new" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--extend"], "--extend: needs --out"),
        (["--resume"], "--resume: needs --out"),
        (["--extend", "--resume"], "exclude one another"),
        (["--extend", "--out", "nothing"], "no finished run"),
        (["--checkpoint-every", "often"], "--checkpoint-every: 'often'"),
        (["--checkpoint-every", "0e"], "--checkpoint-every: '0e'"),
        (["--checkpoint-every", "-1m"], "--checkpoint-every"),
        (["--stop-within=-1"], "--stop-within: -1.0"),
    ],
)
def test_contradictions_are_one_line(flags, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", *flags]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["{}", "[]", "x", '{"kind": "sweep", "schema_version": 99}'])
def test_a_run_that_cannot_be_read_is_not_extended(text, tmp_path, capsys):
    (tmp_path / "result.json").write_text(text)
    assert main(["sweep", "--extend", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "result.json").read_text() == text
