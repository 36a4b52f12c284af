"""The contract of every network, and both forms of convolution."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_variables import draw_params, draw_state

from phase_jax.losses import cross_entropy
from phase_jax.models import build_model, fingerprint_parameters
from phase_jax.models.build import MIN_SIDES, resolve_conv_form
from phase_jax.models.convolution import convolve, max_pool
from phase_jax.sweep import map_lanes
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.models import Model


MODELS = {
    "mlp": ("mlp", {"widths": (7, 5)}),
    "linear": ("mlp", {"widths": ()}),
    "mnist_cnn, lax": ("mnist_cnn", {"hidden": 6, "conv_form": "lax"}),
    "mnist_cnn, matmul": ("mnist_cnn", {"hidden": 6, "conv_form": "matmul"}),
    "mnist_cnn_small, lax": ("mnist_cnn_small", {"hidden": 6, "conv_form": "lax"}),
    "mnist_cnn_small, matmul": ("mnist_cnn_small", {"hidden": 6, "conv_form": "matmul"}),
    "preactresnet10, matmul": ("preactresnet10", {"width": 2, "conv_form": "matmul"}),
    "wideresnet10, lax": ("wideresnet10", {"width": 1, "conv_form": "lax"}),
}
WITH_BATCH_NORM = ("preactresnet10, matmul", "wideresnet10, lax")
INPUT_SHAPE = (9, 8, 2)
NUM_CLASSES = 4
LABELS = np.array([0, 3, 1])
KEY = jax.random.key(5)


def draw_images(shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


IMAGES = draw_images((len(LABELS), *INPUT_SHAPE))


class Network(NamedTuple):
    """A network of the table; its two functions fail when they are traced a second time."""

    model: Model
    params: Any
    state: Any
    apply_fn: Callable[..., Any]
    differentiate_fn: Callable[..., Any]


@functools.cache
def build_network(row, input_shape=INPUT_SHAPE):
    name, options = MODELS[row]
    model = build_model(name, num_classes=NUM_CLASSES, input_shape=input_shape, **options)

    state = draw_state(model)

    def apply(params, images):
        return model.apply(params, state, images, train=False)[0]

    differentiate_fn = functools.partial(differentiate, model, state)
    return Network(
        model, draw_params(model), state, trace_once(apply), trace_once(differentiate_fn)
    )


def differentiate(model, state, params, images):
    """Mean loss, and its gradients with respect to parameters and images."""

    def loss_fn(params, images):
        logits, _ = model.apply(params, state, images, train=True)
        return cross_entropy(logits, LABELS).mean()

    return jax.value_and_grad(loss_fn, argnums=(0, 1))(params, images)


def trace_once(fn):
    traces = []

    @jax.jit
    def compiled(*arguments):
        traces.append(arguments)
        assert len(traces) == 1, "compiled again"
        return fn(*arguments)

    return compiled


def take(tree, places):
    return jax.tree.map(lambda leaf: leaf[places], tree)


def assert_trees_equal(tree, expected):
    jax.tree.map(np.testing.assert_array_equal, tree, expected)


def assert_trees_close(tree, expected, *, rtol, atol):
    check = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol)
    jax.tree.map(check, tree, expected)


# The contract: every network.


ROWS = [pytest.param(row, marks=[pytest.mark.slow] * (row in WITH_BATCH_NORM)) for row in MODELS]


@pytest.fixture(scope="module", params=ROWS)
def network(request):
    return build_network(request.param)


def test_logits_have_one_row_per_image_and_single_precision(network):
    _, params, _, apply_fn, _ = network
    logits = apply_fn(params, IMAGES)
    assert logits.shape == (len(IMAGES), NUM_CLASSES)
    assert logits.dtype == jnp.float32
    assert np.all(np.isfinite(logits))
    assert np.std(logits) > 0


def test_compiled_network_equals_the_eager_one(network):
    model, params, state, apply_fn, _ = network
    eager, _ = model.apply(params, state, IMAGES, train=False)
    np.testing.assert_allclose(apply_fn(params, IMAGES), eager, rtol=1e-5, atol=1e-6)


def test_other_parameters_and_images_do_not_compile_again(network):
    model, params, _, apply_fn, _ = network  # fails when it is traced a second time
    first = apply_fn(params, IMAGES)
    second = apply_fn(draw_params(model, seed=3), 1 - IMAGES)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("row", ["linear", "mnist_cnn_small, matmul"])  # has every kind of layer
def test_parameters_are_a_function_of_the_key(row):
    init_fn = jax.jit(build_network(row).model.init)
    (params, _), (again, _), (other, _) = map(init_fn, (KEY, KEY, jax.random.key(6)))
    assert_trees_equal(params, again)
    assert not jax.tree.all(jax.tree.map(np.array_equal, params, other))


@pytest.mark.parametrize("row", [row for row in MODELS if row not in WITH_BATCH_NORM])
def test_state_is_empty_and_training_changes_nothing(row):
    model, params, *_ = build_network(row)
    assert not model.has_batch_statistics
    assert jax.eval_shape(model.init, KEY)[1] == {}
    logits, state = model.apply(params, {}, IMAGES, train=False)
    training_logits, training_state = model.apply(params, {}, IMAGES, train=True, key=KEY)
    assert state == training_state == {}
    np.testing.assert_array_equal(logits, training_logits)


def test_logits_of_an_image_do_not_depend_on_the_others(network):
    _, params, _, apply_fn, _ = network
    others = np.concatenate([IMAGES[:1], 1 - IMAGES[1:]])
    logits, other_logits = apply_fn(params, IMAGES), apply_fn(params, others)
    np.testing.assert_array_equal(logits[0], other_logits[0])
    assert not np.array_equal(logits[1], other_logits[1])


def test_lane_among_others_equals_the_lane_alone_at_equal_width(network):
    model, _, state, _, differentiate_fn = network
    params = [draw_params(model, seed) for seed in range(3)]
    lanes = (
        jax.tree.map(lambda *leaves: np.stack(leaves), *params),
        np.stack([IMAGES, 1 - IMAGES, IMAGES[::-1]]),
    )
    mapped = jax.jit(map_lanes(functools.partial(differentiate, model, state), width=2))
    together = mapped(*lanes)
    for place in range(3):
        copies = mapped(*take(lanes, np.full(3, place)))
        assert_trees_equal(take(copies, place), take(together, place))
        unmapped = differentiate_fn(*take(lanes, place))
        assert_trees_close(take(together, place), unmapped, rtol=1e-4, atol=1e-6)


# Numbers of parameters, counted by hand: weights and biases, layer after layer.

CNN_KERNELS = (9 * 1 * 32 + 32) + (9 * 32 * 64 + 64)  # then 28 - 2 - 2 = 24, pooled 12
SMALL_KERNELS = (16 * 1 * 16 + 16) + (16 * 16 * 32 + 32)  # then 28 / 2 / 2 = 7
COUNTS = [
    ("mlp", {}, (784 * 64 + 64) + (64 * 64 + 64) + (64 * 10 + 10)),
    ("mlp", {"widths": (16,)}, (784 * 16 + 16) + (16 * 10 + 10)),
    ("mlp", {"widths": ()}, 784 * 10 + 10),
    ("mnist_cnn", {}, CNN_KERNELS + (12 * 12 * 64 * 128 + 128) + (128 * 10 + 10)),
    ("mnist_cnn", {"hidden": 16}, CNN_KERNELS + (12 * 12 * 64 * 16 + 16) + (16 * 10 + 10)),
    ("mnist_cnn_small", {}, SMALL_KERNELS + (1568 * 128 + 128) + (128 * 10 + 10)),
    ("mnist_cnn_small", {"hidden": 16}, SMALL_KERNELS + (1568 * 16 + 16) + (16 * 10 + 10)),
]


@pytest.mark.parametrize("conv_form", ["lax", "matmul"])
@pytest.mark.parametrize(("name", "options", "num_parameters"), COUNTS)
def test_number_of_parameters_is_the_one_counted_by_hand(name, options, num_parameters, conv_form):
    forms = {} if name == "mlp" else {"conv_form": conv_form}
    model = build_model(name, num_classes=10, input_shape=(28, 28, 1), **options, **forms)
    params, _ = jax.eval_shape(model.init, KEY)
    assert fingerprint_parameters(params)["num_parameters"] == num_parameters


def test_parameters_counted_by_hand_add_up_to_the_published_numbers():
    assert [count for _, _, count in COUNTS[3:]] == [1_199_882, 166_458, 210_618, 33_770]


def test_mlp_is_a_chain_of_affine_maps_and_relus():
    model, params, _, apply_fn, _ = build_network("mlp")
    x = IMAGES.reshape(len(IMAGES), -1).astype(np.float64)
    for place in range(3):
        layer = params[f"Dense_{place}"]
        x = x @ np.float64(layer["kernel"]) + np.float64(layer["bias"])
        x = np.maximum(x, 0) if place < 2 else x
    np.testing.assert_allclose(apply_fn(params, IMAGES), x, rtol=1e-5, atol=1e-6)
    assert model.name == "mlp(7,5)"


# Both forms of convolution.


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding"),
    [
        *((1, 1, 0), (3, 1, 0), (2, 1, 1), (4, 2, 0), (4, 2, 1), (6, 3, 2)),
        *((1, 2, 0), (3, 2, 1), (3, 2, 0), (5, 3, 1), (2, 3, 0), (4, 3, 2)),  # no multiples
    ],
)
@pytest.mark.parametrize("channels", [3, 8])  # as a product, and composed
def test_both_forms_of_convolution_are_equal(channels, kernel_size, stride, padding):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 10, 11, channels))
    kernel = rng.normal(size=(kernel_size, kernel_size, channels, 4))

    @functools.partial(jax.jit, static_argnames="form")
    def convolve_and_pull_back(x, kernel, form):
        convolve_fn = functools.partial(convolve, stride=stride, padding=padding, form=form)
        values, pull_back = jax.vjp(convolve_fn, x, kernel)
        return values, pull_back(jnp.sin(values))

    with jax.enable_x64(True):
        expected, results = (convolve_and_pull_back(x, kernel, form) for form in ("lax", "matmul"))
        assert_trees_close(results, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("sides", "window"), [((4, 6), 2), ((7, 5), 2), ((9, 8), 3)])
def test_max_pool_is_that_of_flax_with_its_gradient(sides, window):
    rng = np.random.default_rng(0)
    x = rng.integers(-2, 3, size=(3, *sides, 2)).astype(np.float32)  # with ties

    def pool_both(x, pool):
        values, pull_back = jax.vjp(pool, x)
        return values, pull_back(jnp.cos(values) + jnp.arange(values.size).reshape(values.shape))

    def expected(x):
        return nn.max_pool(x, (window, window), (window, window))

    assert_trees_equal(
        pool_both(x, functools.partial(max_pool, window=window)), pool_both(x, expected)
    )
    for place in np.ndindex(window, window):
        marked = x.copy()
        marked[0, place[0], place[1], 0] = np.nan
        values = max_pool(marked, window)
        assert np.isnan(values[0, 0, 0, 0])
        assert np.isnan(values).sum() == 1


@pytest.mark.parametrize("input_shape", [INPUT_SHAPE, (27, 29, 3)], ids=str)
@pytest.mark.parametrize("name", ["mnist_cnn", "mnist_cnn_small"])
def test_network_of_products_equals_the_one_of_xla(name, input_shape):
    images = draw_images((len(LABELS), *input_shape))
    lax, matmul = (build_network(f"{name}, {form}", input_shape) for form in ("lax", "matmul"))
    assert_trees_equal(lax.params, matmul.params)
    expected, results = (net.differentiate_fn(lax.params, images) for net in (lax, matmul))
    assert_trees_close(results, expected, rtol=1e-4, atol=1e-6)


def test_automatic_form_depends_on_the_machine():
    expected = "matmul" if jax.default_backend() == "cpu" else "lax"
    assert resolve_conv_form("auto") == expected


# Fingerprints.


def test_fingerprint_depends_on_paths_shapes_and_types_but_not_on_values():
    params = {"a": jnp.zeros((2, 3)), "b": jnp.zeros(3)}
    fingerprint = fingerprint_parameters(params)
    assert fingerprint["num_parameters"] == 9
    same = [jax.tree.map(lambda leaf: leaf + 1, params), jax.eval_shape(lambda: params)]
    other = [
        params | {"a": jnp.zeros((3, 2))},
        params | {"b": jnp.zeros(3, jnp.bfloat16)},
        {"a": params["a"], "c": params["b"]},
    ]
    assert all(fingerprint_parameters(tree) == fingerprint for tree in same)
    hashes = {fingerprint_parameters(tree)["sha256"] for tree in (params, *other)}
    assert len(hashes) == 4


# Bad arguments.


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("model", {"name": "resnet"}),
        ("model", {"name": "two\nlines"}),
        ("model option", {"name": "mlp", "hidden": 16}),
        ("model option", {"name": "mnist_cnn", "widths": (16,)}),
        ("model option", {"name": "mnist_cnn_small", "num_layers": 2}),
        ("conv_form", {"name": "mnist_cnn", "conv_form": "fft"}),
        ("model", {"name": "mnist_cnn", "input_shape": (28, 28)}),
        ("model", {"name": "mnist_cnn", "input_shape": (784,)}),
        ("model", {"name": "mnist_cnn", "input_shape": (5, 28, 1)}),
        ("model", {"name": "mnist_cnn_small", "input_shape": (28, 3, 1)}),
    ],
)
def test_bad_argument_is_named_in_one_line(field, arguments):
    with pytest.raises(InputError, match=rf"\A{field}: [^\n]*\Z"):
        build_model(**{"num_classes": 10, "input_shape": (28, 28, 1)} | arguments)


@pytest.mark.parametrize("conv_form", ["lax", "matmul"])
@pytest.mark.parametrize(
    "name", [name for name in MIN_SIDES if "34" not in name and "18" not in name]
)
def test_smallest_images_allowed_reach_the_logits(name, conv_form):
    shape = (MIN_SIDES[name], MIN_SIDES[name], 1)
    sizes = {"hidden": 32} if name.startswith("mnist") else {"width": 2}
    model = build_model(name, num_classes=4, input_shape=shape, conv_form=conv_form, **sizes)
    params, state = draw_params(model), draw_state(model)
    assert all(leaf.size for leaf in jax.tree.leaves(params))
    logits, _ = model.apply(params, state, draw_images((2, *shape)), train=False)
    assert np.std(logits, axis=0).min() > 0


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("mlp", {"widths": (0,)}, "widths"),
        ("mlp", {"widths": ("a",)}, "widths"),
        ("mnist_cnn", {"hidden": 0}, "hidden"),
        ("mnist_cnn_small", {"hidden": -1}, "hidden"),
        ("mnist_cnn_small", {"hidden": 1.5}, "hidden"),
    ],
)
def test_sizes_below_one_are_named_in_one_line(name, options, named):
    with pytest.raises(InputError, match=rf"\A{named}: [^\n]*allowed[^\n]*\Z"):
        build_model(name, num_classes=10, input_shape=(28, 28, 1), **options)


def test_one_width_needs_no_tuple():
    model = build_model("mlp", num_classes=10, input_shape=(4, 4, 1), widths=16)
    assert model.name == "mlp(16)"
