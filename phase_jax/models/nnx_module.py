"""Flax NNX modules as networks: their parameters and state taken out and put back in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import nnx

from phase_jax.models.interface import Model

if TYPE_CHECKING:
    from collections.abc import Callable


def wrap_nnx(build_fn: Callable[[nnx.Rngs], nnx.Module], *, name: str = "") -> Model:
    """Wrap a function that builds a Flax NNX module, or the module's class.

    Args:
      build_fn: `build_fn(rngs) -> module`; `module(x)` returns logits [B, K]. Modes are set by
        `module.train()` and `module.eval()`.
      name: What results call it; by default the module's class name.

    Returns:
      The network. Parameters are the `nnx.Param` variables; other variables are the state, but for
      the keys of random numbers, which come anew for every step.
    """
    template = nnx.eval_shape(lambda: build_fn(nnx.Rngs(0)))

    def init(key: jax.Array) -> tuple[Any, Any]:
        _, params, _, state = nnx.split(build_fn(nnx.Rngs(key)), nnx.Param, nnx.RngState, ...)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(state)

    return _make_model(template, init, name)


def take_nnx(module: nnx.Module, *, name: str = "") -> tuple[Model, Any, Any]:
    """Take a Flax NNX module, trained or not, as a network with its parameters and state.

    Args:
      module: `module(x)` returns logits [B, K]; it is not changed.
      name: What results call it; by default the module's class name.

    Returns:
      The network (its `init` returns these parameters for every key), parameters, state.
    """
    _, params, _, state = nnx.split(module, nnx.Param, nnx.RngState, ...)
    values = nnx.to_pure_dict(params), nnx.to_pure_dict(state)
    return _make_model(module, lambda key: values, name), *values


def _make_model(template: nnx.Module, init: Callable[..., tuple[Any, Any]], name: str) -> Model:
    """Make a network of a module's structure."""
    _, *parts = nnx.split(template, nnx.Param, nnx.RngState, ...)
    copy = nnx.clone(template)
    copy.train()
    training = nnx.graphdef(copy)
    copy.eval()
    evaluating = nnx.graphdef(copy)

    def apply(
        params: Any,
        state: Any,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None = None,
        weights: jax.Array | None = None,
    ) -> tuple[jax.Array, Any]:
        del weights  # NNX's BatchNorm does not know of padding
        key = jax.random.key(0) if key is None else key
        rngs = jax.tree.map(lambda leaf: _draw_like(leaf, key), parts[1])
        filled = [_fill(parts[0], params), rngs, _fill(parts[2], state)]
        module: Any = nnx.merge(training if train else evaluating, *filled, copy=True)
        logits = module(x)
        _, _, _, changed = nnx.split(module, nnx.Param, nnx.RngState, ...)
        return logits, nnx.to_pure_dict(changed) if train else state

    has_batch_statistics = bool(jax.tree.leaves(nnx.state(template, nnx.BatchStat)))
    return Model(init, apply, name or type(template).__name__, has_batch_statistics)


def _draw_like(leaf: Any, key: jax.Array) -> jax.Array:
    """Return the step's key in the place of a key, zero in that of a counter."""
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return key if is_key else jnp.zeros(leaf.shape, leaf.dtype)


def _fill(template: nnx.State, values: Any) -> nnx.State:
    """Put plain values in the place of a state's variables."""
    state = jax.tree.map(lambda leaf: leaf, template)
    nnx.replace_by_pure_dict(state, values)
    return state
