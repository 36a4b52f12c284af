"""The norm |theta|_q <= t inside the interior-point method, for q = 2 and q = 1.

One Newton step needs three things of a norm: its linearisation (a curvature on theta, and the one
direction in which theta and t are tied), a right-hand side, and how far a step may go. Both norms
say it in the same words, so that the method in `interior_point.py` is written once. The dual point
is zeta (the multiplier of t) and pull = X^T w, with |pull|_p <= zeta.

q = 2: Nesterov-Todd scaling of the second-order cone, which is safe from any start, also where
theta is about to vanish. Near the solution the cone's slacks drown in rounding; from then on the
norm is the smooth function it is away from zero, t is |theta| exactly, and no slack is needed.
q = 1: t is a sum of bounds tau_j >= |theta_j|, with multipliers (zeta +- pull_j) / 2; tau is
eliminated. What would cancel near a vertex is taken out by hand: slacks stay accurate to the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from phase_jax.linear.model import measure_length

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Bool, Float

# When the cone gives way to the smooth norm: the gap is below this, in units of mean(y^2), just
# above where the cone's slacks would drown, and below this share of what theta improves on zero.
SHARP_GAP = {"float64": 1e-7, "float32": 3e-5}
SHARP_SHARE = 1e-3


class Side(NamedTuple):
    """The norm's part of a Newton step's right-hand side."""

    theta: Float[Array, "D"]
    t: Float[Array, ""]
    bound: Float[Array, ""]
    total: Any = 0.0


class Move(NamedTuple):
    """The norm's own part of a step."""

    bound: Array
    """Step of t (q = 2) or tau (q = 1)."""
    products: Any
    """Products of primal and dual steps, for the second-order correction."""
    limit: Float[Array, ""]
    """Largest step length that stays inside."""
    gap_fn: Callable[[Float[Array, ""]], Float[Array, ""]]
    """Complementarity after a step of the given length."""


class Tangent(NamedTuple):
    """A norm linearised at a point.

    With the data's parts left out, a Newton step solves
    curvature d_theta - tie lift = side.theta,   lift = side.t,
    d_t - tie^T d_theta - compliance lift = side.bound.
    """

    curvature: Float[Array, "D D"] | Float[Array, "D"]  # [D]: the diagonal of one
    tie: Float[Array, "D"]
    compliance: Float[Array, ""]
    gap: Float[Array, ""]
    weight: Float[Array, ""]  # of `gap` in the average that the barrier drives to zero
    make_side: Callable[..., Side]
    """(target, products) -> right-hand side."""
    finish: Callable[..., Move]
    """(side, d_theta, d_t, d_zeta, d_pull) -> the norm's own part of the step."""


class Cone(NamedTuple):
    """A norm inside the method."""

    enter: Callable[..., Array]
    """(theta, slack) -> bound variable, strictly inside."""
    size: Callable[[Array], Float[Array, ""]]
    """Bound variable -> t."""
    linearise: Callable[..., Tangent]
    """(theta, bound, zeta, pull, num_examples, sharp) -> tangent."""
    sharpen: Callable[..., tuple[Array, Bool[Array, ""]]]
    """(theta, bound, loss, gap, sharp) -> bound variable, and whether it now equals the norm."""


def limit_positive(value: Array, step: Array) -> Array:
    """Compute for every entry the largest step length at which it stays nonnegative."""
    shrinks = step < 0
    return jnp.where(shrinks, -value / jnp.where(shrinks, step, -1.0), jnp.inf)


def _linearise_length(
    theta: Array, t: Array, zeta: Array, pull: Array, num_examples: int, sharp: Array
) -> Tangent:
    """Linearise the l2 norm: as a cone, or, where `sharp`, as the smooth function it is."""
    smooth = _linearise_smooth(theta, t, zeta, pull)
    cone = _linearise_second_order(theta, t, zeta, pull, float(num_examples))

    def choose(first: Any, second: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(sharp, a, b), first, second)

    def finish(side: Side, d_theta: Array, d_t: Array, d_zeta: Array, d_pull: Array) -> Move:
        move = cone.finish(side, d_theta, d_t, d_zeta, d_pull)
        return move._replace(
            products=choose((0.0 * t, 0.0 * theta), move.products),
            limit=choose(jnp.inf, move.limit),
            gap_fn=lambda length: choose(0.0 * t, move.gap_fn(length)),
        )

    def make_side(target: Array, products: tuple[Array, Array]) -> Side:
        return choose(smooth.make_side(target, products), cone.make_side(target, products))

    curvature, tie, compliance, gap, weight = choose(smooth[:5], cone[:5])
    return Tangent(curvature, tie, compliance, gap, weight, make_side, finish)


def _linearise_smooth(theta: Array, t: Array, zeta: Array, pull: Array) -> Tangent:
    """Linearise t = |theta|, away from 0; the right-hand side is what optimality still lacks."""
    direction = theta / t
    identity = jnp.eye(theta.size, dtype=theta.dtype)
    zero = jnp.zeros_like(t)
    return Tangent(
        curvature=zeta / t * (identity - direction[:, None] * direction[None, :]),
        tie=direction,
        compliance=zero,
        gap=zero,
        weight=zero,
        make_side=lambda *_: Side(pull - zeta * direction, zero, zero, zero),
        finish=lambda *_: None,  # type: ignore
    )


def _linearise_second_order(
    theta: Array, t: Array, zeta: Array, pull: Array, weight: float
) -> Tangent:
    """Linearise the second-order cone by Nesterov-Todd scaling.

    With W the scaling and z = (zeta, -pull) the dual point, W z = W^-1 (t, theta) = `point`. W^-2
    is written as positive terms only, which never cancel near the boundary:
    (|d_theta|^2 - (u^T d_theta)^2 (1 - 1 / cosh) + cosh (d_t - tanh u^T d_theta)^2) / scale^2.
    """
    heads, tails = jnp.stack([t, zeta]), jnp.stack([theta, pull])
    gap = t * zeta - theta @ pull
    lengths = measure_length(tails)
    inside = jnp.sqrt((heads - lengths) * (heads + lengths))
    gamma = jnp.sqrt((1 + gap / (inside[0] * inside[1])) / 2)
    head = (heads / inside).sum() / (2 * gamma)
    tail = (tails[0] / inside[0] + tails[1] / inside[1]) / (2 * gamma)
    scale = jnp.sqrt(inside[0] / inside[1])
    scales = jnp.stack([1 / scale, scale])
    cosh = head**2 + tail @ tail  # and 1 - 1 / cosh = 2 |tail|^2 / cosh
    identity = jnp.eye(theta.size, dtype=theta.dtype)
    first, rest = _rotate(head, tail, heads[1:] * scale, -tails[1:] * scale)
    point = first[0], rest[0]

    def make_side(target: Array, products: tuple[Array, Array]) -> Side:
        right = (
            weight * target - point[0] ** 2 - point[1] @ point[1] - products[0],
            -2 * point[0] * point[1] - products[1],
        )
        first, rest = _divide(point, right)
        first, rest = _rotate(head, -tail, first[None], rest[None])
        zero = jnp.zeros_like(t)
        return Side(rest[0] / scale, first[0] / scale, zero, zero)

    def finish(side: Side, d_theta: Array, d_t: Array, d_zeta: Array, d_pull: Array) -> Move:
        d_heads, d_tails = jnp.stack([d_t, d_zeta]), jnp.stack([d_theta, d_pull])
        # W^-1 (d_t, d_theta), and W (d_zeta, -d_pull) but for the sign of its rest.
        first, rest = _rotate(head, -tail, d_heads * scales, d_tails * scales[:, None])

        def gap_fn(length: Array) -> Array:
            ends, moved = heads + length * d_heads, tails + length * d_tails
            return ends[0] * ends[1] - moved[0] @ moved[1]

        return Move(
            bound=d_t,
            products=(
                first[0] * first[1] - rest[0] @ rest[1],
                first[1] * rest[0] - first[0] * rest[1],
            ),
            limit=_limit_inside(heads, tails, lengths, d_heads, d_tails),
            gap_fn=gap_fn,
        )

    return Tangent(
        curvature=(identity - tail[:, None] * tail[None, :] * (2 / cosh)) / scale**2,
        tie=tail * (2 * head / cosh),
        compliance=scale**2 / cosh,
        gap=gap,
        weight=jnp.asarray(weight, theta.dtype),
        make_side=make_side,
        finish=finish,
    )


def _rotate(
    head: Float[Array, ""], tail: Float[Array, "D"], first: Float[Array, "..."], rest: Array
) -> tuple[Float[Array, "..."], Float[Array, "... D"]]:
    """Rotate points hyperbolically by [[head, tail^T], [tail, I + tail tail^T / (1 + head)]]."""
    along = (rest * tail).sum(1)
    return head * first + along, rest + (first + along / (1 + head))[:, None] * tail


def _divide(point: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
    """Solve point o x = right in the cone's Jordan algebra."""
    (a, b), (c, d) = point, right
    length = measure_length(b)
    first = (a * c - b @ d) / ((a - length) * (a + length))
    return first, (d - first * b) / a


def _limit_inside(
    heads: Float[Array, "..."],
    tails: Float[Array, "... D"],
    lengths: Float[Array, "..."],
    d_heads: Float[Array, "..."],
    d_tails: Float[Array, "... D"],
) -> Float[Array, ""]:
    """Compute the largest step length that keeps every |tail| <= head: roots of quadratics."""
    a = d_heads**2 - (d_tails * d_tails).sum(1)
    b = heads * d_heads - (tails * d_tails).sum(1)
    c = (heads - lengths) * (heads + lengths)
    root = jnp.sqrt(jnp.maximum(b * b - a * c, 0.0))
    large = -(b + jnp.where(b >= 0, root, -root))
    roots = jnp.stack([large / jnp.where(a != 0, a, jnp.nan), c / large])
    return jnp.min(jnp.where(roots > 0, roots, jnp.inf))


def _sharpen_length(
    theta: Array, t: Array, loss: Array, gap: Array, sharp: Array
) -> tuple[Array, Array]:
    """Switch to the smooth norm for good, once the solution is near and clearly not zero."""
    length = measure_length(theta)
    near = (gap < SHARP_GAP[str(theta.dtype)]) & (gap < SHARP_SHARE * (1 - loss))
    slack = jnp.finfo(theta.dtype).eps ** (1 / 3)
    sharp = sharp | (near & (t - length < slack * length))
    return jnp.where(sharp, length, t), sharp


def _linearise_absolute(
    theta: Array, tau: Array, zeta: Array, pull: Array, num_examples: int, sharp: Array
) -> Tangent:
    """Linearise tau - theta >= 0 and tau + theta >= 0, and eliminate tau."""
    above, below = tau - theta, tau + theta
    upper, lower = (zeta + pull) / 2, (zeta - pull) / 2
    p, m = upper / above, lower / below
    compliance = 1 / (p + m)
    weight = max(1.0, num_examples / theta.size)

    def make_side(target: Array, products: tuple[Array, Array]) -> Side:
        plus = (weight * target - products[0]) / above - upper
        minus = (weight * target - products[1]) / below - lower
        return Side(
            theta=2 * compliance * (p * minus - m * plus),  # tie (plus + minus) - (plus - minus)
            t=jnp.zeros_like(zeta),
            bound=compliance @ (plus + minus),
            total=plus + minus,
        )

    def finish(side: Side, d_theta: Array, d_t: Array, d_zeta: Array, d_pull: Array) -> Move:
        # d_tau -+ d_theta, where d_tau = compliance (total - d_zeta) + tie d_theta.
        d_above = compliance * (side.total - d_zeta - 2 * m * d_theta)
        d_below = compliance * (side.total - d_zeta + 2 * p * d_theta)
        d_upper, d_lower = (d_zeta + d_pull) / 2, (d_zeta - d_pull) / 2
        primal = jnp.minimum(limit_positive(above, d_above), limit_positive(below, d_below))
        dual = jnp.minimum(limit_positive(upper, d_upper), limit_positive(lower, d_lower))
        limit = jnp.minimum(primal, dual).min()

        def gap_fn(length: Array) -> Array:
            return (above + length * d_above) @ (upper + length * d_upper) + (
                below + length * d_below
            ) @ (lower + length * d_lower)

        products = (d_above * d_upper, d_below * d_lower)
        return Move((d_above + d_below) / 2, products, limit, gap_fn)

    return Tangent(
        curvature=4 * p * m * compliance,
        tie=(p - m) * compliance,
        compliance=compliance.sum(),
        gap=above @ upper + below @ lower,
        weight=jnp.asarray(2.0 * theta.size * weight, theta.dtype),
        make_side=make_side,
        finish=finish,
    )


CONES = {
    "l2": Cone(
        enter=lambda theta, slack: measure_length(theta) + slack,
        size=lambda t: t,
        linearise=_linearise_length,
        sharpen=_sharpen_length,
    ),
    "linf": Cone(
        enter=lambda theta, slack: jnp.abs(theta) + slack / theta.size,
        size=lambda tau: tau.sum(),
        linearise=_linearise_absolute,
        sharpen=lambda theta, tau, loss, gap, sharp: (tau, sharp),
    ),
}
