"""The command line divides a CPU into devices before JAX starts, and only where it may."""

from __future__ import annotations

import os
import sys

import pytest

from phase_jax.cli import cores

DEVICES, ONE_THREAD = "--xla_force_host_platform_device_count", "--xla_cpu_multi_thread_eigen=false"


@pytest.mark.parametrize(
    ("flags", "num_devices", "num_lanes", "expected"),
    [
        ("", None, 44, f"{DEVICES}=4 {ONE_THREAD}"),
        ("", None, 2, f"{DEVICES}=2"),  # cores are left for threads inside
        ("", None, 1, ""),
        ("", 1, 44, ""),
        ("", 8, 44, f"{DEVICES}=8 {ONE_THREAD}"),
        ("--other=1", 2, 44, f"--other=1 {DEVICES}=2"),
        (f"{DEVICES}=3", None, 44, f"{DEVICES}=3"),
        (f"{DEVICES}=3", 2, 44, f"{DEVICES}=3"),
        (
            "--xla_cpu_multi_thread_eigen=true",
            4,
            44,
            f"--xla_cpu_multi_thread_eigen=true {DEVICES}=4",
        ),
    ],
)
def test_cores_become_devices(flags, num_devices, num_lanes, expected, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr(cores, "count_cores", lambda: 4)
    monkeypatch.delitem(sys.modules, "jax")
    cores.divide_cores(num_devices, num_lanes)
    assert os.environ["XLA_FLAGS"] == expected


def test_a_jax_that_runs_already_is_left_alone(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setitem(sys.modules, "jax", sys)
    cores.divide_cores(4, 44)
    assert os.environ["XLA_FLAGS"] == ""


def test_cores_are_counted():
    assert 1 <= cores.count_cores() <= (os.cpu_count() or 1)
