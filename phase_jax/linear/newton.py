"""One Newton step of the interior-point method: the linear system, factored and solved.

Slacks are v - r and v + r, multipliers `upper` and `lower`; p and m are their ratios. Eliminating v
and the multipliers leaves a system on theta, bordered by t. Differences that would cancel, where a
residual is zero and a slack is all that is left, are taken by hand.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

from phase_jax.linear.cone import limit_positive
from phase_jax.linear.factorise import factor_cholesky, solve_cholesky
from phase_jax.linear.model import multiply

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Float

    from phase_jax.linear.cone import Tangent

NUM_REFINEMENTS = 1


class Iterate(NamedTuple):
    """A primal-dual point."""

    theta: Float[Array, "D"]
    bound: Array  # t [] (l2 attack) or tau [D] (linf attack)
    v: Float[Array, "N"]
    upper: Float[Array, "N"]
    lower: Float[Array, "N"]
    residual: Float[Array, "N"]  # y - X theta
    pull: Float[Array, "D"]  # X^T w


class System(NamedTuple):
    """A Newton system reduced to theta and t."""

    solve_fn: Callable[[Array, Array, Array], tuple[Array, Array]]
    p: Float[Array, "N"]
    m: Float[Array, "N"]
    k: Float[Array, "N"]
    q: Float[Array, "D"]
    solved: Float[Array, "D 2"]  # d_theta for the right-hand sides q and tie
    moved: Float[Array, "N 2"]  # d_residual for them
    corner: tuple[Array, Array, Array]


def reduce_system(
    x: Float[Array, "N D"], p: Array, m: Array, epsilon: Array, tangent: Tangent
) -> System:
    """Eliminate v and the multipliers; factor what is left on theta; solve for its two borders."""
    k = 1 / (1 + p + m)
    solve_fn = factor(x, (p + m + 4 * p * m) * k, tangent.curvature)
    push = -epsilon * k * (p - m)
    q = multiply(push, x)
    nothing = jnp.zeros_like(push), jnp.zeros_like(q)
    solved, moved = solve_fn(
        jnp.stack([push, nothing[0]], axis=1),
        jnp.stack([nothing[1], tangent.tie], axis=1),
        jnp.stack([q, tangent.tie], axis=1),
    )
    corner = (
        epsilon**2 * ((p + m) * k).sum() - q @ solved[:, 0],
        1 + q @ solved[:, 1],
        tangent.compliance + tangent.tie @ solved[:, 1],
    )
    return System(solve_fn, p, m, k, q, solved, moved, corner)


def factor(
    x: Float[Array, "N D"], weights: Float[Array, "N"], curvature: Array
) -> Callable[[Array, Array, Array], tuple[Array, Array]]:
    """Factor X^T diag(weights) X + curvature.

    The returned function maps (push [N, M], side [D, M], their sum X^T push + side) to d_theta,
    which solves the system for that sum, and to d_residual = -X d_theta. A diagonal curvature with
    D >= N is worked in the space of the examples: there the huge weights of zero residuals and the
    tiny curvature of a sparse theta enter through their reciprocals, and ruin nothing.
    """
    if curvature.ndim == 1 and x.shape[0] <= x.shape[1]:
        flat = x / curvature
        inner = factor_cholesky(multiply(flat, x.T) + jnp.diag(1 / weights))

        def solve_dual(push: Array, side: Array, right: Array) -> tuple[Array, Array]:
            del right
            wanted, change = push / weights[:, None], jnp.zeros_like(push)
            for _ in range(1 + NUM_REFINEMENTS):
                d_theta = (side + multiply(x.T, change)) / curvature[:, None]
                lack = wanted - change / weights[:, None] - multiply(x, d_theta)
                change += solve_cholesky(inner, lack)
            d_theta = (side + multiply(x.T, change)) / curvature[:, None]
            return d_theta, (change - push) / weights[:, None]

        return solve_dual
    matrix = multiply(x.T * weights, x)
    matrix += jnp.diag(curvature) if curvature.ndim == 1 else curvature
    whole = factor_cholesky(matrix)

    def solve_primal(push: Array, side: Array, right: Array) -> tuple[Array, Array]:
        del push, side
        d_theta = solve_cholesky(whole, right)
        # Column by column: on a CPU a thin product costs several matrix-vector products.
        columns = [multiply(x, d_theta[:, i]) for i in range(d_theta.shape[1])]
        return d_theta, -jnp.stack(columns, axis=1)

    return solve_primal


def solve_step(
    iterate: Iterate,
    slacks: tuple[Array, Array, Array],
    x: Float[Array, "N D"],
    epsilon: Array,
    system: System,
    tangent: Tangent,
    target: Array,
    products: tuple[Any, Any, Any],
) -> tuple[tuple[Array, ...], Array, Callable[[Array], Array], tuple[Any, Any, Any]]:
    """Solve for one Newton step towards complementarity `target`.

    Returns:
      The step of (theta, bound, v, upper, lower), the largest step length, the complementarity
      after a step of a given length, and the products for the second-order correction.
    """
    above, below, drift = slacks
    _, p, m, k, *_ = system
    plus = (target - products[0]) / above - iterate.upper
    minus = (target - products[1]) / below - iterate.lower
    total = plus + minus - drift
    side = tangent.make_side(target, products[2])
    # plus - minus - k (p - m) total, with what cancels in it taken out by hand; so below.
    push = k * ((1 + 2 * m) * plus - (1 + 2 * p) * minus + (p - m) * drift)
    d_theta, d_residual, d_t = solve_bordered(
        system, tangent, x, push, side.theta, side.t - epsilon * (k @ total), side.bound
    )
    d_above = k * (total - epsilon * d_t - (1 + 2 * m) * d_residual)
    d_below = k * (total - epsilon * d_t + (1 + 2 * p) * d_residual)
    d_v = (d_above + d_below) / 2
    d_upper, d_lower = plus - p * d_above, minus - m * d_below
    d_zeta = epsilon * (d_v.sum() + d_v.size * epsilon * d_t)
    move = tangent.finish(side, d_theta, d_t, d_zeta, multiply(d_upper - d_lower, x))
    pairs = ((above, d_above), (below, d_below), (iterate.upper, d_upper), (iterate.lower, d_lower))
    limit = functools.reduce(jnp.minimum, [limit_positive(*pair) for pair in pairs], move.limit)

    def gap_fn(length: Array) -> Array:
        moved = [value + length * step for value, step in pairs]
        return moved[0] @ moved[2] + moved[1] @ moved[3] + move.gap_fn(length)

    direction = (d_theta, move.bound, d_v, d_upper, d_lower)
    return direction, limit, gap_fn, (d_above * d_upper, d_below * d_lower, move.products)


def solve_bordered(
    system: System,
    tangent: Tangent,
    x: Array,
    push: Array,
    side: Array,
    right_t: Array,
    right_bound: Array,
) -> tuple[Array, Array, Array]:
    """Solve for the steps of theta, the residual and t."""
    right = multiply(push, x) + side
    columns = system.solve_fn(push[:, None], side[:, None], right[:, None])
    solved, moved = columns[0][:, 0], columns[1][:, 0]
    a, b, c = system.corner
    first = right_t - system.q @ solved
    second = right_bound + tangent.tie @ solved
    determinant = a * c + b * b
    d_t = (c * first + b * second) / determinant
    lift = (b * first - a * second) / determinant
    d_theta = solved - d_t * system.solved[:, 0] + lift * system.solved[:, 1]
    d_residual = moved - d_t * system.moved[:, 0] + lift * system.moved[:, 1]
    return d_theta, d_residual, d_t
