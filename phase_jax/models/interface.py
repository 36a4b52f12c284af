"""What every network is to the rest of the package: a pair of pure functions."""

from __future__ import annotations

import hashlib
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import flax.linen as nn


class Model(NamedTuple):
    """A network as pure functions.

    Attributes:
      init: `init(key) -> (params, state)`; `state` holds BatchNorm statistics and the like, an
        empty dict where there are none.
      apply: `apply(params, state, x, *, train, key=None, weights=None) -> (logits [B, K], state)`,
        `x` in [0, 1]; `key` feeds dropout; `weights` [B], each 0 or 1, are the examples that count
        in batch statistics, by default all; the state changes only with `train=True`.
      name: What results call it.
      has_batch_statistics: In training mode the examples of a batch influence one another.
      pixel_statistics: Mean and standard deviation of the pixels of each channel, by which `apply`
        standardises its input; None where it takes pixels as they are.
      attack_part: Images that an attack best takes at a time, for the sake of a CPU's cache; only
        for networks that treat every image by itself, in training mode too. None: whole batches.
    """

    init: Callable[..., tuple[Any, Any]]
    apply: Callable[..., tuple[jax.Array, Any]]
    name: str = "custom"
    has_batch_statistics: bool = False
    pixel_statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    attack_part: int | None = None


def wrap_linen(module: nn.Module, input_shape: tuple[int, ...], *, name: str = "") -> Model:
    """Wrap a Flax Linen module.

    Args:
      module: Its `__call__(x, *, train, weights)` returns logits [B, K]; a module without a
        `train` or a `weights` argument is called without it. Collections other than `params`
        become the state; one called `batch_stats` says that there are batch statistics.
      input_shape: Shape of one image.
      name: What results call it; by default the module's class name.

    Returns:
      The network.
    """
    accepted = inspect.signature(type(module).__call__).parameters

    def keep_accepted(**options: Any) -> dict[str, Any]:
        return {option: value for option, value in options.items() if option in accepted}

    def init(key: jax.Array) -> tuple[Any, Any]:
        params_key, dropout_key = jax.random.split(key)
        dummy = jnp.zeros((1, *input_shape))
        keys = {"params": params_key, "dropout": dropout_key}
        variables = dict(module.init(keys, dummy, **keep_accepted(train=False)))
        params = variables.pop("params")
        return params, variables

    def apply(
        params: Any,
        state: Any,
        x: jax.Array,
        *,
        train: bool,
        key: jax.Array | None = None,
        weights: jax.Array | None = None,
    ) -> tuple[jax.Array, Any]:
        keys = {} if key is None else {"dropout": key}
        variables = {"params": params, **state}
        options = keep_accepted(train=train, weights=weights)
        if not train or not state:
            logits: Any = module.apply(variables, x, rngs=keys, **options)
            return logits, state
        changed: Any = module.apply(variables, x, rngs=keys, mutable=list(state), **options)
        return changed

    _, state = jax.eval_shape(init, jax.random.key(0))
    return Model(init, apply, name or type(module).__name__, "batch_stats" in state)


def standardise_pixels(model: Model, mean: tuple[float, ...], std: tuple[float, ...]) -> Model:
    """Put (x - mean) / std, channel by channel, in front of a network.

    Attacks stay in pixel space: what they see is a function of pixels in [0, 1].

    Args:
      model: The network.
      mean: Mean of each channel, pixels in [0, 1].
      std: Standard deviation of each channel, above 0.

    Returns:
      The network of pixels.

    Raises:
      InputError: The two lengths differ, or a deviation is not above 0.
    """
    if len(mean) != len(std) or not all(value > 0 for value in std):
        raise InputError(
            f"std: {tuple(std)} is not allowed; allowed: {len(mean)} numbers above 0, one a channel"
        )

    def apply(params: Any, state: Any, x: jax.Array, **options: Any) -> tuple[jax.Array, Any]:
        centred = x - jnp.asarray(mean, x.dtype)
        return model.apply(params, state, centred / jnp.asarray(std, x.dtype), **options)

    return model._replace(apply=apply, pixel_statistics=(tuple(mean), tuple(std)))


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
