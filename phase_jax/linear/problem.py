"""A data set as the exact solvers see it: checked, scaled, reduced, and fitted without attack."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from phase_jax.linear.model import check_norm, factor_design, fit_least_squares, multiply
from phase_jax.types import InputError

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Design(NamedTuple):
    """A design and its transpose, both in memory: X^T diag(weights) X is fast with the two."""

    x: Float[Array, "N D"]
    transposed: Float[Array, "D N"]


class Reduced(NamedTuple):
    """A problem in the units and coordinates of the method, mean(y^2) = 1 and D <= N for `l2`."""

    design: Design
    y: Float[Array, "N"]
    scale: Float[Array, ""]
    basis: Float[Array, "D N"] | None


class CleanFit(NamedTuple):
    """Clean training's minimiser."""

    theta: Float[Array, "D"]
    residual: Float[Array, "N"]
    bound: Float[Array, ""]  # lower bound of its loss, safe to rounding


def check_problem(x: Array, y: Array, norm: str) -> None:
    """Refuse shapes that don't fit and unknown norms.

    Raises:
      InputError: As the name says.
    """
    check_norm(norm)
    if x.ndim != 2 or y.shape != x.shape[:1] or not x.size:
        raise InputError(f"x, y: shapes {x.shape} and {y.shape}; allowed: [N, D] and [N]")
    if str(x.dtype) not in ("float32", "float64") or y.dtype != x.dtype:
        raise InputError(
            f"x, y: types {x.dtype} and {y.dtype}; allowed: both float32 or both float64"
        )


def reduce_problem(x: Array, y: Array, norm: str) -> Reduced:
    """Scale to mean(y^2) = 1; under the l2 attack with D > N, work in the span of the examples.

    A part of theta orthogonal to every example changes no residual and only lengthens theta.
    """
    scale = jnp.sqrt(jnp.mean(y * y))
    scale = jnp.where(scale > 0, scale, 1.0)
    if norm == "l2" and x.shape[1] > x.shape[0]:
        basis, triangle = factor_design(x)
        return Reduced(hold_design(triangle.T), y / scale, scale, basis)
    return Reduced(hold_design(x), y / scale, scale, None)


def hold_design(x: Float[Array, "N D"]) -> Design:
    """Transpose a design once and for all, not anew at every use."""
    return Design(x, jax.lax.optimization_barrier(x.T))


def restore_theta(problem: Reduced, theta: Array) -> Float[Array, "D"]:
    """Go back to the caller's units and coordinates."""
    if problem.basis is not None:
        theta = multiply(problem.basis, theta)
    return theta * problem.scale


def fit_clean(design: Design, y: Float[Array, "N"]) -> CleanFit:
    """Fit clean training, and bound its loss from below by the part of y that no theta reaches."""
    x = design.x
    theta = fit_least_squares(x, y, design.transposed)
    residual = y - multiply(x, theta)
    bound = jnp.zeros((), y.dtype)
    if x.shape[1] < x.shape[0]:
        bound = (residual @ y) ** 2 / (residual @ residual) / y.size
    return CleanFit(theta, residual, bound)
