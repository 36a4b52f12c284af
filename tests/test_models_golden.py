"""Residual networks against PyTorch: outputs, gradients, statistics; weights brought in as a file.

The numbers are those of tests/goldens/make_network_goldens.py. Errors are relative: the largest
difference over the largest number; for gradients in single precision, in the Euclidean norm.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens.drawn_weights import draw_batch, draw_state_dict

from phase_jax.losses import cross_entropy
from phase_jax.models import build_model, load_torch_parameters
from phase_jax.models.torch_import import name_in_torch

FOLDER = Path(__file__).parent / "goldens" / "networks"
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
DOUBLE_BOUND = 1e-11
SINGLE_BOUND = 1e-5  # logits and statistics
# A sum that rounds to the other side of a ReLU's kink changes a gradient by more than rounding: one
# unit of preactresnet18 is 2e-7 from it, and PyTorch's own float32 gradient is 0.77 % off there.
SINGLE_GRADIENT_BOUND = 0.03
SLOW = pytest.mark.slow
CASES = [
    ("preactresnet10", 8, "lax"),
    ("wideresnet10", 1, "matmul"),
    pytest.param("preactresnet18", 64, "lax", marks=SLOW),
    pytest.param("preactresnet18", 64, "matmul", marks=SLOW),
    pytest.param("wideresnet34", 1, "lax", marks=SLOW),
    pytest.param("wideresnet34", 1, "matmul", marks=SLOW),
    pytest.param("wideresnet34", 2, "lax", marks=SLOW),
    pytest.param("wideresnet34", 10, "lax", marks=SLOW),
]
SINGLE_CASES = [
    ("preactresnet10", 8, "lax"),
    pytest.param("preactresnet18", 64, "lax", marks=SLOW),
    pytest.param("wideresnet34", 1, "matmul", marks=SLOW),
]


class Outcome(NamedTuple):
    """What a network gives in one mode."""

    logits: np.ndarray
    gradient: np.ndarray
    state: dict


@functools.cache
def load_golden(name, width):
    with np.load(FOLDER / f"{name}-{width}.npz", allow_pickle=False) as file:
        return dict(file)


def read_shapes(golden):
    """Names and shapes of the state dict that PyTorch had."""
    split = (entry.split(" ") for entry in golden["entries"])
    return {name: tuple(map(int, sizes.split(","))) for name, sizes in split}


def build(name, width, conv_form, golden):
    return build_model(
        name,
        num_classes=10,
        input_shape=tuple(golden["images_shape"][1:]),
        mean=MEAN,
        std=STD,
        width=width,
        conv_form=conv_form,
    )


def compute(model, variables, images, labels, *, train):
    def loss_fn(images):
        logits, state = model.apply(*variables, images, train=train)
        return cross_entropy(logits, labels).mean(), (logits, state)

    gradient, (logits, state) = jax.jit(jax.grad(loss_fn, has_aux=True))(images)
    return Outcome(logits, gradient, state)


def measure_error(values, expected, norm=np.inf):
    difference = np.asarray(values, np.float64) - expected
    return np.linalg.norm(difference.ravel(), norm) / np.linalg.norm(expected.ravel(), norm)


def measure_errors(model, golden, path, dtype, gradient_norm):
    """Compare both modes and the moved statistics with PyTorch's; return error by name."""
    np.savez(path, **draw_state_dict(read_shapes(golden)))
    variables = load_torch_parameters(path, model)
    images, labels = draw_batch(tuple(golden["images_shape"]), 10)
    variables, images = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (variables, images))
    errors, moved = {}, {}
    for mode in ("eval", "train"):
        outcome = compute(model, variables, images, labels, train=mode == "train")
        assert outcome.logits.dtype == outcome.gradient.dtype == dtype
        logits, gradient = golden[f"{mode}_logits"], golden[f"{mode}_gradient"]
        errors[f"{mode} logits"] = measure_error(outcome.logits, logits)
        errors[f"{mode} gradient"] = measure_error(outcome.gradient, gradient, gradient_norm)
        moved = outcome.state["batch_stats"]
    layout = "wideresnet" if model.name.startswith("wide") else "preactresnet"
    leaves = jax.tree_util.tree_leaves_with_path(moved)
    assert len(leaves) == sum(name.startswith("after ") for name in golden)
    for tree_path, leaf in leaves:
        name = name_in_torch([entry.key for entry in tree_path], layout)
        errors[name] = measure_error(leaf, golden[f"after {name}"])
    return errors


@pytest.mark.parametrize(("name", "width", "conv_form"), CASES)
def test_double_precision_agrees_with_pytorch(name, width, conv_form, tmp_path):
    golden = load_golden(name, width)
    with jax.enable_x64(True):
        model = build(name, width, conv_form, golden)
        errors = measure_errors(model, golden, tmp_path / "net.npz", jnp.float64, np.inf)
    assert max(errors.values()) < DOUBLE_BOUND, errors


@pytest.mark.parametrize(("name", "width", "conv_form"), SINGLE_CASES)
def test_single_precision_agrees_with_pytorch(name, width, conv_form, tmp_path):
    golden = load_golden(name, width)
    model = build(name, width, conv_form, golden)
    errors = measure_errors(model, golden, tmp_path / "net.npz", jnp.float32, 2)
    gradients = {key: errors.pop(key) for key in ("eval gradient", "train gradient")}
    assert max(errors.values()) < SINGLE_BOUND, errors
    assert max(gradients.values()) < SINGLE_GRADIENT_BOUND, gradients
