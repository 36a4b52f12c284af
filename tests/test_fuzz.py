"""Malformed command lines and configuration files: status 2, one line, nothing written."""

from __future__ import annotations

import dataclasses
import os
import random
import string
import subprocess
import sys
import typing

import pytest

from phase_jax.cli import main
from phase_jax.cli.audit import AuditCommand
from phase_jax.cli.connectivity import ConnectivityCommand
from phase_jax.cli.data import PrepareCommand
from phase_jax.cli.finetune import DECIDED, FineTuneCommand
from phase_jax.cli.report import ReportCommand
from phase_jax.cli.reproduce import ReproduceCommand
from phase_jax.cli.simulate import SimulateCommand
from phase_jax.cli.sweep import SweepCommand
from phase_jax.config import SweepConfig

NUM_COMMANDS, NUM_FILES, NUM_PROCESSES = 300, 250, 20
COMMANDS = {  # what comes first, and the options after it
    ("sweep",): SweepCommand,
    ("finetune",): FineTuneCommand,
    ("connectivity", "nowhere"): ConnectivityCommand,
    ("audit", "nowhere"): AuditCommand,
    ("report", "nowhere"): ReportCommand,
    ("reproduce", "table3"): ReproduceCommand,
    ("simulate", "theorem1"): SimulateCommand,
    ("data", "prepare", "mnist", "--source=nowhere"): PrepareCommand,
}
NUMBERS = ("1.5.2", "many", "1,5", "0x", "½x", "--", "1e", "[]", "💥", " ", "1/0", "\n", "\x00")
GRIDS = ("a", "nan", "-1", "1,,2", "0:1", "1:0:3", "0:1:1", "1/0", "0:1:1e9", "::", "inf", "0:1:-3")
NAMES = ("no-such", "[1]", "\ud7ff", "../..", "None,", " ", "💥", "\x00", "sgd,adam")
FREE_TEXTS = (
    "out",
    "log_dir",
    "data_dir",
    "source",
    "paper",
    "rows",
)  # any text may be a place or a list
# A directory and a time may be any text; these are refused or not by what is there.
FREE = ("data_dir",)
VALUES = (
    "None", "'x'", "-1", "float('nan')", "float('inf')", "[]", "{}", "object()", "(1, 'a')",
    "b'1'", "1j", "lambda: 0", "print", "True", "10**400", "''", "('',)", "[[1]]", "SweepConfig",
)  # fmt: skip


def list_fields(config=None, path=()):
    """List every setting with its path and type."""
    config = SweepConfig() if config is None else config
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from list_fields(value, (*path, field.name))
        elif field.name not in FREE:
            flag = field.metadata.get("flag") or field.name.replace("_", "-")
            yield (*path, field.name), f"--{flag}", value


FIELDS = [entry for entry in list_fields() if not isinstance(entry[2], bool)]


def list_options(command):
    """List every option of a command: its flag, and words that it cannot take."""
    hints = typing.get_type_hints(command)
    for field in dataclasses.fields(command):
        hint = str(hints[field.name])
        if dataclasses.is_dataclass(hints[field.name]):
            yield from list_options(hints[field.name])
        elif hint == "<class 'bool'>" or f"{command.__name__}.{field.name}" in DECIDED:
            continue
        elif "tuple" in hint:
            is_grid = field.name in ("epsilon_grid", "to_epsilons")
            yield f"--{name_flag(field)}", GRIDS if is_grid else NUMBERS[:3]
        elif "str" in hint:
            yield f"--{name_flag(field)}", () if field.name in FREE_TEXTS else NAMES
        else:
            yield f"--{name_flag(field)}", (*NUMBERS, "nan", "-7")


def name_flag(field):
    return field.metadata.get("flag") or field.name.replace("_", "-")


OPTIONS = {start: list(list_options(command)) for start, command in COMMANDS.items()}


def make_command(generator):
    """Make a command line with at least one mistake in it."""
    start = generator.choice(list(COMMANDS))
    (flag, words), (other, _) = generator.choices(OPTIONS[start], k=2)
    noise = "".join(generator.choices(string.printable, k=6))
    made = [
        [*start, f"--{noise}"],
        [*start, other, "1", f"--no-such-{generator.randrange(99)}"],
        [f"{noise}-", *start],
        [start[0], f"{noise}.py", flag],
        [*start, f"{flag}={noise}", "--no-such"],
    ]
    if words:
        made += [[*start, f"{flag}={generator.choice(words)}"]] * 5
    return generator.choice(made)


def make_file(generator):
    """Make a configuration file with a mistake in it."""
    path, _, _ = generator.choice(FIELDS)
    value = generator.choice(VALUES)
    text = "from phase_jax.config import *\n"
    for name in reversed(path[:-1]):
        value = f"dataclasses.replace(SweepConfig().{name}, {path[-1]}={value})"
    field = path[0]
    whole = f"import dataclasses\n{text}config = SweepConfig({field}={value}, num_seeds=0)\n"
    noise = bytes(generator.randrange(256) for _ in range(20))
    return generator.choice(
        (
            whole.encode(),
            whole.encode()[: generator.randrange(len(whole) - 20)],
            noise,
            f"{text}config = {value}".encode() if "dataclasses" not in value else noise,
            b"raise " + generator.choice((b"ValueError", b"SystemExit(0)", b"MemoryError")),
        )
    )


def assert_refused(status, out, err, where, given):
    assert status == 2, (given, out, err)
    assert err.startswith("phase-jax: "), (given, err)
    assert err.count("\n") == 1, (given, err)
    assert len(err) > len("phase-jax: \n"), given
    assert out == "", given
    assert not list(where.iterdir()), given


def test_malformed_command_lines(tmp_path, monkeypatch, capsys):
    where = tmp_path / "here"
    where.mkdir()
    monkeypatch.chdir(where)
    generator = random.Random(7)
    for _ in range(NUM_COMMANDS):
        command = make_command(generator)
        status = main(command)
        captured = capsys.readouterr()
        assert_refused(status, captured.out, captured.err, where, command)


def test_malformed_configuration_files(tmp_path, monkeypatch, capsys):
    where, path = tmp_path / "here", tmp_path / "config.py"
    where.mkdir()
    monkeypatch.chdir(where)
    generator = random.Random(11)
    for _ in range(NUM_FILES):
        path.write_bytes(content := make_file(generator))
        status = main(["sweep", str(path)])
        captured = capsys.readouterr()
        assert_refused(status, captured.out, captured.err, where, content)


@pytest.mark.slow
def test_malformed_input_in_processes_of_their_own(tmp_path):
    where = tmp_path / "here"
    where.mkdir()
    generator = random.Random(13)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    for number in range(NUM_PROCESSES):
        (tmp_path / "config.py").write_bytes(make_file(generator))
        given = ["sweep", str(tmp_path / "config.py")]
        while number % 2 and (given[0] == "sweep" or "\x00" in "".join(given)):
            given = make_command(generator)  # no process can be given a zero
        done = subprocess.run(
            [sys.executable, "-m", "phase_jax", *given],
            capture_output=True,
            text=True,
            cwd=where,
            env=environment,
            timeout=300,
        )
        assert_refused(done.returncode, done.stdout, done.stderr, where, given)
