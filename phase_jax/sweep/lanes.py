"""Batching over lanes: the one place where functions of a lane become functions of many."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from collections.abc import Callable

CPU_DENSE_WIDTH = 12


def map_lanes(fn: Callable[..., Any], *, width: int, num_shared: int = 0) -> Callable[..., Any]:
    """Turn a function of one lane into a function of L lanes, inside one program.

    Lanes are vectorised `width` at a time; the chunks follow one another in a `lax.map`. The last
    chunk is filled up with copies of the last lane, whose results are dropped: every lane is
    computed at exactly this width, so that its bits depend on the width only, never on L or on
    what the other lanes hold.

    Args:
      fn: `fn(*lane_arguments, *shared_arguments)`.
      width: Lanes vectorised together (static); 1 runs lane after lane without vmap.
      num_shared: How many trailing arguments all lanes share.

    Returns:
      The same function with a leading axis L on every lane argument and every result.
    """

    def mapped(*arguments: Any) -> Any:
        split = len(arguments) - num_shared
        lane_arguments, shared = arguments[:split], arguments[split:]
        num_lanes = jax.tree.leaves(lane_arguments)[0].shape[0]
        if width == 1:
            return jax.lax.map(lambda lane: fn(*lane, *shared), lane_arguments)
        num_chunks = math.ceil(num_lanes / width)
        places = jnp.minimum(jnp.arange(num_chunks * width), num_lanes - 1)
        chunks = jax.tree.map(
            lambda leaf: leaf[places].reshape(num_chunks, width, *leaf.shape[1:]), lane_arguments
        )
        batched = jax.vmap(lambda lane: fn(*lane, *shared))
        results = jax.lax.map(batched, chunks)
        return jax.tree.map(
            lambda leaf: leaf.reshape(num_chunks * width, *leaf.shape[2:])[:num_lanes], results
        )

    return mapped


def choose_lane_width(num_lanes: int, params: Any, backend: str) -> int:
    """Choose how many lanes to vectorise together.

    On a CPU, lanes of convolutional networks run one after the other (a batch of kernels is slow
    there), those of small dense networks in chunks. Accelerators take all lanes at once.

    Args:
      num_lanes: L.
      params: One lane's parameters (arrays or shapes).
      backend: `jax.default_backend()`.

    Returns:
      The width: of those between half the widest and the widest, the one that pads least.
    """
    has_kernels = any(len(leaf.shape) > 2 for leaf in jax.tree.leaves(params))
    widest = num_lanes
    if backend == "cpu":
        widest = 1 if has_kernels else min(CPU_DENSE_WIDTH, num_lanes)
    candidates = range(widest, widest // 2, -1)
    return min(candidates, key=lambda width: math.ceil(num_lanes / width) * width)
