"""Bring the weights of a PyTorch residual network in, as arrays: nothing is ever unpickled.

Where PyTorch is installed, a checkpoint becomes a file for this module by

    state = torch.load("checkpoint.pt", weights_only=True, map_location="cpu")
    numpy.savez("checkpoint.npz", **{name: tensor.numpy() for name, tensor in state.items()})

(`state` may sit one level deeper in the checkpoint, under a name such as `state_dict`).

Two layouts of names are known, each with or without a leading `module.`: that of PreActResNet18 in
the robust overfitting code (`layer1.0.conv1.weight`), and that of WideResNet in the TRADES code
(`block1.layer.0.conv1.weight`); RobustBench has both. What says nothing about the function is left
out: BatchNorm's `num_batches_tracked`, and `sub_block1`, which the TRADES code declares and never
uses. Pixel statistics in the file (`mu`, `sigma`) must be those of the network.
"""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.types import InputError

if TYPE_CHECKING:
    import os

    from phase_jax.models.interface import Model

LAYOUTS = {
    "preactresnet": {
        "stage": r"layer\1.\2",
        "shortcut": "shortcut.0",
        "norm": "bn",
        "linear": "linear",
    },
    "wideresnet": {
        "stage": r"block\1.layer.\2",
        "shortcut": "convShortcut",
        "norm": "bn1",
        "linear": "fc",
    },
}
FIRST_BLOCKS = {
    "preactresnet": "layer1.0.conv1.weight",
    "wideresnet": "block1.layer.0.conv1.weight",
}
LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
SILENT = re.compile(r"(^|\.)num_batches_tracked$|^sub_block1\.")
PIXEL_STATISTICS = ("mu", "sigma")
TOLERANCE = 1e-3  # of pixel statistics, which codes round


def load_torch_parameters(path: str | os.PathLike[str], model: Model) -> tuple[Any, Any]:
    """Load the parameters and BatchNorm statistics of a residual network from a PyTorch state dict.

    Args:
      path: An `.npz` file with one array per entry of the state dict, under the entry's name.
      model: The network that they belong to, of `build_model`: same architecture, width, classes.

    Returns:
      Its parameters and its state, as `model.init` would return them.

    Raises:
      InputError: The file cannot be read or holds anything but arrays, its names fit no layout, an
        entry is missing, unexpected, of another shape or not finite, or pixel statistics differ.
    """
    arrays = _read_arrays(path)
    trees = jax.eval_shape(model.init, jax.random.key(0))
    layout = _find_layout(path, arrays)
    _check_pixel_statistics(path, arrays, model)

    def take(tree_path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.Array:
        keys = [entry.key for entry in tree_path if hasattr(entry, "key")]
        name = name_in_torch([key for key in keys if key != "batch_stats"], layout)
        if name not in arrays:
            raise InputError(f"{path}: {name} is missing; {model.name} needs it")
        return _convert(f"{path}: {name}", arrays.pop(name), leaf)

    loaded = jax.tree_util.tree_map_with_path(take, trees)
    if arrays:
        more = f" (and {len(arrays) - 1} more)" if len(arrays) > 1 else ""
        raise InputError(f"{path}: {min(arrays)}{more} is not part of {model.name}")
    return loaded


def name_in_torch(keys: list[str], layout: str) -> str:
    """Name a parameter as the PyTorch code does.

    Args:
      keys: Its path in our tree, such as `["stage1_block0", "norm1", "scale"]`.
      layout: `preactresnet` or `wideresnet`.

    Returns:
      Its name in the state dict, such as `layer1.0.bn1.weight`.
    """
    names = LAYOUTS[layout]
    *modules, leaf = keys
    found = re.fullmatch(r"stage(\d+)_block(\d+)", modules[0])
    if found:
        parts = [found.expand(names["stage"])]
        inner = modules[1]
        parts.append(names["shortcut"] if inner == "shortcut" else inner.replace("norm", "bn"))
    else:
        parts = [{"stem": "conv1", "norm": names["norm"], "linear": names["linear"]}[modules[0]]]
    return ".".join([*parts, LEAVES[leaf]])


def _read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read every array of an `.npz` file, without prefixes and entries that say nothing."""
    needed = "needed: an .npz file with the arrays of a state dict"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or 'damaged'})") from None
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError):
        raise InputError(f"{path}: is not a file of plain arrays; {needed}") from None
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise InputError(f"{path}: is not a file of plain arrays; {needed}")
    arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    return {name: array for name, array in arrays.items() if not SILENT.search(name)}


def _find_layout(path: Any, arrays: dict[str, np.ndarray]) -> str:
    for layout, first in FIRST_BLOCKS.items():
        if first in arrays:
            return layout
    raise InputError(
        f"{path}: its names fit no known layout; allowed: state dicts of PreActResNet18 (with "
        f"{FIRST_BLOCKS['preactresnet']}) or WideResNet (with {FIRST_BLOCKS['wideresnet']})"
    )


def _check_pixel_statistics(path: Any, arrays: dict[str, np.ndarray], model: Model) -> None:
    """Take pixel statistics out of the arrays; refuse those that the network does not have."""
    expected = model.pixel_statistics or (None, None)
    for name, values in zip(PIXEL_STATISTICS, expected, strict=True):
        found = arrays.pop(name, None)
        if found is None:
            continue
        found = found.ravel()
        wanted = np.asarray([0.0 if name == "mu" else 1.0] if values is None else values)
        if found.size % wanted.size or np.abs(found - wanted).max() > TOLERANCE:
            raise InputError(
                f"{path}: {name} is {found.tolist()}, but {model.name} standardises pixels with "
                f"{'nothing' if values is None else list(values)}; build it with these numbers"
            )


def _convert(field: str, array: np.ndarray, leaf: jax.ShapeDtypeStruct) -> jax.Array:
    """Check one array, and turn it from PyTorch's order of axes to ours."""
    if array.ndim != len(leaf.shape):
        ours = None
    elif array.ndim == 4:
        ours = array.transpose(2, 3, 1, 0)
    else:
        ours = array.T
    if ours is None or ours.shape != leaf.shape:
        order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[len(leaf.shape)]
        wanted = [leaf.shape[axis] for axis in order]
        raise InputError(f"{field} has shape {list(array.shape)}; allowed: {wanted}")
    if not np.issubdtype(array.dtype, np.floating) or not np.all(np.isfinite(array)):
        raise InputError(f"{field} has type {array.dtype}; allowed: finite floats")
    return jnp.asarray(ours.astype(np.promote_types(array.dtype, leaf.dtype)))
