"""Malformed configuration files: status 2, one line, nothing written."""

from __future__ import annotations

import dataclasses
import random

import pytest

from phase_jax.cli import main
from phase_jax.config import SweepConfig

NUM_FILES = 250
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


@pytest.mark.slow
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
