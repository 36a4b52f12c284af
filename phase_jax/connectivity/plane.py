"""The plane through three networks: an orthonormal basis, coordinates in units of distance.

The origin is the start w_0. The first axis, u, points to the end w_2; the second, v, is the part
of w_1 - w_0 that is orthogonal to u. Both are weighted sums of the three networks, and so is every
point of the plane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from phase_jax.connectivity.curve import Networks, combine_networks

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Plane(NamedTuple):
    """The basis as weights of the three networks, and where the three lie."""

    u: Float[Array, "3"]
    v: Float[Array, "3"]
    anchors: Float[Array, "3 2"]  # coordinates of start, bend and end


def build_plane(networks: Networks) -> Plane:
    """Build the basis of the plane through three networks.

    Args:
      networks: The three; the ends differ, and the bend is not on their line.

    Returns:
      The plane; NaN in it where the three networks span none.
    """
    to_end = jnp.array([-1.0, 0.0, 1.0])
    to_bend = jnp.array([-1.0, 1.0, 0.0])
    along = combine_networks(to_end, networks)
    width = jnp.sqrt(_multiply(along, along))
    u = to_end / width
    place = _multiply(combine_networks(to_bend, networks), combine_networks(u, networks))
    upright = to_bend - place * u
    rest = combine_networks(upright, networks)
    height = jnp.sqrt(_multiply(rest, rest))
    nothing = jnp.zeros(())
    anchors = jnp.stack(
        [jnp.stack(pair) for pair in ((nothing, nothing), (place, height), (width, nothing))]
    )
    return Plane(u, upright / height, anchors)


def weigh_place(plane: Plane, place: Float[Array, "2"]) -> Float[Array, "3"]:
    """Weigh the three networks for a place in the plane, given by its two coordinates."""
    return jnp.array([1.0, 0.0, 0.0]) + place[0] * plane.u + place[1] * plane.v


def lay_out_grid(plane: Plane, size: int, margin: float) -> tuple[Array, Array]:
    """Lay a grid over the plane.

    Args:
      plane: The plane.
      size: Points on each side (static).
      margin: How far the grid reaches beyond the networks, as a share of its sides.

    Returns:
      Coordinates along u and along v, [size] each: linspace(-margin, 1 + margin) times the
      distance of the ends and times the height of the bend.
    """
    shares = jnp.linspace(-margin, 1 + margin, size)
    return shares * plane.anchors[2, 0], shares * plane.anchors[1, 1]


def _multiply(left: Any, right: Any) -> Float[Array, ""]:
    """Take the inner product of two trees, elementwise: matrix units would round to fewer bits."""
    return sum(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.sum(a * b), left, right)))  # pyright: ignore
