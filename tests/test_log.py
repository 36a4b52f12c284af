"""The log of a run: what a line holds, what becomes of it on bad days, TensorBoard's files."""

from __future__ import annotations

import errno
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from phase_jax import SweepConfig
from phase_jax.cli import main
from phase_jax.report.log import RunLog, open_log
from phase_jax.report.scalars import ScalarFiles, check_log_dir
from phase_jax.sweep import SweepProgress
from phase_jax.training import EpochInfo
from phase_jax.types import InputError, InterruptedRunError, StoppedRunError

COMPILE = SweepProgress("compile", 6, 0, 4, np.nan, np.nan, np.array([0, 0.1, 0.2]), np.arange(2))
# Two epochs in one chunk; the loss of strength e, seed s, epoch t is e + s / 10 + t / 100.
LOSSES = np.arange(3)[:, None, None] + np.arange(2)[:, None] / 10 + np.arange(1, 3) / 100
CHUNK = COMPILE._replace(
    phase="train", epoch=2, epochs=EpochInfo(*[LOSSES] * len(EpochInfo._fields))
)


def read(path):
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]


def run(out, *, error=None, reports=(COMPILE, CHUNK)):
    """Log a run that ends in an error, or well."""
    with open_log(out, "sweep", config=SweepConfig()) as log:
        for report in reports:
            log.show(report)
        if error is not None:
            raise error


def test_a_line_is_an_event_with_its_lanes(tmp_path):
    run(tmp_path)
    started, compiling, first, second, finished = read(tmp_path)
    assert started["event"] == "started"
    assert (started["command"], started["config"]["num_seeds"]) == ("sweep", 4)
    assert (compiling["event"], finished["event"]) == ("compiling", "finished")
    assert (first["epoch"], second["epoch"], second["num_epochs"]) == (1, 2, 4)
    assert (first["epsilons"], first["seeds"]) == ([0, 0.1, 0.2], [0, 1])
    np.testing.assert_allclose(second["test_loss"], LOSSES[..., 1], rtol=1e-5)
    assert first["seconds_left"] is None  # unknown is no number
    seconds = [line["seconds"] for line in read(tmp_path)]
    assert seconds == sorted(seconds)


def test_stages_are_named_and_later_runs_append(tmp_path):
    with open_log(tmp_path, "finetune") as log:
        log.enter_stage("round 1: training at 2/255, 8/255")
        log.show(COMPILE)
    run(tmp_path)
    lines = read(tmp_path)
    assert [line["event"] for line in lines[:3]] == ["started", "compiling", "finished"]
    assert lines[1]["stage"] == "round 1"
    assert [line["event"] for line in lines[3:]][:2] == ["started", "compiling"]


def test_how_a_run_ended_is_its_last_line(tmp_path):
    for error, event in (
        (StoppedRunError("stopped after epoch 2", 15), "stopped"),
        (InterruptedRunError("no memory"), "failed"),
        (ZeroDivisionError("ours"), "failed"),
    ):
        with pytest.raises(type(error)):
            run(tmp_path, error=error)
        assert read(tmp_path)[-1]["event"] == event
        assert read(tmp_path)[-1]["text"] == str(error)


def test_a_refused_run_leaves_no_log(tmp_path):
    with pytest.raises(InputError):
        run(tmp_path, error=InputError("--seeds"), reports=())
    assert not list(tmp_path.iterdir())


def test_half_a_line_of_a_killed_run_goes(tmp_path):
    run(tmp_path, reports=(COMPILE,))
    whole = (tmp_path / "log.jsonl").read_text()
    (tmp_path / "log.jsonl").write_text(whole + '{"event": "epo')
    run(tmp_path, reports=(COMPILE,))
    assert (tmp_path / "log.jsonl").read_text().startswith(whole)
    assert [line["event"] for line in read(tmp_path)] == ["started", "compiling", "finished"] * 2


def test_a_full_disk_is_one_line_and_no_second_attempt(tmp_path, monkeypatch):
    log = RunLog(tmp_path / "log.jsonl", {"command": "sweep"}, None)
    log.show(COMPILE)

    def refuse(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(InterruptedRunError, match="No space left on device; the last good"):
            log.show(CHUNK)
    log.end("failed")
    assert [line["event"] for line in read(tmp_path)] == ["started", "compiling"]


def read_events(path):
    """Read TensorBoard's records: length, its checksum, event, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    content, events = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("Q", content[:8])
        events.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return events


def test_tensorboard_finds_a_run_for_every_attack_strength(tmp_path):
    pytest.importorskip("tensorboardX")
    files = ScalarFiles(str(tmp_path / "board"))
    files.write("round 1", CHUNK)
    files.close()
    places = sorted((tmp_path / "board" / "round-1").iterdir())
    assert [place.name for place in places] == [
        "epsilon-0.000000", "epsilon-0.100000", "epsilon-0.200000",
    ]  # fmt: skip
    (file,) = places[2].iterdir()
    found = [
        (event.step, event.summary.value[0].simple_value)
        for event in read_events(file)
        if event.summary.value and event.summary.value[0].tag == "test_loss"
    ]
    np.testing.assert_allclose(found, [[1, 2.06], [2, 2.07]], rtol=1e-6)


def test_a_directory_for_tensorboard_that_cannot_be_is_one_line(tmp_path, monkeypatch, capsys):
    taken = tmp_path / "taken"
    taken.write_text("a file")
    with pytest.raises(InputError, match=r"--log-dir: '.*taken' cannot be written to"):
        ScalarFiles(str(taken))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    with pytest.raises(InputError, match="--log-dir: 'runs/a/board' lies in --out"):
        check_log_dir("runs/a/board", "runs/a")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["sweep", "--out", str(tmp_path / "run"), "--log-dir", "board"]) == 2
    error = "phase-jax: --log-dir: 'board' needs tensorboardX, which is not installed; allowed: "
    assert capsys.readouterr().err == error + "with phase-jax[tensorboard]\n"
    assert not (tmp_path / "run").exists()
