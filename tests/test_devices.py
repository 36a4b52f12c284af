"""Lanes on 1, 2 and 4 devices: the same bits, and a failing lane is its own business.

The number of devices is fixed when JAX starts, so everything runs in processes of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Five lanes in chunks of two; a lane that fails (`bad`) is on the first device or on the last.
LAYOUTS = """
import jax, numpy as np
from jax.sharding import AxisType, Mesh
from small_problem import small_config, small_digits
from phase_jax.sweep.execute import Clock, start_lanes, train_lanes
from phase_jax.sweep.lanes import LaneLayout
from phase_jax.sweep.setup import prepare_sweep

NUM_LANES, WIDTH = 5, 2
config = small_config(training={"num_epochs": 1}, lanes={"width": WIDTH})
sweep = prepare_sweep(config, model=None, data=small_digits(), objective=None)
keys = jax.random.split(jax.random.key(0), NUM_LANES)
epsilons = np.float32([0.0, 0.02, 0.1, 0.02, 0.3])

def train(num_devices, bad=None):
    devices = np.asarray(jax.devices()[:num_devices])
    layout = LaneLayout(NUM_LANES, WIDTH, Mesh(devices, ("L",), axis_types=(AxisType.Auto,)))
    assert layout.num_places == {1: 6, 2: 8, 4: 8}[num_devices]
    training = start_lanes(sweep.lane, layout, keys, None, Clock())
    if bad is not None:
        poisoned = jax.tree.map(
            lambda leaf: leaf.at[bad].set(np.nan), training.states.params
        )
        training = training._replace(states=training.states._replace(params=poisoned))
    training = train_lanes(
        sweep.config, sweep.lane, layout, training, epsilons, layout.share(sweep.arrays), Clock(),
        lambda *_: None, None,
    )
    ended = layout.collect(training.states._replace(key=None))
    return jax.tree.leaves((ended.params, ended.selected_test_loss, training.history))

expected = train(1)
for num_devices, bad in ((2, 0), (4, 4)):
    good = [lane for lane in range(NUM_LANES) if lane != bad]
    for ours, theirs in zip(train(num_devices, bad), expected, strict=True):
        np.testing.assert_array_equal(ours[good], theirs[good], strict=True)
        assert not np.array_equal(ours[bad], theirs[bad]), "the bad lane was not bad"
print("same bits")
"""


def run_on(num_devices, code):
    flags = f"--xla_force_host_platform_device_count={num_devices}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=600,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "XLA_FLAGS": f"{flags} --xla_cpu_multi_thread_eigen=false",
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_lanes_have_the_same_bits_on_any_number_of_devices_and_fail_alone():
    assert run_on(4, LAYOUTS) == "same bits\n"
