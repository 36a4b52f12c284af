"""The user's own network, whatever it is written in, behind the interface."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import flax.linen as nn
from flax import nnx

from phase_jax.models.interface import Model, wrap_linen
from phase_jax.models.nnx_module import wrap_nnx
from phase_jax.types import InputError

if TYPE_CHECKING:
    import jax

ALLOWED = (
    "a Flax Linen module, a function of nnx.Rngs (or a class) that builds an NNX module, a pair "
    "(init, apply), or a Model"
)


def wrap_model(model: Any, input_shape: tuple[int, ...]) -> Model:
    """Bring a network of the user behind the interface.

    Args:
      model: A Flax Linen module; a function of `nnx.Rngs`, or a class, that builds an NNX module;
        a pair `(init, apply)` with `init(key) -> params` and `apply(params, x) -> logits [B, K]`;
        or a `Model`, which is returned as it is.
      input_shape: Shape of one image.

    Returns:
      The network.

    Raises:
      InputError: It is none of these.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, nn.Module):
        return wrap_linen(model, input_shape)
    if isinstance(model, (tuple, list)) and len(model) == 2 and all(map(callable, model)):
        return wrap_functions(*model)
    if callable(model) and not isinstance(model, nnx.Module) and _takes_rngs(model):
        build_fn: Any = model
        return wrap_nnx(build_fn)
    what = type(model).__name__
    if isinstance(model, nnx.Module):
        what = f"{what}, an NNX module that is built already,"
    elif inspect.isclass(model):
        what = f"the class {model.__name__}"
    raise InputError(f"model: {what} is not allowed; allowed: {ALLOWED}")


def wrap_functions(init_fn: Any, apply_fn: Any, *, name: str = "functions") -> Model:
    """Wrap two pure functions without a state: no BatchNorm, no dropout.

    Args:
      init_fn: `init_fn(key) -> params`.
      apply_fn: `apply_fn(params, x) -> logits [B, K]`, pixels in [0, 1].
      name: What results call it.

    Returns:
      The network.
    """

    def apply(
        params: Any,
        state: Any,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None = None,
        weights: jax.Array | None = None,
    ) -> tuple[jax.Array, Any]:
        del train, key, weights
        return apply_fn(params, x), state

    return Model(lambda key: (init_fn(key), {}), apply, name)


def _takes_rngs(function: Any) -> bool:
    """Tell whether a function or class builds something from `rngs` alone."""
    if inspect.isclass(function):  # an NNX module's class has a signature of its metaclass
        function = functools.partial(function.__init__, None)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [p.name for p in parameters if p.default is p.empty and p.kind != p.VAR_KEYWORD]
    return needed == ["rngs"]
