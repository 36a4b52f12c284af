"""Residual networks: sizes, BatchNorm over the examples that count, types, pixel statistics."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_variables import draw_params, draw_state
from small_problem import random_dataset, small_config

from phase_jax.data import PIXEL_STATISTICS
from phase_jax.models import build_model, fingerprint_parameters, standardise_pixels, wrap_linen
from phase_jax.models.batch_norm import BatchNorm, compute_moments
from phase_jax.models.residual import PreActivationBlock
from phase_jax.sweep.setup import prepare_model
from phase_jax.types import InputError

KEY = jax.random.key(0)
NUM_COUNTED = 5
WEIGHTS = np.array([1, 1, 0, 1, 0, 1, 1], np.float32)
RNG = np.random.default_rng(3)
MAPS = RNG.normal(3, 2, (len(WEIGHTS), 4, 3, 6)).astype(np.float32)
COUNTED = MAPS[WEIGHTS == 1]


def small(name="preactresnet10", **options):
    options = {"width": 2, "conv_form": "lax", "num_classes": 4} | options
    return build_model(name, input_shape=(8, 8, 3), **options)


# Sizes, as published or counted by hand: convolutions, two numbers a channel of BatchNorm, linear.


def count_by_hand(stem, stages, num_blocks):
    total, inputs = 27 * stem, stem
    for stage, features in enumerate(stages):
        for place in range(num_blocks):
            changes = (stage > 0 and place == 0) or inputs != features
            total += 2 * inputs + 9 * inputs * features + 2 * features + 9 * features * features
            total += inputs * features * changes
            inputs = features
    return total + 2 * inputs + inputs * 10 + 10


@pytest.mark.parametrize(
    ("name", "width", "stem", "stages", "num_blocks", "published"),
    [
        ("preactresnet18", None, 64, (64, 128, 256, 512), 2, 11_172_170),
        ("wideresnet34", None, 16, (160, 320, 640), 5, 46_160_474),
        ("wideresnet34", 1, 16, (16, 32, 64), 5, 466_714),
        ("wideresnet34", 3, 16, (48, 96, 192), 5, None),
        ("preactresnet10", 8, 8, (8, 16, 32, 64), 1, None),
        ("wideresnet10", 2, 16, (32, 64, 128), 1, None),
    ],
)
def test_number_of_parameters(name, width, stem, stages, num_blocks, published):
    expected = count_by_hand(stem, stages, num_blocks)
    assert published in (None, expected)
    model = build_model(name, num_classes=10, input_shape=(32, 32, 3), width=width)
    params, state = jax.eval_shape(model.init, KEY)
    assert fingerprint_parameters(params)["num_parameters"] == expected
    assert {leaf.dtype for leaf in jax.tree.leaves((params, state))} == {jnp.dtype("float32")}
    assert set(state) == {"batch_stats"}
    assert model.has_batch_statistics
    assert model.name == f"{name}({width or {'p': 64, 'w': 10}[name[0]]})"


def test_shortcut_has_a_kernel_only_where_the_shape_changes():
    params, _ = jax.eval_shape(small("wideresnet10", width=1).init, KEY)
    has_kernel = [f"stage{i}_block0" for i in (1, 2, 3) if "shortcut" in params[f"stage{i}_block0"]]
    assert has_kernel == ["stage2_block0", "stage3_block0"]
    assert "bias" not in params["stem"]


def test_kernels_are_drawn_for_the_fan_out_and_the_last_bias_is_zero():
    block = PreActivationBlock(64, stride=2, conv_form="lax")
    params = block.init(KEY, jnp.zeros((1, 4, 4, 32)), train=False, weights=None)["params"]
    for layer, size in (("conv1", 3), ("conv2", 3), ("shortcut", 1)):
        kernel = np.asarray(params[layer]["kernel"])
        expected = np.sqrt(2 / (size * size * 64))
        standard_error = expected / np.sqrt(2 * kernel.size)
        assert abs(kernel.std() - expected) < 4 * standard_error, layer
    linear = jax.jit(lambda key: small().init(key)[0]["linear"])(KEY)
    assert not np.any(linear["bias"])
    assert 0.5 * 16**-0.5 < np.abs(linear["kernel"]).max() <= 16**-0.5


# BatchNorm.


def run_batch_norm(x, weights=None, *, train=True, dtype=jnp.float32):
    """Normalise; return the result and the statistics afterwards."""
    layer = BatchNorm()
    channels = x.shape[-1]
    params = {"scale": jnp.linspace(0.5, 2, channels), "bias": jnp.linspace(-1, 1, channels)}
    state = {"mean": jnp.linspace(-2, 2, channels), "var": jnp.linspace(0.5, 3, channels)}
    variables = {"params": params, "batch_stats": state}
    call = functools.partial(layer.apply, variables, jnp.asarray(x, dtype), train=train)
    out, changed = call(weights=weights, mutable=["batch_stats"])
    return out, changed["batch_stats"], params, state


def test_batch_norm_normalises_with_the_biased_and_stores_the_unbiased_variance():
    out, moved, params, state = run_batch_norm(MAPS)
    mean, var = MAPS.mean((0, 1, 2)), MAPS.var((0, 1, 2))
    expected = (MAPS - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["bias"]
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    unbiased = MAPS.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(moved["mean"], 0.9 * state["mean"] + 0.1 * mean, rtol=1e-6)
    np.testing.assert_allclose(moved["var"], 0.9 * state["var"] + 0.1 * unbiased, rtol=1e-6)


def test_batch_norm_in_evaluation_uses_and_keeps_the_running_statistics():
    out, kept, params, state = run_batch_norm(MAPS, train=False)
    jax.tree.map(np.testing.assert_array_equal, kept, state)
    expected = (MAPS - state["mean"]) / np.sqrt(state["var"] + 1e-5)
    expected = expected * params["scale"] + params["bias"]
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def test_examples_that_do_not_count_change_nothing():
    out, moved, _, _ = run_batch_norm(MAPS, WEIGHTS)
    alone, moved_alone, _, _ = run_batch_norm(COUNTED)
    np.testing.assert_allclose(out[WEIGHTS == 1], alone, rtol=1e-5, atol=1e-6)
    for name, values in moved_alone.items():
        np.testing.assert_allclose(moved[name], values, rtol=1e-6)
    other = np.where(WEIGHTS[:, None, None, None] == 1, MAPS, 100 - MAPS)
    out_other, moved_other, _, _ = run_batch_norm(other, WEIGHTS)
    np.testing.assert_array_equal(out_other[WEIGHTS == 1], out[WEIGHTS == 1])
    jax.tree.map(np.testing.assert_array_equal, moved_other, moved)


def test_all_weights_one_are_no_weights():
    out, moved, _, _ = run_batch_norm(MAPS, np.ones(len(MAPS), np.float32))
    expected, moved_expected, _, _ = run_batch_norm(MAPS)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    for name, values in moved_expected.items():
        np.testing.assert_allclose(moved[name], values, rtol=1e-6)


def test_where_no_example_counts_the_running_statistics_stand_in_and_stay():
    out, kept, _, state = run_batch_norm(MAPS, np.zeros(len(MAPS), np.float32))
    jax.tree.map(np.testing.assert_array_equal, kept, state)
    expected, *_ = run_batch_norm(MAPS, train=False)
    np.testing.assert_array_equal(out, expected)
    gradient = jax.grad(lambda x: run_batch_norm(x, jnp.zeros(len(MAPS)))[0].sum())(MAPS)
    assert np.all(np.isfinite(gradient))


def test_one_value_a_channel_gives_no_division_by_zero():
    out, moved, params, _ = run_batch_norm(MAPS[:1, :1, :1])
    np.testing.assert_allclose(out[0, 0, 0], params["bias"], rtol=1e-6)
    assert np.all(np.isfinite(moved["var"]))


def test_variance_survives_a_large_mean():
    shifted = (MAPS + 1e4).astype(np.float32)
    exact = shifted.astype(np.float64)
    for weights in (None, np.ones(len(MAPS), np.float32)):
        _, mean, var = compute_moments(jnp.asarray(shifted), weights)
        np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-6)
        np.testing.assert_allclose(var, exact.var((0, 1, 2)), rtol=1e-3)


def test_lanes_have_their_own_statistics():
    lanes = jnp.stack([MAPS, 2 * MAPS + 1, -MAPS])
    weights = jnp.stack([WEIGHTS, 1 - WEIGHTS, jnp.ones_like(WEIGHTS)])
    out, moved, *_ = jax.vmap(run_batch_norm)(lanes, weights)
    for place in range(3):
        alone, moved_alone, *_ = run_batch_norm(lanes[place], weights[place])
        np.testing.assert_allclose(out[place], alone, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(moved["var"][place], moved_alone["var"], rtol=1e-5)


# The whole network.


def test_weights_of_a_batch_reach_every_layer():
    model = small()
    params, state = draw_params(model), draw_state(model)
    images = RNG.uniform(size=(len(WEIGHTS), 8, 8, 3)).astype(np.float32)
    apply_fn = jax.jit(functools.partial(model.apply, train=True))
    logits, moved = apply_fn(params, state, images, weights=WEIGHTS)
    alone, moved_alone = apply_fn(params, state, images[WEIGHTS == 1])
    np.testing.assert_allclose(logits[WEIGHTS == 1], alone, rtol=1e-3, atol=1e-4)
    check = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
    jax.tree.map(check, moved, moved_alone)
    assert jax.tree.all(jax.tree.map(lambda a, b: not np.array_equal(a, b), moved, state))


def test_bfloat16_computes_in_half_and_keeps_all_else_in_single_precision():
    images = RNG.uniform(size=(4, 8, 8, 3)).astype(np.float32)
    half, single = small(dtype="bfloat16"), small()
    params, state = draw_params(single), draw_state(single)
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), jax.eval_shape(half.init, KEY))
    assert shapes == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (params, state))

    def loss_fn(params, images):
        logits, moved = half.apply(params, state, images, train=True)
        return (logits**2).mean(), (logits, moved)

    grads, (logits, moved) = jax.jit(jax.grad(loss_fn, argnums=(0, 1), has_aux=True))(
        params, images
    )
    types = {leaf.dtype for leaf in jax.tree.leaves((grads, logits, moved))}
    assert types == {jnp.dtype("float32")}
    expected, _ = jax.jit(functools.partial(single.apply, train=True))(params, state, images)
    error = np.linalg.norm(logits - expected) / np.linalg.norm(expected)
    assert 0 < error < 0.1  # 8 bits of mantissa, seven layers
    program = str(jax.make_jaxpr(functools.partial(half.apply, train=False))(params, state, images))
    convolutions = [line for line in program.splitlines() if "= conv_general_dilated" in line]
    in_half = [line for line in convolutions if ":bf16[" in line.split("=")[0]]
    assert len(convolutions) - len(in_half) == 1  # the first
    assert half.name == "preactresnet10(2,bfloat16)"


# Pixels are standardised inside the network.


def test_pixel_statistics_are_applied_inside_and_recorded():
    mean, std = PIXEL_STATISTICS["cifar10"]
    plain, inside = small(), small(mean=mean, std=std)
    assert plain.pixel_statistics is None
    assert inside.pixel_statistics == (mean, std)
    params, state = draw_params(plain), draw_state(plain)
    images = RNG.uniform(size=(3, 8, 8, 3)).astype(np.float32)
    logits, _ = jax.jit(functools.partial(inside.apply, train=False))(params, state, images)
    scaled = ((images - np.float32(mean)) / np.float32(std)).astype(np.float32)
    expected, _ = jax.jit(functools.partial(plain.apply, train=False))(params, state, scaled)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_pixel_statistics_serve_any_network():
    model = standardise_pixels(wrap_linen(BatchNorm(), (2, 2, 1)), mean=(0.5,), std=(0.25,))
    params, state = model.init(KEY)
    out, _ = model.apply(params, state, jnp.ones((1, 2, 2, 1)), train=False)
    np.testing.assert_allclose(out, 2.0 / np.sqrt(1 + 1e-5), rtol=1e-6)


@pytest.mark.parametrize(
    ("data", "model", "expected"),
    [
        ("cifar10", {}, PIXEL_STATISTICS["cifar10"]),
        ("cifar10", {"normalise": False}, None),
        ("cifar10", {"name": "mnist_cnn_small"}, None),
        ("custom", {}, None),
    ],
)
def test_sweep_takes_pixel_statistics_from_the_name_of_the_data(data, model, expected):
    dataset = dataclasses.replace(random_dataset(shape=(8, 8, 3)), name=data)
    options = {"name": "preactresnet10", "width": 2, "dtype": "bfloat16"} | model
    network = prepare_model(small_config(model=options), dataset, None)
    assert network.pixel_statistics == expected
    assert network.name in ("preactresnet10(2,bfloat16)", "mnist_cnn_small(128)")


@pytest.mark.parametrize("name", PIXEL_STATISTICS)
def test_pixel_statistics_of_data_sets_are_of_three_channels(name):
    mean, std = PIXEL_STATISTICS[name]
    assert len(mean) == len(std) == 3
    assert all(0 < value < 1 for value in (*mean, *std))


@pytest.mark.parametrize(
    ("named", "options"),
    [
        ("width", {"width": 0}),
        ("width", {"width": 1.5}),
        ("dtype", {"dtype": "float16"}),
        ("conv_form", {"conv_form": "fft"}),
        ("model option", {"hidden": 3}),
        ("mean", {"mean": (0.5,), "std": (0.5,)}),
        ("mean", {"std": (0.5, 0.5, 0.5)}),
        ("std", {"mean": (0.5, 0.5, 0.5)}),
        ("std", {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.0, 0.5)}),
    ],
)
def test_bad_options_are_named_in_one_line(named, options):
    with pytest.raises(InputError, match=rf"\A{named}: [^\n]*allowed[^\n]*\Z"):
        small(**options)


def test_images_must_have_three_axes():
    with pytest.raises(InputError, match=r"\Amodel: [^\n]*\[8, 8\]\Z"):
        build_model("preactresnet18", num_classes=10, input_shape=(8, 8))
