"""Pages built from directories: a run's own again, runs beside each other, rows of the paper."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest
from made_results import OUTCOMES, make_result
from test_report_page import Page, read_data

import phase_jax
from phase_jax import InputError
from phase_jax.cli import main
from phase_jax.report.page import build_comparison
from phase_jax.report.page.comparison import describe_runs
from phase_jax.reproduce.printed import list_printed_rows

RESULTS = pathlib.Path(phase_jax.__file__).resolve().parents[1] / "results"


@pytest.fixture
def digits(tmp_path):
    return shutil.copytree(RESULTS / "digits", tmp_path / "digits")


def refuse(capsys, *arguments):
    assert main(["report", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_the_page_of_an_earlier_run_is_built_again(digits, capsys):
    (digits / "report.html").unlink()
    assert main(["report", str(digits)]) == 0  # without parameters: they are not committed
    assert capsys.readouterr().out == f"{digits / 'report.html'}\n"
    assert 100_000 < (digits / "report.html").stat().st_size < 400_000


def test_an_earlier_run_without_examples_has_a_page(tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["report", str(RESULTS / "mnist"), "--out", str(out)]) == 0
    page = Page(out.read_text(encoding="utf-8"))
    assert "mnist_cnn_small" in page.text
    assert "result.json" not in page.values("href")


def test_several_runs_and_rows_of_the_paper_are_set_beside_each_other(tmp_path, capsys):
    out = tmp_path / "page.html"
    runs = [str(RESULTS / name) for name in ("digits", "mnist")]
    assert main(["report", *runs, "--paper", "mnist-cnn16-50k-linf", "--out", str(out)]) == 0
    page = Page(out.read_text(encoding="utf-8"))
    assert "3 results compared" in page.text
    assert "paper: mnist-cnn16-50k-linf printed 26.1/255" in page.text
    assert "How the runs differ" in page.text
    assert "data.name digits mnist" in page.text
    data = read_data(out.read_text(encoding="utf-8"))
    assert [run["name"] for run in data["runs"]] == ["digits", "mnist"]  # no curve was printed
    assert data["runs"][0]["curves"]["ratio"][0] != data["runs"][0]["curves"]["train"][0]


def test_a_comparison_goes_to_the_current_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = [str(RESULTS / "digits"), "--paper", "cifar10-preactresnet18-10k-linf"]
    assert main(["report", *arguments]) == 0
    data = read_data((tmp_path / "comparison.html").read_text(encoding="utf-8"))
    assert [run["name"] for run in data["runs"]][1] == "paper: cifar10-preactresnet18-10k-linf"


def test_curves_of_different_grids_share_one_axis():
    (row,) = list_printed_rows("cifar10-preactresnet18-10k-linf")
    data = describe_runs([("mine", make_result())], [row])
    mine, paper = (run["curves"] for run in data["runs"])
    assert data["epsilons"] == sorted({0.0, 0.05, 0.1, *(float(f"{e:.6g}") for e in row.epsilons)})
    for e, epsilon in enumerate(data["epsilons"]):
        assert (mine["train"][e] == [None, None]) == (epsilon not in (0.0, 0.05, 0.1))
    last = data["epsilons"].index(float(f"{8 / 255:.6g}"))
    assert paper["train"][last] == [1.2186]
    assert paper["ratio"][last] == [pytest.approx(1.2186 / 0.441, rel=1e-3)]
    assert mine["ratio"][-1] == [2.0, 2.5]


def test_runs_in_different_norms_are_pointed_out():
    other = make_result()
    attack = dataclasses.replace(other.config.attack, norm="l2")
    other = dataclasses.replace(other, config=dataclasses.replace(other.config, attack=attack))
    text = build_comparison([("a", make_result()), ("b", other)])
    assert "different norms" in Page(text).text
    assert "different norms" not in build_comparison([("a", make_result()), ("b", make_result())])


@pytest.mark.parametrize("name", OUTCOMES)
def test_every_outcome_can_be_compared(name):
    page = Page(build_comparison([("one", OUTCOMES[name]), ("two", OUTCOMES["found"])]))
    assert "In no setting" in page.text or "target_epsilon" not in page.text


def test_directories_of_the_same_name_are_told_apart(tmp_path, capsys):
    for folder in ("a", "b"):
        shutil.copytree(RESULTS / "digits", tmp_path / folder / "run")
    runs = [str(tmp_path / folder / "run") for folder in ("a", "b")]
    assert main(["report", *runs, "--out", str(tmp_path / "page.html")]) == 0
    data = read_data((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert [run["name"] for run in data["runs"]] == runs


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda path: shutil.rmtree(path), "is no directory"),
        (lambda path: (path / "result.json").unlink(), "holds no finished run"),
        (lambda path: (path / "result.json").write_text("[]"), "is not the result of a sweep"),
        (lambda path: (path / "history.npz").unlink(), "is missing"),
        (lambda path: (path / "adversarial.npz").write_bytes(b"PK"), "is damaged"),
    ],
)
def test_an_incomplete_directory_is_one_line(digits, damage, named, capsys):
    damage(digits)
    assert named in refuse(capsys, digits)


def test_examples_of_another_run_are_refused(digits, capsys):
    with np.load(digits / "adversarial.npz") as arrays:
        fewer = {name: arrays[name][:3] for name in arrays.files}
    np.savez(digits / "adversarial.npz", **fewer)
    assert "does not fit together" in refuse(capsys, digits)


def test_bad_requests_are_one_line(digits, capsys, tmp_path):
    assert "RUN: give one first" in refuse(capsys)
    assert "is given twice" in refuse(capsys, digits, digits)
    assert "--paper: 'imagenet' is not known" in refuse(capsys, digits, "--paper", "imagenet")
    assert "--out" in refuse(capsys, digits, "--out", tmp_path)
    assert "--out" in refuse(capsys, digits, "--out", tmp_path / "nowhere" / "page.html")
    with pytest.raises(InputError, match="allowed: cifar10-"):
        list_printed_rows("x")
