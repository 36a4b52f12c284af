"""Memory of lanes: the estimate against the compiler's own, and lanes that do not fit."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from small_problem import random_dataset, small_config, small_digits

from phase_jax.sweep import memory
from phase_jax.sweep.memory import MemoryNeed, estimate_memory, fit_memory
from phase_jax.sweep.setup import prepare_sweep
from phase_jax.types import InputError

MIB = 2**20
NEED = MemoryNeed(shared=10 * MIB, resting=MIB, working=20 * MIB)


def prepare(name, shape, **model):
    config = small_config(
        model={"name": name, **model},
        training={"batch_size": 32, "num_epochs": 1},
        evaluation={"batch_size": 32, "num_steps": 2},
        attack={"num_steps": 2},
    )
    data = random_dataset(num_train=64, shape=shape, num_classes=4)
    return prepare_sweep(config, model=None, data=data, objective=None)


def measure(sweep, width):
    """Bytes of temporaries and of donated lanes that the compiler plans for some lanes."""
    states = jax.eval_shape(
        lambda key: jax.vmap(sweep.lane.init)(jax.random.split(key, width)), jax.random.key(0)
    )
    epsilons = jax.ShapeDtypeStruct((width,), np.float32)

    def run(states, epsilons, data):
        return jax.vmap(lambda s, e: sweep.lane.run_epochs(s, e, data, 1))(states, epsilons)

    program = jax.jit(run, donate_argnums=0).lower(states, epsilons, sweep.arrays).compile()
    return program.memory_analysis().temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "model"),
    [
        ("mlp", (8, 8, 1), {"widths": (64, 64)}),
        ("mnist_cnn_small", (28, 28, 1), {"hidden": 16}),
        ("mnist_cnn_small", (28, 28, 1), {"hidden": 16, "conv_form": "lax"}),
        ("preactresnet10", (32, 32, 3), {"width": 1}),
    ],
)
def test_the_estimate_is_near_what_the_compiler_plans(name, shape, model, widths):
    sweep = prepare(name, shape, **model)
    need = estimate_memory(sweep.lane, sweep.arrays)
    for width in (1, 4):
        planned = measure(sweep, width)
        print(f"{width * need.working / planned:.2f} of what is planned for {width} lanes")
        assert memory.USABLE * planned < width * need.working < 3 * planned


def test_what_lanes_keep_and_share_is_exact():
    sweep = prepare("mlp", (4, 4, 1), widths=(8,))
    need = estimate_memory(sweep.lane, sweep.arrays)
    assert need.shared == sum(leaf.nbytes for leaf in sweep.arrays)
    num_weights = 16 * 8 + 8 + 8 * 4 + 4
    floats = 3 * num_weights + 1  # parameters, the selected ones, momentum; the smallest loss
    assert need.resting - 4 * floats in range(0, 64)  # the key and counters


def test_activations_grow_with_the_batch_and_not_with_the_images():
    def working(batch_size, num_train):
        config = small_config(training={"batch_size": batch_size})
        data = random_dataset(num_train=num_train, shape=(16, 16, 1), num_classes=4)
        sweep = prepare_sweep(config, model=None, data=data, objective=None)
        return estimate_memory(sweep.lane, sweep.arrays).working

    assert working(64, 256) > 1.5 * working(16, 256)
    assert working(64, 512) < 1.1 * working(64, 256)


def fit(monkeypatch, limit, *, asked=None, need=NEED, num_lanes=12, **lanes):
    monkeypatch.setattr(memory, "read_memory_limit", lambda: int(limit * MIB))
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    config = small_config(
        epsilon_grid=tuple(np.linspace(0.01, 0.1, num_lanes - 1)),
        num_seeds=1,
        lanes={"width": asked or num_lanes, **lanes},
    )
    return fit_memory(config, need, is_chosen=asked is not None).width


@pytest.mark.parametrize(
    ("limit", "width"),
    [
        (1000, 12),
        (400, 12),  # 0.7 x 400 = 280 >= 22 + 12 x 20
        (300, 6),  # 9 would fit, in two chunks that 6 fill exactly
        (120, 3),
        (60, 1),
        (45, 1),  # beyond the share that is used, within the memory
    ],
)
def test_the_automatic_width_is_what_the_memory_holds(monkeypatch, limit, width):
    assert fit(monkeypatch, limit) == width


def test_devices_that_share_a_batch_share_its_memory(monkeypatch):
    assert fit(monkeypatch, 120, data_devices=2) == 6


@pytest.mark.parametrize(
    ("limit", "asked", "line"),
    [
        (
            20,
            None,
            "--eps-grid, --seeds: 12 lanes a device take 1 MiB each beside 10 MiB of images, a "
            "device has 20 MiB; allowed: up to 10, or more devices",
        ),
        (
            32,
            None,
            "--batch-size: 32 takes some 20 MiB for one lane beside 22 MiB that all keep, a device "
            "has 32 MiB; allowed: up to 16, or more --data-devices",
        ),
        (
            100,
            8,
            "--lane-width: 8 lanes at a time take some 160 MiB beside 22 MiB that all keep, a "
            "device has 100 MiB; allowed: up to 3",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(monkeypatch, limit, asked, line):
    with pytest.raises(InputError) as refusal:
        fit(monkeypatch, limit, asked=asked)
    assert str(refusal.value) == line


def test_a_width_that_fits_is_kept(monkeypatch):
    assert fit(monkeypatch, 100, asked=3) == 3


def test_a_sweep_is_refused_before_anything_is_compiled(monkeypatch):
    monkeypatch.setattr(memory, "read_memory_limit", lambda: 2**16)
    with pytest.raises(InputError, match=r"^--(eps-grid|batch-size)"):
        prepare_sweep(small_config(), model=None, data=small_digits(), objective=None)


def test_numbers_of_bytes_read_as_a_person_would_write_them():
    sizes = [memory._name_size(n) for n in (512, 2**20, 3.5 * 2**30, 2**40)]
    assert sizes == ["0.5 KiB", "1 MiB", "3.5 GiB", "1.02e+03 GiB"]
