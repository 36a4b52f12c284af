"""One Newton step of the interior-point method: the linear system, factored and solved.

Slacks are v - r and v + r, in this order; each has a multiplier, and p and m are their ratios.
Eliminating v and the multipliers leaves a system on theta, bordered by t. Differences that would
cancel, where a residual is zero and a slack is all that is left, are taken by hand. Pairs are rows
of one array, and no copy of X is made within an iteration: on a CPU half the time is neither
products nor factorisations but handing out short operations.
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
    from phase_jax.linear.problem import Design

NUM_REFINEMENTS = 1


class Iterate(NamedTuple):
    """A primal-dual point."""

    theta: Float[Array, "D"]
    bound: Array  # t [] (l2 attack) or tau [D] (linf attack)
    v: Float[Array, "N"]
    multipliers: Float[Array, "2 N"]  # of v - r >= 0 and v + r >= 0
    residual: Float[Array, "N"]  # y - X theta
    pull: Float[Array, "D"]  # X^T w

    def measure_slacks(self) -> Float[Array, "2 N"]:
        """Compute v - r and v + r."""
        return jnp.stack([self.v - self.residual, self.v + self.residual])


class System(NamedTuple):
    """A Newton system reduced to theta and t."""

    solve_fn: Callable[[Array, Array, Array], tuple[Array, Array | None]]
    ratios: Float[Array, "2 N"]
    lean: Float[Array, "2 N"]  # 1 + 2 m and -(1 + 2 p)
    k: Float[Array, "N"]
    q: Float[Array, "D"]
    solved: Float[Array, "D 2"]  # d_theta for the right-hand sides q and tie
    moved: Float[Array, "N 2"] | None  # d_residual for them
    corner: tuple[Array, Array, Array]


def reduce_system(
    design: Design, ratios: Float[Array, "2 N"], epsilon: Array, tangent: Tangent
) -> System:
    """Eliminate v and the multipliers; factor what is left on theta; solve for its two borders."""
    p, m = ratios
    k = 1 / (1 + p + m)
    x = design.x
    solve_fn = factor(design, (p + m + 4 * p * m) * k, tangent.curvature)
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
    lean = jnp.stack([1 + 2 * m, -1 - 2 * p])
    return System(solve_fn, ratios, lean, k, q, solved, moved, corner)


def factor(
    design: Design, weights: Float[Array, "N"], curvature: Array
) -> Callable[[Array, Array, Array], tuple[Array, Array | None]]:
    """Factor X^T diag(weights) X + curvature.

    The returned function maps (push [N, M], side [D, M], their sum X^T push + side) to d_theta,
    which solves the system for that sum, and to d_residual = -X d_theta, or None where it is as
    well computed from d_theta. A diagonal curvature with D >= N is worked in the space of the
    examples: there the huge weights of zero residuals and the tiny curvature of a sparse theta
    enter through their reciprocals, and ruin nothing.
    """
    x = design.x
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
    matrix = multiply(design.transposed * weights, x)
    matrix += jnp.diag(curvature) if curvature.ndim == 1 else curvature
    whole = factor_cholesky(matrix)

    def solve_primal(push: Array, side: Array, right: Array) -> tuple[Array, None]:
        del push, side
        return solve_cholesky(whole, right), None

    return solve_primal


def solve_step(
    iterate: Iterate,
    slacks: Float[Array, "2 N"],
    drift: Float[Array, "N"],
    x: Float[Array, "N D"],
    epsilon: Array,
    system: System,
    tangent: Tangent,
    target: Array,
    products: tuple[Any, Any],
) -> tuple[tuple[Array, ...], Array, Callable[[Array], Array], tuple[Any, Any]]:
    """Solve for one Newton step towards complementarity `target`.

    Returns:
      The step of (theta, bound, v, multipliers), the largest step length, the complementarity
      after a step of a given length, and the products for the second-order correction.
    """
    _, ratios, lean, k, *_ = system
    rises = (target - products[0]) / slacks - iterate.multipliers
    total = rises[0] + rises[1] - drift
    side = tangent.make_side(target, products[1])
    # rises[0] - rises[1] - k (p - m) total, with what cancels in it taken out by hand; so below.
    push = k * (lean[0] * rises[0] + lean[1] * rises[1] + (ratios[0] - ratios[1]) * drift)
    d_theta, d_residual, d_t = solve_bordered(
        system, tangent, x, push, side.theta, side.t - epsilon * (k @ total), side.bound
    )
    d_slacks = k * (total - epsilon * d_t - lean * d_residual)
    d_v = (d_slacks[0] + d_slacks[1]) / 2
    d_multipliers = rises - ratios * d_slacks
    d_zeta = epsilon * (d_v.sum() + d_v.size * epsilon * d_t)
    d_pull = multiply(d_multipliers[0] - d_multipliers[1], x)
    move = tangent.finish(side, d_theta, d_t, d_zeta, d_pull)
    sides = ((slacks, d_slacks), (iterate.multipliers, d_multipliers))
    rows = [limit_positive(value[i], step[i]) for value, step in sides for i in range(2)]
    limit = jnp.minimum(functools.reduce(jnp.minimum, rows).min(), move.limit)

    def gap_fn(length: Array) -> Array:
        return jnp.vdot(
            slacks + length * d_slacks, iterate.multipliers + length * d_multipliers
        ) + move.gap_fn(length)

    direction = (d_theta, move.bound, d_v, d_multipliers)
    return direction, limit, gap_fn, (d_slacks * d_multipliers, move.products)


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
    solved = columns[0][:, 0]
    a, b, c = system.corner
    first = right_t - system.q @ solved
    second = right_bound + tangent.tie @ solved
    determinant = a * c + b * b
    d_t = (c * first + b * second) / determinant
    lift = (b * first - a * second) / determinant
    d_theta = solved - d_t * system.solved[:, 0] + lift * system.solved[:, 1]
    if columns[1] is None or system.moved is None:
        return d_theta, -multiply(x, d_theta), d_t
    d_residual = columns[1][:, 0] - d_t * system.moved[:, 0] + lift * system.moved[:, 1]
    return d_theta, d_residual, d_t
