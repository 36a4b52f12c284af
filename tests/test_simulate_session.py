"""The command `simulate`: what it refuses, writes, resumes and replaces."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import phase_jax
from phase_jax.cli import main
from phase_jax.report.wording import format_duration
from phase_jax.simulate import session
from phase_jax.simulate.directory import StudySettings, claim_study_directory
from phase_jax.simulate.registry import LISTINGS, STUDIES, load_study
from phase_jax.simulate.study import Study, StudyContext, StudyResult
from phase_jax.types import InputError, InterruptedRunError

NAME = "moments"
FLAGS = ["--no-compilation-cache"]

REFUSALS = {
    "no study": ([], "scaling"),
    "flags only": (["--full"], "trajectory"),
    "unknown study": (["momets"], "moments"),
    "one replicate": ([NAME, "--replicates", "1"], "--replicates"),
    "negative replicates": ([NAME, "--replicates=-5"], "--replicates"),
    "replicates in words": ([NAME, "--replicates", "many"], "a whole number"),
    "negative seed": ([NAME, "--seed=-1"], "--seed"),
    "unknown precision": ([NAME, "--precision", "float16"], "float32"),
    "misspelt flag": ([NAME, "--ful"], "--full"),
}


class Script:
    """A study that stops where it is told, and remembers what it was given."""

    def __init__(self) -> None:
        self.stop = None
        self.contexts: list[StudyContext] = []
        self.resumed: list[int] = []

    def run(self, context: StudyContext) -> StudyResult:
        self.contexts.append(context)
        rows = []
        for name in ("first", "second"):
            if self.stop and name == self.stop[0]:
                raise self.stop[1]
            result = context.simulate(
                name, lambda key: jax.random.normal(key, dtype=context.dtype), context.count(40, 80)
            )
            self.resumed.append(result.num_resumed)
            rows.append({"name": name, "mean": result.summary.mean})
        rows.append({"name": "nothing", "why": "no value"})
        figures = {"bell": Figure(figsize=(1, 1))}
        return StudyResult(rows, {"none": np.nan}, ["the mean is [about] 0"], figures)


@pytest.fixture
def script(monkeypatch):
    script = Script()
    study = Study(NAME, "a title", script.run, (1.0, 120.0), "float32 is too short")
    monkeypatch.setattr(session, "load_study", lambda name: study)
    return script


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def assert_one_line(capsys, status, expected, named):
    captured = capsys.readouterr()
    assert status == expected
    assert captured.err.startswith("phase-jax: ")
    assert captured.err.count("\n") == 1
    assert named in captured.err


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_input_is_one_line_and_status_2(case, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, named = REFUSALS[case]
    assert_one_line(capsys, main(["simulate", *arguments]), 2, named)
    assert not list(tmp_path.iterdir())


def test_list_and_help_name_every_study_without_jax():
    code = (
        "import sys; from phase_jax.cli import main;"
        "status = [main(['simulate', '--list']), main(['simulate', '--help'])];"
        "assert not {'jax', 'scipy', 'matplotlib'} & {*sys.modules}; sys.exit(sum(status))"
    )
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(phase_jax.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr
    for name, listing in LISTINGS.items():
        assert done.stdout.count(f"{name} ") >= 2
        assert done.stdout.count(listing.title) == 2
    assert "--replicates" in done.stdout


@pytest.mark.parametrize("name", STUDIES)
def test_the_listing_says_what_the_study_says(name):
    study = load_study(name)
    assert study.name == name
    assert LISTINGS[name] == (study.title, study.seconds)


def test_unknown_studies_cannot_be_loaded():
    with pytest.raises(InputError, match="allowed: trajectory"):
        load_study("session")


def test_a_run_writes_everything_and_leaves_no_checkpoints(script, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", NAME, *FLAGS]) == 0
    out = tmp_path / "runs" / f"simulate-{NAME}"
    names = {entry.name for entry in out.iterdir()}
    assert names == {f"{NAME}.json", f"{NAME}.csv", "bell.png", "bell.svg"}
    first, *_ = text = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{NAME}: a title; reduced numbers, about 1 s (--full: about 2 min)")
    assert "- the mean is [about] 0" in text  # brackets are no markup
    document = json.loads((out / f"{NAME}.json").read_text(encoding="utf-8"))
    assert document["schema_version"] == 1
    assert document["settings"] == {
        "study": NAME, "full": False, "replicates": None, "seed": 0, "precision": "float64",
    }  # fmt: skip
    assert document["summary"] == {"none": None}
    assert document["findings"] == ["the mean is [about] 0"]
    assert document["figures"] == ["bell"]
    assert {"versions", "device", "revision", "seconds", "title"} <= set(document)
    rows = read_csv(out / f"{NAME}.csv")
    assert rows[2] == {"name": "nothing", "mean": "", "why": "no value"}
    assert script.contexts[0].dtype == jnp.float64
    assert jnp.zeros(1).dtype == jnp.float32  # precision is as before


def test_numbers_follow_the_flags(script, tmp_path):
    for number, flags in enumerate([["--full"], ["--replicates", "7"], ["--precision", "float32"]]):
        assert main(["simulate", NAME, *FLAGS, *flags, "--out", str(tmp_path / str(number))]) == 0
    full, seven, single = script.contexts
    assert full.count(40, 80) == 80
    assert seven.count(40, 80) == 7
    assert single.count(40, 80) == 40
    assert single.dtype == jnp.float32
    findings = [
        json.loads((tmp_path / str(number) / f"{NAME}.json").read_text(encoding="utf-8"))[
            "findings"
        ]
        for number in range(3)
    ]
    assert ["float32 is too short" in said for said in findings] == [False, False, True]


def test_random_numbers_come_from_seed_study_and_name():
    def draw(name="a", **settings):
        key = StudyContext(pathlib.Path(), **settings).make_key(name)
        return float(jax.random.uniform(key))

    values = [draw(), draw("b"), draw(seed=1), draw(study="other")]
    assert len(set(values)) == 4
    assert draw() == values[0]


def test_a_stopped_run_goes_on_to_the_same_result(script, tmp_path, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(["simulate", NAME, *FLAGS, "--out", str(whole)]) == 0
    script.stop = ("second", KeyboardInterrupt())
    capsys.readouterr()
    assert main(["simulate", NAME, *FLAGS, "--out", str(parts)]) == 130
    assert "goes on" in capsys.readouterr().out
    assert {entry.name for entry in parts.iterdir()} == {"checkpoints"}
    script.stop, script.resumed = None, []
    assert main(["simulate", NAME, *FLAGS, "--out", str(parts)]) == 0
    assert script.resumed == [40, 0]
    assert read_csv(parts / f"{NAME}.csv") == read_csv(whole / f"{NAME}.csv")
    assert not (parts / "checkpoints").exists()


def test_an_unfinished_run_is_not_mixed_with_other_settings(script, tmp_path, capsys):
    script.stop = ("second", InterruptedRunError("the disk is full"))
    command = ["simulate", NAME, *FLAGS, "--out", str(tmp_path)]
    assert main(command) == 1
    capsys.readouterr()
    script.stop, script.resumed = None, []
    assert_one_line(capsys, main([*command, "--seed", "1"]), 2, "seed 0, not 1")
    assert_one_line(capsys, main([*command, "--full"]), 2, "--overwrite")
    other = ["simulate", "scaling", *FLAGS, "--out", str(tmp_path)]
    assert_one_line(capsys, main(other), 2, "'checkpoints', which scaling did not write")
    assert main([*command, "--seed", "1", "--overwrite"]) == 0
    assert script.resumed == [0, 0]


def test_a_finished_run_is_replaced_only_on_demand(script, tmp_path, capsys):
    command = ["simulate", NAME, *FLAGS, "--out", str(tmp_path)]
    assert main(command) == 0
    before = (tmp_path / f"{NAME}.json").read_bytes()
    capsys.readouterr()
    assert_one_line(capsys, main(command), 2, "--overwrite")
    assert (tmp_path / f"{NAME}.json").read_bytes() == before
    assert main([*command, "--overwrite", "--seed", "3"]) == 0
    document = json.loads((tmp_path / f"{NAME}.json").read_text(encoding="utf-8"))
    assert document["settings"]["seed"] == 3


def test_files_of_others_are_never_touched(script, tmp_path, capsys):
    precious = tmp_path / "bell.png"
    precious.write_text("a photograph")
    command = ["simulate", NAME, *FLAGS, "--out", str(tmp_path), "--overwrite"]
    assert_one_line(capsys, main(command), 2, "bell.png")
    assert precious.read_text() == "a photograph"


def test_a_run_that_computed_nothing_leaves_nothing(script, tmp_path, capsys):
    script.stop = ("first", KeyboardInterrupt())
    out = tmp_path / "run"
    assert_one_line_after_output(capsys, main(["simulate", NAME, *FLAGS, "--out", str(out)]))
    assert not out.exists()


def assert_one_line_after_output(capsys, status):
    captured = capsys.readouterr()
    assert status == 130
    assert captured.err == "phase-jax: interrupted\n"
    assert "goes on" not in captured.out


def test_a_device_without_enough_memory_is_one_line(script, tmp_path, capsys):
    error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory, 99 GiB asked for")
    script.stop = ("first", error)
    assert main(["simulate", NAME, *FLAGS, "--out", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_drafts_of_a_killed_run_are_removed(tmp_path):
    (tmp_path / ".tmp-abc").mkdir()
    with claim_study_directory(tmp_path, StudySettings(NAME)) as out:
        assert [entry.name for entry in out.iterdir()] == [".lock"]
    assert not tmp_path.exists()  # it was left empty


def test_an_out_that_cannot_be_written_is_one_line(tmp_path, capsys):
    blocker = tmp_path / "file"
    blocker.write_text("not a directory")
    command = ["simulate", NAME, "--out", str(blocker / "run")]
    assert_one_line(capsys, main(command), 2, "--out")


def test_durations_read_well():
    durations = [format_duration(seconds) for seconds in (12.4, 99, 150, 7200)]
    assert durations == ["12 s", "99 s", "2 min", "2 h"]
