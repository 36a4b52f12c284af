"""SIGTERM and SIGINT in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from phase_jax.interruption import StopSignals

POLLING = """
import sys, time
from phase_jax.interruption import StopSignals
with StopSignals(float(sys.argv[1])) as signals:
    print("ready", flush=True)
    while not (number := signals.poll()):
        time.sleep(0.01)
    print("saving", flush=True)
    time.sleep(float(sys.argv[2]))
    print("saved", number, flush=True)
"""
# A compiled program does not let Python's signal handlers run; neither does this.
DEAF = """
import hashlib, sys
from phase_jax.interruption import StopSignals
with StopSignals(float(sys.argv[1])):
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**28)  # a minute or more
"""
RAISING = """
import sys, time
from phase_jax.cli import main_and_exit
from phase_jax import cli
def run(arguments):
    print("ready", flush=True)
    time.sleep(20)
cli.run_data_command = run
sys.argv = ["phase-jax", "data"]
main_and_exit()
"""


def start(code, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_asks_takes_its_time_to_save(number):
    """It has reached a place to stop: the grace of 0.2 s does not end it."""
    with start(POLLING, 0.2, 0.6) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert out == f"saving\nsaved {int(number)}\n"
    assert err == ""
    assert process.returncode == 0


def test_a_second_signal_ends_the_run_at_once():
    with start(POLLING, 30, 30) as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "saving\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 130 or "KeyboardInterrupt" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_compiled_program_does_not_outlive_the_grace(number):
    begin = time.monotonic()
    with start(DEAF, 0.3) as process:
        process.send_signal(number)
        _, err = process.communicate(timeout=15)
    assert time.monotonic() - begin < 10
    assert process.returncode == 128 + number
    assert err.count("\n") == 1
    assert "not at a place to stop within 0.3 s" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_every_command_ends_with_the_signals_status(number):
    with start(RAISING) as process:
        process.send_signal(number)
        _, err = process.communicate(timeout=15)
    assert process.returncode == 128 + number
    assert err == "phase-jax: interrupted\n"


def test_everything_is_as_before_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    num_threads = threading.active_count()
    with StopSignals() as signals:
        assert signals.poll() is None
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    deadline = time.monotonic() + 5
    while threading.active_count() > num_threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == num_threads
