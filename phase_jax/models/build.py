"""Build a network by name, or wrap the user's own, as a pair of pure functions."""

from __future__ import annotations

import hashlib
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from phase_jax.config import CONV_FORMS
from phase_jax.models import networks
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import flax.linen as nn

MIN_SIDES = {"mnist_cnn": 6, "mnist_cnn_small": 4}


class Model(NamedTuple):
    """A network as pure functions.

    Attributes:
      init: `init(key) -> (params, state)`; `state` holds BatchNorm statistics and the like, an
        empty dict where there are none.
      apply: `apply(params, state, x, *, train, key=None) -> (logits [B, K], state)`, `x` in
        [0, 1]; `key` feeds dropout; the state changes only with `train=True`.
      name: What results call it.
    """

    init: Callable[..., tuple[Any, Any]]
    apply: Callable[..., tuple[jax.Array, Any]]
    name: str = "custom"


def build_model(
    name: str, *, num_classes: int, input_shape: tuple[int, ...], **options: Any
) -> Model:
    """Build a network by name.

    Args:
      name: `mlp`, `mnist_cnn` or `mnist_cnn_small`.
      num_classes: K.
      input_shape: Shape of one image, (H, W, C); `mlp` takes any shape.
      **options: `widths` (mlp); `hidden`, `conv_form` (`auto`, `lax`, `matmul`; MNIST networks).
        `auto` is `matmul` on a CPU and `lax` elsewhere.

    Returns:
      The network; its name holds the options.

    Raises:
      InputError: Unknown name or option, or images that the network cannot take.
    """
    if name == "mlp":
        _check_options(name, options, ("widths",))
        widths = options.get("widths", (64, 64))
        widths = tuple(widths) if isinstance(widths, (tuple, list)) else (widths,)
        module = networks.MLP(widths, num_classes)
        return wrap_linen(module, input_shape, name=f"mlp({','.join(map(str, widths))})")
    modules = {"mnist_cnn": networks.MnistCNN, "mnist_cnn_small": networks.MnistCNNSmall}
    if name not in modules:
        raise InputError(f"model: {name!r} is not known; allowed: mlp, {', '.join(modules)}")
    _check_options(name, options, ("hidden", "conv_form"))
    if len(input_shape) != 3 or min(input_shape[:2]) < MIN_SIDES[name]:
        raise InputError(
            f"model: {name} takes images [H, W, C] with sides of at least {MIN_SIDES[name]}; "
            f"these are {list(input_shape)}"
        )
    hidden = options.get("hidden", 128)
    form = resolve_conv_form(options.get("conv_form", "auto"))
    module = modules[name](hidden, num_classes, conv_form=form)
    return wrap_linen(module, input_shape, name=f"{name}({hidden})")


def resolve_conv_form(form: str) -> str:
    """Choose the form of convolutions: `auto` becomes `matmul` on a CPU and `lax` elsewhere."""
    if form not in CONV_FORMS:
        raise InputError(f"conv_form: {form!r} is not known; allowed: {', '.join(CONV_FORMS)}")
    if form == "auto":
        return "matmul" if jax.default_backend() == "cpu" else "lax"
    return form


def wrap_linen(module: nn.Module, input_shape: tuple[int, ...], *, name: str = "") -> Model:
    """Wrap a Flax Linen module.

    Args:
      module: Its `__call__(x, *, train)` returns logits [B, K]; a module without a `train`
        argument is called without it. Collections other than `params` become the state.
      input_shape: Shape of one image.
      name: What results call it; by default the module's class name.

    Returns:
      The network.
    """
    accepts_train = "train" in inspect.signature(type(module).__call__).parameters

    def call_options(train: bool) -> dict[str, Any]:
        return {"train": train} if accepts_train else {}

    def init(key: jax.Array) -> tuple[Any, Any]:
        params_key, dropout_key = jax.random.split(key)
        dummy = jnp.zeros((1, *input_shape))
        keys = {"params": params_key, "dropout": dropout_key}
        variables = dict(module.init(keys, dummy, **call_options(False)))
        params = variables.pop("params")
        return params, variables

    def apply(
        params: Any, state: Any, x: jax.Array, *, train: bool, key: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        keys = {} if key is None else {"dropout": key}
        variables = {"params": params, **state}
        if not train or not state:
            logits: Any = module.apply(variables, x, rngs=keys, **call_options(train))
            return logits, state
        changed: Any = module.apply(
            variables, x, rngs=keys, mutable=list(state), **call_options(train)
        )
        return changed

    return Model(init, apply, name or type(module).__name__)


def fingerprint_parameters(params: Any) -> dict[str, Any]:
    """Describe a parameter tree: number of parameters and a hash of paths, shapes and types.

    Args:
      params: Arrays or shape structures.

    Returns:
      `{"num_parameters": int, "sha256": hex}`.
    """
    digest, total = hashlib.sha256(), 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}\n".encode())
        total += leaf.size
    return {"num_parameters": total, "sha256": digest.hexdigest()}


def _check_options(name: str, options: dict[str, Any], allowed: tuple[str, ...]) -> None:
    for option, value in options.items():
        if option not in allowed:
            raise InputError(
                f"model option: {option!r} is not known for {name}; allowed: {', '.join(allowed)}"
            )
        sizes = value if isinstance(value, (tuple, list)) else (value,)
        if option != "conv_form" and not all(isinstance(n, int) and n >= 1 for n in sizes):
            raise InputError(f"{option}: {value!r} is not allowed; allowed: whole numbers from 1")
