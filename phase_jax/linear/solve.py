"""Exact minimisers of the adversarial train loss, each with a certificate of optimality."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

from phase_jax.linear.factorise import solve_upper, solve_upper_transposed
from phase_jax.linear.interior_point import run_interior_point
from phase_jax.linear.model import (
    adversarial_loss,
    collapse_epsilon,
    factor_design,
    measure_attack,
    measure_length,
)
from phase_jax.linear.problem import (
    CleanFit,
    Reduced,
    check_problem,
    fit_clean,
    reduce_problem,
    restore_theta,
)
from phase_jax.types import InputError

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

GAP_TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
"""Gap, over mean(y^2), at which a solution counts as SOLVED."""
FAR_BELOW = 1e-3
"""Share of collapse at which interpolation under the linf attack is taken for granted."""
AIM = {"float64": 1e-10, "float32": 2e-6}
"""Gap, over mean(y^2), at which iterations stop; below it rounding rules."""


class SolveStatus(enum.IntEnum):
    """What an exact solve ended with."""

    SOLVED = 0
    """The certificate closes to 1e-9 mean(y^2) in float64, 1e-4 mean(y^2) in float32."""
    INACCURATE = 1
    """The certificate stays wider; `gap` says how wide."""
    NONFINITE = 2
    """x, y or epsilon is not finite, epsilon is negative, or y is zero."""


class LinearSolution(NamedTuple):
    """A minimiser of the adversarial train loss."""

    theta: Any
    """[D]"""
    loss: Any
    """Adversarial train loss at theta."""
    gap: Any
    """Certificate: the minimum lies in [loss - gap, loss]."""
    num_iterations: Any
    status: Any
    """Code of `SolveStatus`."""


class Minimum(NamedTuple):
    """A minimiser in reduced coordinates, with its enclosure."""

    theta: Float[Array, "D"]
    loss: Float[Array, ""]
    bound: Float[Array, ""]
    num_iterations: Int[Array, ""]


def solve(
    x: Float[Array, "N D"],
    y: Float[Array, "N"],
    epsilon: Float[Array, ""] | float,
    *,
    norm: str = "l2",
) -> LinearSolution:
    """Minimise the adversarial train loss exactly, mean (|y - x^T theta| + epsilon |theta|_q)^2.

    Pure; go through `jax.vmap` over epsilon, data sets, or both. Above collapse theta is exactly
    zero; at epsilon = 0 it is the clean minimiser (of minimum l2 norm where D > N); where clean
    training's interpolator is optimal under the l2 attack, it is that.

    Args:
      x: Design, of full rank; its dtype decides the precision.
      y: Responses, not all zero.
      epsilon: Attack radius in the norm `norm`, in the unit of x; >= 0, traced.
      norm: Attack norm, `l2` (q = 2) or `linf` (q = 1); static.

    Returns:
      theta, its loss, the duality gap, the number of interior-point iterations and a status.

    Raises:
      InputError: `norm` is not known, or the shapes don't fit.

    References:
      Equation (2) of the paper for a linear model; Ribeiro, Zachariah, Bach and Schön (2023) for
      its phases.
    """
    check_problem(x, y, norm)
    epsilon = jnp.asarray(epsilon, x.dtype)
    problem = reduce_problem(x, y, norm)
    collapse = collapse_epsilon(problem.design.x, problem.y, norm)
    found = minimise(problem, fit_clean(problem.design, problem.y), collapse, epsilon, norm)
    gap = jnp.maximum(found.loss - found.bound, 0.0)
    tight = gap <= GAP_TOLERANCE[str(x.dtype)]
    status = jnp.where(tight, SolveStatus.SOLVED, SolveStatus.INACCURATE)
    sound = jnp.isfinite(gap) & jnp.all(jnp.isfinite(found.theta)) & (epsilon >= 0)
    sound &= jnp.any(y != 0)
    return LinearSolution(
        theta=restore_theta(problem, found.theta),
        loss=found.loss * problem.scale**2,
        gap=gap * problem.scale**2,
        num_iterations=found.num_iterations,
        status=jnp.where(sound, status, SolveStatus.NONFINITE).astype(jnp.int32),
    )


def minimise(
    problem: Reduced, clean: CleanFit, collapse: Array, epsilon: Array, norm: str
) -> Minimum:
    """Minimise a reduced problem: clean training's theta at 0, zero above collapse, else solve."""
    design, y = problem.design, problem.y
    x = design.x
    inside = (epsilon > 0) & (epsilon < collapse)
    radius = jnp.where(inside, epsilon, 0.5 * collapse)
    state = run_interior_point(design, y, radius, norm, clean=clean, tolerance=AIM[str(x.dtype)])
    theta = jnp.where(inside, state.best_theta, jnp.where(epsilon < collapse, clean.theta, 0.0))
    bound = jnp.where(epsilon > 0, jnp.where(inside, state.best_bound, 1.0), clean.bound)
    return Minimum(
        theta=theta,
        loss=adversarial_loss(theta, x, y, epsilon, norm),
        bound=bound,
        num_iterations=jnp.where(inside, state.num_iterations, 0),
    )


def interpolation_epsilon(
    x: Float[Array, "N D"], y: Float[Array, "N"], norm: str = "l2"
) -> Float[Array, ""]:
    """Compute the interpolation threshold 1 / (N |alpha|_inf) of overparametrised data, D > N.

    Up to it, adversarial training ends exactly at the interpolator of least |theta|_q, whose dual
    solution alpha is. Under the l2 attack this is clean gradient descent's own limit, and alpha =
    (X X^T)^-1 y / |theta|; under the linf attack it is the interpolator of least l1 norm, and alpha
    comes from an exact solve at an epsilon far below.

    Args:
      x: Design with D > N, rows independent.
      y: Responses, not all zero.
      norm: Attack norm; static.

    Returns:
      The threshold.

    Raises:
      InputError: `norm` is not known, or D <= N: there is no interpolation.

    References:
      Ribeiro, Zachariah, Bach and Schön (2023), "Regularization properties of adversarially-trained
      linear regression".
    """
    check_problem(x, y, norm)
    if x.shape[1] <= x.shape[0]:
        raise InputError(
            f"x: shape {x.shape} has D <= N; interpolation needs more features than examples"
        )
    if norm == "l2":
        _, r = factor_design(x)  # X X^T = R^T R
        half = solve_upper_transposed(r, y)  # theta = Q half
        alpha = solve_upper(r, half) / measure_length(half)
        return 1 / (y.size * jnp.abs(alpha).max())
    problem = reduce_problem(x, y, norm)
    radius = FAR_BELOW * collapse_epsilon(problem.design.x, problem.y, norm)
    clean = fit_clean(problem.design, problem.y)
    tolerance = AIM[str(x.dtype)] * FAR_BELOW**2
    state = run_interior_point(
        problem.design, problem.y, radius, norm, clean=clean, tolerance=tolerance
    )
    upper, lower = state.iterate.multipliers
    w = upper - lower  # a multiple of alpha
    return measure_attack(state.iterate.pull, norm) / (y.size * jnp.abs(w).max())
