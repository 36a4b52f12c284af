"""The scripts in `examples/` do what they say, run as a user runs them."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

import phase_jax

ROOT = pathlib.Path(phase_jax.__file__).resolve().parents[1]
SCRIPTS = {path.name: path for path in sorted((ROOT / "examples").glob("*.py"))}


def run_script(name, *arguments, cwd):
    done = subprocess.run(
        [sys.executable, SCRIPTS[name], *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_numbers(line):
    return [float(text) for text in re.findall(r"\d+\.\d+", line)]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_short_says_how_to_run_it_and_is_linked(name):
    text = SCRIPTS[name].read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert f"    python examples/{name}" in text.split('"""')[1]
    for page in ("README.md", "docs/index.md"):
        assert f"examples/{name})" in (ROOT / page).read_text(encoding="utf-8")


def test_runs_that_are_there_are_compared(tmp_path):
    folders = [ROOT / "results" / name for name in ("digits", "mnist")]
    printed = run_script("compare_runs.py", *folders, cwd=tmp_path)
    values = []
    for folder in folders:
        star = json.loads((folder / "result.json").read_text(encoding="utf-8"))["epsilon_star"]
        assert f"{255 * star['value']:.2f}/255 (95 %: {255 * star['low']:.2f}" in printed
        values.append(star["value"])
    assert f"is {values[1] / values[0]:.2f} times" in printed
    assert "2 results compared" in (tmp_path / "comparison.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_runs_are_trained_and_compared(tmp_path):
    printed = run_script("compare_runs.py", cwd=tmp_path)
    for width in (8, 64):
        assert phase_jax.load_run(tmp_path / "runs" / f"width-{width}").epsilons.size == 4
        assert f"runs/width-{width}: clean test loss" in printed
    assert (tmp_path / "comparison.html").is_file()


@pytest.mark.slow
def test_own_model_gets_a_verdict_and_a_directory(tmp_path):
    printed = run_script("own_model.py", tmp_path / "out", cwd=tmp_path)
    document = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert printed.startswith(document["verdict"])
    assert document["epsilon_star"]["status"] == "FOUND"
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.slow
def test_monte_carlo_agrees_with_what_is_known(tmp_path):
    printed = run_script("monte_carlo.py", 300, cwd=tmp_path)
    rows = {line.split("  ")[0].strip(): line for line in printed.splitlines()}
    mean, error, exact = read_numbers(rows["gap"])
    assert abs(mean - exact) < 4 * error
    mean, error, limit = read_numbers(rows["epsilon* (mean gap)"])
    assert abs(mean - limit) < 4 * error + 0.02 * limit  # the limit is not this size
    assert printed.startswith("300 data sets")
