"""SIGKILL at random moments, again and again: what is continued gives the undisturbed numbers."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from phase_jax.storage.atomic import settle

SMALL = [
    "--seeds", "2", "--num-train", "100", "--num-test", "50", "--widths", "8", "--attack-steps",
    "1", "--eval-steps", "1", "--lane-width", "2", "--checkpoint-every", "0m", "--resume",
]  # fmt: skip
COMMANDS = {
    "sweep": ["-m", "phase_jax.sweep", "--eps-grid", "0.1", "--epochs", "150", *SMALL],
    "finetune": [
        "-m", "phase_jax.finetune", "--eps-grid", "0.05,0.1", "--attack", "fgm", "--epochs", "60",
        "--fine-tune-epochs", "60", *SMALL,
    ],
}  # fmt: skip
MONTE_CARLO = """
import sys, jax, numpy as np
from phase_jax import run_monte_carlo
result = run_monte_carlo(
    jax.random.normal, jax.random.key(1), 15_000, batch_size=20, num_kept=300,
    checkpoint=sys.argv[1] + "/checkpoint.npz", checkpoint_seconds=0,
)
print([np.asarray(leaf).tobytes().hex() for leaf in jax.tree.leaves(result.summary)])
"""
LONGEST = 300.0  # seconds that no start may take


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        "PHASE_JAX_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    }


def start(kind, out, environment):
    out.mkdir(exist_ok=True)
    arguments = ["-c", MONTE_CARLO, str(out)]
    if kind in COMMANDS:
        arguments = [*COMMANDS[kind], "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def is_over(kind, out):
    """Say whether a run that was killed had its results already."""
    if kind in COMMANDS:
        settle(out, "result.json")
    return (out / "result.json").exists()


def read_numbers(kind, out, printed):
    """Read what a finished run found."""
    if kind not in COMMANDS:
        return printed
    assert not list(out.glob("checkpoint*"))
    document = json.loads((out / "result.json").read_text())
    other = ("seconds", "revision", "notes")  # notes tell of interruptions
    return {name: document[name] for name in document if name not in other}


def take_stamp(path):
    """Tell one content of a file from the next."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_mtime_ns


def kill_sometime(process, path, generator, seconds):
    """Kill a process at any moment; three times in four after it has saved once.

    Returns:
      What it had printed if it was over by then, else None.
    """
    before, longest = take_stamp(path), time.monotonic() + LONGEST
    if generator.random() < 0.75:
        while take_stamp(path) == before and process.poll() is None:
            assert time.monotonic() < longest
            time.sleep(0.001)
        seconds /= 3  # what is left of a run when it begins to save
    deadline = time.monotonic() + generator.uniform(0, seconds)
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    printed, err = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGKILL), err
    return printed if process.returncode == 0 else None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "num_kills"), [("sweep", 15), ("monte_carlo", 15), ("finetune", 4)]
)
def test_what_is_killed_goes_on_to_the_same_numbers(kind, num_kills, environment, tmp_path):
    def finish(out):
        with start(kind, out, environment) as process:
            printed, err = process.communicate(timeout=LONGEST)
        assert process.returncode == 0, err
        if kind in COMMANDS:  # nothing is left of those that were killed
            assert not [path for path in out.iterdir() if path.name.startswith(".")]
        return read_numbers(kind, out, printed)

    expected = finish(tmp_path / "warm")  # compiled programs are kept from here on
    begin = time.monotonic()
    assert finish(tmp_path / "whole") == expected
    seconds = time.monotonic() - begin
    generator, killed, num_runs = random.Random(kind), 0, 0
    while killed < num_kills:
        out = tmp_path / f"run-{num_runs}"
        with start(kind, out, environment) as process:
            printed = kill_sometime(process, out / "checkpoint.npz", generator, seconds)
        killed += printed is None
        if printed is not None or is_over(kind, out):
            assert read_numbers(kind, out, printed) == expected
            num_runs += 1
    assert finish(tmp_path / f"run-{num_runs}") == expected
