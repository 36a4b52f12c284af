"""The memory of long runs stays flat: what it is after 70 chunks, it is after 280."""

from __future__ import annotations

import os
import pathlib

import jax
import numpy as np
import pytest
from small_problem import random_dataset, small_config

from phase_jax import run_monte_carlo, run_sweep
from phase_jax.sweep import CheckpointPlan

NUM_CHUNKS = 300
FEW_BYTES = 4 * 2**20  # 20 kB a chunk: hundreds of times less than what a chunk touches
STATUS = pathlib.Path("/proc/self/statm")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not STATUS.exists(), reason="resident memory is read from /proc"),
]


class Meter:
    """Hears of progress and reads the resident memory, in bytes."""

    def __init__(self):
        self.readings = []

    def __call__(self, progress):
        self.readings.append(int(STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

    def assert_flat(self):
        assert len(self.readings) >= NUM_CHUNKS
        early, late = (np.median(part) for part in (self.readings[50:90], self.readings[-40:]))
        print(f"{late - early:+.0f} bytes of {early:.3g} in {len(self.readings) - 90} chunks")
        assert late - early < FEW_BYTES


def test_a_sweep_that_saves_after_every_chunk(tmp_path):
    config = small_config(training={"num_epochs": NUM_CHUNKS}, lanes={"width": 2})
    meter = Meter()
    plan = CheckpointPlan(tmp_path / "run.npz", minutes=0.0)
    run_sweep(config, data=random_dataset(), progress_fn=meter, checkpoint=plan)
    meter.assert_flat()


def test_monte_carlo_that_saves_after_every_chunk(tmp_path):
    meter = Meter()
    run_monte_carlo(
        lambda key: jax.random.normal(key, (50,)),
        jax.random.key(0),
        100 * NUM_CHUNKS,
        batch_size=100,
        num_kept=1000,
        checkpoint=tmp_path / "run.npz",
        checkpoint_seconds=0.0,
        progress_fn=meter,
    )
    meter.assert_flat()
