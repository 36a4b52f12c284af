"""The command `connectivity`: files, figures, console, and one line for whatever is wrong."""

from __future__ import annotations

import csv
import json
import pathlib
import shutil

import numpy as np
import pytest
from small_problem import small_config

import phase_jax
from phase_jax import run_sweep, write_result
from phase_jax.cli import main
from phase_jax.connectivity.settings import FILES
from phase_jax.report.wording import format_epsilon

FAST = ["--points", "5", "--grid-size", "3", "--epochs", "1", "--no-compilation-cache"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = small_config(
        epsilon_grid=(0.1,),
        training={"num_epochs": 2},
        attack={"num_steps": 1},
        evaluation={"num_steps": 1},
        data={"num_train": 150, "num_test": 100},
    )
    path = tmp_path_factory.mktemp("connectivity") / "run"
    write_result(run_sweep(config), path)
    return path


@pytest.fixture
def foreign(run, tmp_path):
    """A run whose images are not those that its data set's name stands for now."""
    path = shutil.copytree(run, tmp_path / "run")
    document = json.loads((path / "result.json").read_text())
    document["data"]["sha256"] = "0" * 64
    (path / "result.json").write_text(json.dumps(document))
    return path


@pytest.fixture(scope="module")
def study(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    assert main(["connectivity", str(run), "--out", str(out), *FAST]) == 0
    return out


def test_every_file_is_there_and_nothing_else(study):
    assert sorted(path.name for path in study.iterdir()) == sorted({*FILES, "log.jsonl"})


def test_the_document_says_what_was_found(study):
    document = json.loads((study / "result.json").read_text())
    assert document["kind"] == "connectivity"
    assert [summary["epsilon"] for summary in document["summaries"]] == [0, 0.1]
    assert document["summaries"][1]["barrier"]["num_pairs"] == 2
    assert len(document["findings"]) == 2
    assert document["settings"]["pairing"] == "other"
    assert document["source"]["config"]["num_seeds"] == 2
    assert document["versions"]["jax"]


def test_every_network_has_a_row_and_barriers_follow_from_the_rows(study):
    with (study / "points.csv").open() as file:
        rows = list(csv.DictReader(file))
    kinds = [row["kind"] for row in rows]
    assert [kinds.count(kind) for kind in ("curve", "line", "plane", "anchor")] == [15, 15, 27, 9]
    document = json.loads((study / "result.json").read_text())
    curve = [row for row in rows if row["kind"] == "curve" and row["epsilon"] == "0.0"]
    t, losses = (np.array([float(row[name]) for row in curve]) for name in ("t", "train_loss"))
    barrier = (losses - (1 - t) * losses[0] - t * losses[-1]).max()
    assert document["summaries"][0]["barrier"]["value"] == pytest.approx(barrier, rel=1e-5)


def test_the_console_has_a_table_and_the_findings(run, capsys, tmp_path):
    arguments = ["--to-eps", "0.1", "--pairing", "same", "--seeds", "1", *FAST]
    assert main(["connectivity", str(run), "--out", str(tmp_path / "out"), *arguments]) == 0
    printed = capsys.readouterr().out
    assert "training 1 curves of 1 epochs" in printed
    assert "- epsilon 0 to 25.5/255: barrier " in printed
    assert f"results in {tmp_path / 'out'}" in printed


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--to-eps", "0.3"], "--to-eps: 0.3 was not trained in this run; allowed: 0, 0.1"),
        (["--from-eps", "0.05"], "--from-eps: 0.05 was not trained"),
        (["--curve", "circle"], "--curve: 'circle' is not known; allowed: bezier, polygon"),
        (["--to-eps", "much"], "--to-eps: 'much' is not allowed"),
        (["--seeds", "0", "7"], "--seeds: 7 was not trained"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(run, arguments, named, capsys, tmp_path):
    out = tmp_path / "out"
    assert main(["connectivity", str(run), "--out", str(out), *arguments]) == 2
    printed = capsys.readouterr().err
    assert named in printed
    assert printed.count("\n") == 1
    assert not out.exists()


def test_a_missing_run_is_one_line(capsys, tmp_path):
    assert main(["connectivity"]) == 2
    assert "RUN: give it first" in capsys.readouterr().err
    assert main(["connectivity", str(tmp_path / "nothing")]) == 2
    assert "RUN: " in capsys.readouterr().err


def test_a_run_on_other_images_is_one_line(foreign, capsys, tmp_path):
    out = tmp_path / "out"
    assert main(["connectivity", str(foreign), "--out", str(out)]) == 2
    assert "data: 'digits' as loaded differs from what the run used" in capsys.readouterr().err
    assert not out.exists()


def test_a_finished_study_is_not_overwritten_unasked(run, study, capsys):
    before = (study / "result.json").read_bytes()
    assert main(["connectivity", str(run), "--out", str(study), *FAST]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (study / "result.json").read_bytes() == before


def test_the_docs_state_the_committed_barriers():
    root = pathlib.Path(phase_jax.__file__).resolve().parents[1]
    document = json.loads((root / "results/connectivity/mnist/result.json").read_text())
    docs = (root / "docs" / "connectivity.md").read_text(encoding="utf-8").splitlines()
    for summary in document["summaries"]:
        name = format_epsilon(summary["epsilon"])
        (row,) = (line for line in docs if line.startswith(f"| {name} |"))
        for mean, form in (("barrier", ".3f"), ("line_barrier", ".2f")):
            for end in ("value", "low", "high"):
                number = summary[mean][end]
                assert number is None or format(number, form) in row, (name, mean, end)
