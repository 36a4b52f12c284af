"""Weights of PyTorch networks brought in as arrays: what is accepted, what is refused."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from goldens.drawn_weights import draw_state_dict

from phase_jax.attacks import make_attack
from phase_jax.losses import VANILLA
from phase_jax.models import build_model, load_torch_parameters
from phase_jax.models.torch_import import name_in_torch
from phase_jax.training.evaluate import make_evaluate
from phase_jax.types import InputError

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
LAYOUTS = {"preactresnet": "preactresnet10", "wideresnet": "wideresnet10"}
NUM_STATISTICS = {"preactresnet": 2 * 9, "wideresnet": 2 * 7}


def build(layout, **options):
    options = {"num_classes": 4, "width": 1, "conv_form": "lax"} | options
    return build_model(LAYOUTS[layout], input_shape=(8, 8, 3), **options)


def list_shapes(layout):
    """Names and shapes of the state dict of a network of width 1, written by hand."""
    wide = layout == "wideresnet"
    stages = (16, 32, 64) if wide else (1, 2, 4, 8)
    inputs = stages[0]
    shapes = {"conv1.weight": (inputs, 3, 3, 3)}

    def add_norm(name, channels):
        for entry in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{entry}"] = (channels,)

    for stage, features in enumerate(stages, start=1):
        block = f"block{stage}.layer.0" if wide else f"layer{stage}.0"
        add_norm(f"{block}.bn1", inputs)
        shapes[f"{block}.conv1.weight"] = (features, inputs, 3, 3)
        add_norm(f"{block}.bn2", features)
        shapes[f"{block}.conv2.weight"] = (features, features, 3, 3)
        if stage > 1:
            name = f"{block}.convShortcut" if wide else f"{block}.shortcut.0"
            shapes[f"{name}.weight"] = (features, inputs, 1, 1)
        inputs = features
    add_norm("bn1" if wide else "bn", inputs)
    linear = "fc" if wide else "linear"
    return shapes | {f"{linear}.weight": (4, inputs), f"{linear}.bias": (4,)}


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return request.param


@pytest.fixture
def save(tmp_path):
    def save_arrays(arrays):
        np.savez(tmp_path / "net.npz", **arrays)
        return tmp_path / "net.npz"

    return save_arrays


def test_every_array_lands_where_its_name_says(layout, save):
    arrays = draw_state_dict(list_shapes(layout))
    params, state = load_torch_parameters(save(arrays), build(layout))
    leaves = jax.tree_util.tree_leaves_with_path((params, state["batch_stats"]))
    assert len(leaves) == len(arrays)
    for path, leaf in leaves:
        array = arrays.pop(name_in_torch([entry.key for entry in path[1:]], layout))
        ours = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        np.testing.assert_array_equal(leaf, ours.astype(np.float32))
    assert not arrays


def test_loaded_trees_are_those_of_the_network(layout, save):
    model = build(layout)
    loaded = load_torch_parameters(save(draw_state_dict(list_shapes(layout))), model)
    expected = jax.eval_shape(model.init, jax.random.key(0))
    assert jax.tree.structure(loaded) == jax.tree.structure(expected)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), loaded) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), expected
    )
    assert len(jax.tree.leaves(loaded[1])) == NUM_STATISTICS[layout]


def test_prefix_counters_unused_parts_and_equal_pixel_statistics_do_not_matter(layout, save):
    arrays = draw_state_dict(list_shapes(layout))
    plain = load_torch_parameters(save(arrays), build(layout))
    norms = [name.removesuffix("running_var") for name in arrays if name.endswith("running_var")]
    arrays |= {f"{norm}num_batches_tracked": np.array(3) for norm in norms}
    arrays |= {"mu": np.reshape(MEAN, (1, 3, 1, 1)), "sigma": np.reshape(STD, (1, 3, 1, 1))}
    arrays |= {"sub_block1.layer.0.conv1.weight": np.zeros((16, 16, 3, 3))}
    path = save({f"module.{name}": array for name, array in arrays.items()})
    wrapped = load_torch_parameters(path, build(layout, mean=MEAN, std=STD))
    jax.tree.map(np.testing.assert_array_equal, plain, wrapped)


def test_loaded_network_can_be_evaluated_as_a_clean_model(save):
    model = build("preactresnet")
    path = save(draw_state_dict(list_shapes("preactresnet")))
    params, state = load_torch_parameters(path, model)
    attack = make_attack(
        "pgd", norm="linf", num_steps=2, step_length=0.5, step_rule="relative", random_start=True
    )
    evaluate = make_evaluate(model, VANILLA, attack, batch_size=4, pixel_scale=255.0)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (6, 8, 8, 3), np.uint8), rng.integers(0, 4, 6)
    result = jax.jit(evaluate)(params, state, images, labels, jax.random.key(0), 0.05)
    assert np.all(np.isfinite(result.loss))
    assert np.mean(result.loss) > np.mean(result.clean_loss)


def change(name, array):
    def apply(arrays):
        arrays[name] = array

    return apply


@pytest.mark.parametrize(
    ("change_fn", "named"),
    [
        (lambda arrays: arrays.pop("linear.bias"), r"linear\.bias is missing"),
        (lambda arrays: arrays.pop("layer2.0.bn1.running_var"), r"running_var is missing"),
        (lambda arrays: arrays.pop("layer1.0.conv1.weight"), "no known layout"),
        (lambda arrays: arrays.clear(), "no known layout"),
        (change("layer5.0.conv1.weight", np.zeros(3)), r"layer5.* is not part of preactresnet10"),
        (change("linear.weight", np.zeros((8, 4))), r"has shape \[8, 4\]; allowed: \[4, 8\]"),
        (change("linear.bias", np.zeros((4, 1))), r"has shape \[4, 1\]; allowed: \[4\]"),
        (change("conv1.weight", np.zeros((3, 3, 3, 1))), r"allowed: \[1, 3, 3, 3\]"),
        (change("linear.bias", np.full(4, np.nan)), "allowed: finite floats"),
        (change("linear.bias", np.zeros(4, np.int64)), "type int64; allowed: finite floats"),
        (change("linear.bias", np.array([None] * 4)), "not a file of plain arrays"),
        (change("mu", np.zeros(3)), None),
        (change("mu", np.array([0.4, 0.5, 0.6])), "mu is .* standardises pixels with nothing"),
        (change("sigma", np.array([0.2, 0.2, 0.2])), "sigma is .* with nothing"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(change_fn, named, save):
    arrays = draw_state_dict(list_shapes("preactresnet"))
    change_fn(arrays)
    path = save(arrays)
    if named is None:
        load_torch_parameters(path, build("preactresnet"))
        return
    with pytest.raises(InputError, match=rf"\A[^\n]*net\.npz: [^\n]*{named}[^\n]*\Z"):
        load_torch_parameters(path, build("preactresnet"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"", "not a file of"), (b"\x80\x04K\x01.", "not a file of")],
)
def test_files_that_are_no_arrays_are_refused_unread(content, reason, tmp_path):
    path = tmp_path / "net.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"\A[^\n]*{reason}[^\n]*\Z"):
        load_torch_parameters(path, build("wideresnet"))


def test_single_array_and_foreign_archives_are_refused(tmp_path):
    import zipfile

    np.save(tmp_path / "one.npy", np.zeros(3))
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
    for name in ("one.npy", "net.pt"):
        with pytest.raises(InputError, match=r"\A[^\n]*not a file of plain arrays[^\n]*\Z"):
            load_torch_parameters(tmp_path / name, build("wideresnet"))
