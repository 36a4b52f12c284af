"""Disks that fill up or turn read-only within a run: one line, and nothing saved is lost."""

from __future__ import annotations

import json
import subprocess

import pytest

from phase_jax.cli import main
from phase_jax.report import session

pytestmark = pytest.mark.slow
COMMAND = [
    "sweep", "--eps-grid", "0.05,0.1", "--seeds", "1", "--num-train", "100", "--num-test", "50",
    "--widths", "8", "--epochs", "4", "--attack-steps", "1", "--eval-steps", "1",
    "--checkpoint-every", "0m", "--no-compilation-cache", "--resume", "--out",
]  # fmt: skip


def run_mount(*arguments):
    try:
        return subprocess.run([*arguments], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def disk(tmp_path):
    """A disk of 4 MiB: who may not mount one goes without this test."""
    path = tmp_path / "disk"
    path.mkdir()
    if not run_mount("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)):
        pytest.skip("no right to mount a file system")
    yield path
    run_mount("umount", "-l", str(path))


def fill(disk):
    """Fill a disk to its last byte."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def read_numbers(out):
    document = json.loads((out / "result.json").read_text())
    return {n: document[n] for n in document if n not in ("seconds", "revision", "notes")}


@pytest.mark.parametrize(
    ("spoil", "mend", "named"),
    [
        (fill, lambda disk: (disk / "filler").unlink(), "No space left on device"),
        (
            # A disk with open files is not made read-only from outside: one is put in its place.
            lambda disk: run_mount("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(disk / "run")),
            lambda disk: run_mount("umount", "-l", str(disk / "run")),
            "Read-only file system",
        ),
    ],
    ids=["full", "read-only"],
)
def test_a_run_ends_in_one_line_and_goes_on_when_the_disk_is_mended(
    disk, tmp_path, monkeypatch, capsys, spoil, mend, named
):
    out, show = disk / "run", session.ProgressDisplay.show

    def spoil_at_the_third_epoch(self, progress):
        show(self, progress)
        if progress.phase == "train" and progress.epoch == 3:
            spoil(disk)

    with monkeypatch.context() as patch:
        patch.setattr(session.ProgressDisplay, "show", spoil_at_the_third_epoch)
        assert main([*COMMAND, str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("phase-jax: cannot write ")
    assert named in error
    assert error.endswith("; the last good checkpoint is kept\n")
    assert error.count("\n") == 1
    mend(disk)
    assert main([*COMMAND, str(out)]) == 0
    assert "going on after epoch 2" in capsys.readouterr().out
    assert main([*COMMAND, str(tmp_path / "whole")]) == 0
    assert read_numbers(out) == read_numbers(tmp_path / "whole")
    assert not [path for path in out.iterdir() if path.name.startswith((".", "checkpoint"))]
