"""The command line: help, refusals in one line, a whole run."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time

import jax
import pytest

import phase_jax
from phase_jax.cli import main

QUICK = [
    "--eps-grid", "0.05,0.1", "--seeds", "1", "--num-train", "100", "--num-test", "50",
    "--widths", "8", "--epochs", "2", "--attack-steps", "2", "--eval-steps", "2",
]  # fmt: skip

REFUSALS = {
    "grid without a count": (["--eps-grid", "0:0.2"], "--eps-grid"),
    "grid of words": (["--eps-grid", "a,b"], "--eps-grid"),
    "negative epsilon": (["--eps-grid=-0.1,0.1"], "--eps-grid"),
    "nan epsilon": (["--eps-grid", "nan"], "--eps-grid"),
    "only zero": (["--eps-grid", "0"], "--eps-grid"),
    "negative target": (["--target-eps=-1"], "--target-eps"),
    "unknown data set": (["--dataset", "imagenet"], "--dataset"),
    "unknown model": (["--model", "transformer"], "--model"),
    "unknown attack": (["--attack", "cw"], "--attack"),
    "unknown norm": (["--norm", "l7"], "--norm"),
    "unknown solver": (["--solver", "magic"], "--solver"),
    "zero seeds": (["--seeds", "0"], "--seeds"),
    "seeds in words": (["--seeds", "many"], "--seeds"),
    "value missing": (["--seeds"], "--seeds"),
    "misspelt flag": (["--sedes", "3"], "--seeds"),
    "absolute step without size": (["--step-rule", "absolute"], "--step-size"),
    "zero epochs": (["--epochs", "0"], "--epochs"),
    "learning rate not finite": (["--learning-rate", "nan"], "--learning-rate"),
    "momentum above one": (["--momentum", "1.5"], "--momentum"),
    "confidence of one": (["--confidence", "1"], "--confidence"),
    "widths in words": (["--widths", "a"], "--widths"),
    "missing config file": (["configs/none.py"], "CONFIG"),
}


def assert_one_line(capsys, status, expected, named):
    captured = capsys.readouterr()
    assert status == expected
    assert captured.err.startswith("phase-jax: ")
    assert captured.err.count("\n") == 1
    assert named in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_input_is_one_line_and_status_2(case, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, named = REFUSALS[case]
    assert_one_line(capsys, main(["sweep", *arguments]), 2, named)
    assert not list(tmp_path.iterdir())  # nothing written


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("raise RuntimeError('two\\nlines')", "RuntimeError"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("config = 3", "config = SweepConfig"),
        ("def (", "SyntaxError"),
        ("raise SystemExit(0)", "SystemExit"),
    ],
)
def test_a_config_file_that_fails_is_one_line(text, named, capsys, tmp_path):
    path = tmp_path / "broken.py"
    path.write_text(text)
    assert_one_line(capsys, main(["sweep", str(path)]), 2, named)


def test_a_batch_larger_than_the_data_is_one_line(capsys, tmp_path):
    arguments = ["--batch-size", "2000", "--out", str(tmp_path / "run")]
    assert_one_line(capsys, main(["sweep", *arguments]), 2, "--batch-size")
    assert not (tmp_path / "run").exists()


def test_missing_data_answers_at_once_and_says_how_to_prepare_it(tmp_path):
    start = time.monotonic()
    done = run_process("phase_jax.sweep", "--dataset", "mnist", "--data-dir", str(tmp_path))
    assert time.monotonic() - start < 2
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "python -m phase_jax.data prepare mnist" in done.stderr


def test_an_out_that_cannot_be_written_is_one_line(capsys, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("not a directory")
    assert_one_line(capsys, main(["sweep", "--out", str(blocker / "run")]), 2, "--out")


def test_an_out_that_holds_something_is_refused_and_left_alone(capsys, tmp_path):
    (tmp_path / "result.json").write_text("{}")
    assert_one_line(capsys, main(["sweep", "--out", str(tmp_path)]), 2, "--overwrite")
    assert (tmp_path / "result.json").read_text() == "{}"
    (tmp_path / "thesis.tex").write_text("precious")
    arguments = ["sweep", "--out", str(tmp_path), "--overwrite"]
    assert_one_line(capsys, main(arguments), 2, "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_unknown_commands_are_one_line(capsys):
    assert_one_line(capsys, main(["swep"]), 2, "allowed: sweep, finetune, audit, connectivity")
    assert_one_line(capsys, main(["data", "prepair", "mnist"]), 2, "prepare")
    assert_one_line(capsys, main(["data", "prepare"]), 2, "NAME")


def test_a_device_without_enough_memory_is_one_line(capsys, tmp_path, monkeypatch):
    from phase_jax.report import session

    def refuse(config, **options):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory, 99 GiB asked for")

    monkeypatch.setattr(session, "run_sweep", refuse)
    arguments = ["sweep", "--out", str(tmp_path / "run"), "--no-compilation-cache"]
    assert_one_line(capsys, main(arguments), 1, "--lane-width")


def test_an_interrupted_run_leaves_no_empty_directory(capsys, tmp_path, monkeypatch):
    from phase_jax.report import session

    def interrupt(config, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "run_sweep", interrupt)
    arguments = ["sweep", "--out", str(tmp_path / "run"), "--no-compilation-cache"]
    assert_one_line(capsys, main(arguments), 130, "interrupted")
    assert not (tmp_path / "run").exists()


def run_process(module, *arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(phase_jax.__file__).parents[1])},
    )


def test_help_needs_no_jax_and_explains_the_unit_of_epsilon():
    code = (
        "import sys; from phase_jax.cli import main; status = main(['sweep', '--help']);"
        "assert 'jax' not in sys.modules and 'sklearn' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "radius in pixel space [0, 1]" in done.stdout
    for flag in ("--eps-grid", "--attack", "--norm", "--seeds", "--target-eps", "--out"):
        assert flag in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [["--help"], ["sweep", "--help"], ["data", "--help"], []])
def test_every_help_ends_with_status_0(arguments, capsys):
    assert main(arguments) == 0
    assert "usage" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"phase-jax {phase_jax.__version__}\n"


def test_a_run_from_a_config_file_with_flags_on_top(tmp_path, capsys):
    config = tmp_path / "mine.py"
    config.write_text(
        "from phase_jax.config import SweepConfig\nconfig = SweepConfig(num_seeds=7, seed=3)\n"
    )
    out = tmp_path / "run"
    flags = [*QUICK, "--target-eps", "8/255", "--out", str(out), "--no-compilation-cache"]
    assert main(["sweep", str(config), *flags]) == 0
    text = capsys.readouterr().out
    assert "epoch 2/2" in text
    assert "examples/s" in text
    assert str(out) in text
    assert "\x1b" not in text  # plain lines when not a terminal
    document = json.loads((out / "result.json").read_text())
    assert document["config"]["num_seeds"] == 1
    assert document["config"]["seed"] == 3
    assert document["verdict"] in text
    assert main(["sweep", *QUICK, "--out", str(out), "--no-compilation-cache"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    again = ["--out", str(out), "--overwrite", "--no-compilation-cache", "--seed", "4"]
    assert main(["sweep", *QUICK, *again]) == 0
    assert json.loads((out / "result.json").read_text())["config"]["seed"] == 4


def test_defaults_of_a_config_file_reach_the_run_to_the_last_bit(tmp_path, monkeypatch):
    from phase_jax.report import session

    path = tmp_path / "mine.py"
    path.write_text(
        "from phase_jax.config import SweepConfig\n"
        "config = SweepConfig(epsilon_grid=(1 / 3, 8 / 255), target_epsilon=2 / 3)\n"
    )
    heard = []
    monkeypatch.setattr(
        session, "run_and_report", lambda config, out, options, **more: heard.append(config) or 0
    )
    assert main(["sweep", str(path), "--seeds", "2", "--out", str(tmp_path / "run")]) == 0
    assert heard[0].epsilon_grid == (1 / 3, 8 / 255)
    assert heard[0].target_epsilon == 2 / 3


def test_the_module_door_runs_in_a_directory_of_its_own(tmp_path):
    done = run_process("phase_jax.sweep", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no warning about a double import
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("digits-mlp-")
    assert (run / "result.json").exists()


@pytest.mark.parametrize("flags", [["--help"], ["reproduce", "list"], ["simulate", "--list"]])
def test_a_reader_that_has_had_enough_gets_no_traceback(flags):
    """As in `phase-jax ... | head -1`."""
    command = [sys.executable, "-m", "phase_jax", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        refused = process.stderr.read()
    assert refused == b""
    assert process.returncode == 1
