"""Curves through three networks: every point is a weighted sum of the parameters of the three.

    bezier    (1 - t)^2 w_0 + 2 t (1 - t) w_1 + t^2 w_2
    polygon   straight from w_0 to w_1 (t = 1/2), then straight to w_2
    line      (1 - t) w_0 + t w_2

w_0 and w_2, the ends, are given; w_1, the bend, is trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Networks(NamedTuple):
    """Parameters of the three networks; each a tree, all of one form."""

    start: Any
    bend: Any
    end: Any


def weigh_bezier(t: Float[Array, ""]) -> Float[Array, "3"]:
    """Weigh the three networks for the point t in [0, 1] of the Bezier curve."""
    return jnp.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2])


def weigh_polygon(t: Float[Array, ""]) -> Float[Array, "3"]:
    """Weigh the three networks for the point t in [0, 1] of the polygonal chain."""
    return jnp.maximum(1 - jnp.abs(2 * t - jnp.arange(3)), 0)


def weigh_line(t: Float[Array, ""]) -> Float[Array, "3"]:
    """Weigh the three networks for the point t in [0, 1] of the straight line between the ends."""
    return jnp.stack([1 - t, jnp.zeros_like(t), t])


WEIGH_FNS = {"bezier": weigh_bezier, "polygon": weigh_polygon}


def combine_networks(weights: Float[Array, "3"], networks: Networks) -> Any:
    """Add up the parameters of three networks.

    Args:
      weights: One a network; (1, 0, 0) gives the start's parameters to the bit.
      networks: The three.

    Returns:
      Parameters of the same form.
    """

    def combine(*leaves: Array) -> Array:
        return sum(w * leaf for w, leaf in zip(weights, leaves, strict=True))  # pyright: ignore

    return jax.tree.map(combine, *networks)


def find_midpoint(start: Any, end: Any) -> Any:
    """Return the parameters halfway between two networks, where the bend begins."""
    return combine_networks(weigh_line(jnp.asarray(0.5)), Networks(start, start, end))
