"""Lanes on 1, 2 and 4 devices: the same bits, and a failing lane is its own business.

The number of devices is fixed when JAX starts, so everything runs in processes of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import pytest
from small_problem import small_config

from phase_jax.sweep.lanes import lay_out
from phase_jax.types import InputError
from phase_jax.validation import validate_config

# Five lanes in chunks of two; a lane that fails (`bad`) is alone on a device, or beside another in
# its chunk, with padding or without.
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

def train(num_devices, bad=None, value=np.nan):
    devices = np.asarray(jax.devices()[:num_devices])
    layout = LaneLayout(NUM_LANES, WIDTH, Mesh(devices, ("L",), axis_types=(AxisType.Auto,)))
    assert layout.num_places == {1: 6, 2: 8, 4: 8}[num_devices]
    training = start_lanes(sweep.lane, layout, keys, None, Clock())
    if bad is not None:
        poisoned = jax.tree.map(
            lambda leaf: leaf.at[bad].set(value), training.states.params
        )
        training = training._replace(states=training.states._replace(params=poisoned))
    training = train_lanes(
        sweep.config, sweep.lane, layout, training, epsilons, layout.share(sweep.arrays), Clock(),
        lambda *_: None, None,
    )
    ended = layout.collect(training.states._replace(key=None))
    return jax.tree.leaves((ended.params, ended.selected_test_loss, training.history))

expected = train(1)
for num_devices, bad, value in ((2, 0, np.nan), (2, 3, np.inf), (4, 4, -np.inf), (4, 1, np.nan)):
    good = [lane for lane in range(NUM_LANES) if lane != bad]
    ended = train(num_devices, bad, value)
    for ours, theirs in zip(ended, expected, strict=True):
        np.testing.assert_array_equal(ours[good], theirs[good], strict=True)
    assert not np.isfinite(ended[0][bad]).any(), "the bad lane was not bad"
print("same bits")
"""

SWEEP = """
import hashlib, json
from small_problem import random_dataset, small_config, small_digits
from phase_jax import run_sweep
from phase_jax.report import build_document
digest = hashlib.sha256()
dense = small_config(lanes={"width": 2}, training={"num_epochs": 2})
convolutional = small_config(
    num_seeds=1, lanes={"width": 1}, training={"num_epochs": 1}, data={"num_selection": 20},
    model={"name": "mnist_cnn_small", "hidden": 8},
)
images = random_dataset(shape=(28, 28, 1), num_classes=4)
for config, data in ((dense, small_digits()), (convolutional, images)):
    result = run_sweep(config, data=data)
    document = build_document(result)
    for name in ("seconds", "device"):
        del document[name]
    digest.update(json.dumps(document, sort_keys=True).encode())
    for values in (*result.history.values(), result.example_losses):
        digest.update(values.tobytes())
print(digest.hexdigest())
"""


# Three steps, the last with half a batch. The sign in an linf attack would let rounding jump.
SPLIT = """
import flax.linen as nn
import jax, numpy as np
from small_problem import random_dataset, small_config
from phase_jax.models.batch_norm import BatchNorm
from phase_jax.sweep.lanes import lay_out
from phase_jax.sweep.setup import order_lanes, prepare_sweep

class Normed(nn.Module):
    @nn.compact
    def __call__(self, x, *, train, weights=None):
        x = BatchNorm()(nn.Conv(4, (3, 3))(x), train=train, weights=weights)
        return nn.Dense(4)(nn.relu(x).mean((1, 2)))

config = small_config(
    epsilon_grid=(0.1,), num_seeds=1, data={"num_selection": 8},
    training={"num_epochs": 1, "batch_size": 8, "augmentation": "crop_flip"},
    attack={"num_steps": 2, "norm": "l2"}, evaluation={"num_steps": 2, "batch_size": 8},
)
data = random_dataset(num_train=20, shape=(8, 8, 3), num_classes=4)
for model in (None, Normed()):
    sweep = prepare_sweep(config, model=model, data=data, objective=None)
    epsilons, keys = order_lanes(config, config.epsilons, np.arange(1))
    ended = {}
    for data_devices in (1, 2, 4):
        layout = lay_out(2, 1, data_devices)
        states = jax.jit(layout.map(sweep.lane.init))(layout.spread(keys))
        run = layout.map(lambda s, e, d: sweep.lane.run_epochs(s, e, d, 1), num_shared=1)
        arguments = states, layout.spread(epsilons), layout.share(sweep.arrays)
        program = jax.jit(run).lower(*arguments).compile()
        assert ("all-reduce" in program.as_text()) == (data_devices > 1)
        states, info = program(*arguments)
        ended[data_devices] = jax.tree.leaves(
            layout.collect((states.params, states.model_state, info))
        )
        for ours, theirs in zip(ended[data_devices], ended[1], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)
        print(bool(model), data_devices, max(
            np.abs(a - b).max() for a, b in zip(ended[data_devices], ended[1])
        ))
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
            "NPROC": "4",  # threads, which devices share; a product is split among a device's
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_lanes_have_the_same_bits_on_any_number_of_devices_and_fail_alone():
    assert run_on(4, LAYOUTS) == "same bits\n"


@pytest.mark.slow
def test_devices_that_share_a_batch_take_the_steps_of_one():
    """Networks without and with batch statistics, whose sums then cross devices."""
    run_on(4, SPLIT)


def test_devices_that_cannot_share_a_batch_are_refused():
    with pytest.raises(InputError, match=r"^--data-devices: 3 does not divide the batch of 32 "):
        validate_config(small_config(lanes={"data_devices": 3}))
    wanted = 2 * jax.device_count()
    with pytest.raises(InputError, match=rf"^--data-devices: {wanted} does not divide the number"):
        lay_out(4, 1, wanted)


@pytest.mark.slow
def test_whole_sweeps_have_the_same_bits_on_any_number_of_devices():
    outputs = {run_on(num_devices, SWEEP) for num_devices in (1, 2, 4)}
    assert len(outputs) == 1, outputs
