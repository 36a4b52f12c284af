"""Solve one loss curve, or many, for the critical attack strength."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from phase_jax.solver import crossing
from phase_jax.solver.monotone import cross_monotone, fit_monotone
from phase_jax.types import EpsilonStar, EpsilonStatus, InputError

if TYPE_CHECKING:
    from jaxtyping import Array, Float

_CROSSINGS = {
    "interpolation": crossing.cross_interpolation,
    "line": crossing.cross_line,
    "regression": crossing.cross_regression,
}
TRACEABLE_METHODS = tuple(_CROSSINGS)
METHODS = (*TRACEABLE_METHODS, "isotonic", "monotone_spline")


def solve_epsilon_star(
    epsilons: Float[Array, "E"],
    losses: Float[Array, "E"],
    threshold: Float[Array, ""] | float,
    *,
    method: str = "interpolation",
    supremum: Float[Array, ""] | float = math.inf,
) -> EpsilonStar:
    r"""Solve a train-loss curve for the critical attack strength.

    The paper's definition (section 4),

        epsilon* = sup {epsilon : R_train(theta(epsilon), epsilon) <= R_test(theta(0), 0)},

    on measured curves becomes: the first upward crossing of the threshold, with the last crossing
    beside it, and a status when there is none.

    Args:
      epsilons: Attack strengths (any unit, any norm, any order), zero for clean training.
      losses: Adversarial train loss at each; points that are not finite are left out.
      threshold: Clean test loss of the cleanly trained model.
      method: `interpolation` (between bracketing neighbours; Tables 1-3), `line` (through the
        smallest attack strength and the middle of the others; Table 4, "1"), `regression` (least
        squares on all points; Table 4, "3"), `isotonic` or `monotone_spline` (monotone fits,
        continued beyond the last point with their mean slope). The first three are pure and may
        be jitted and vmapped; the last two run on the host.
      supremum: The largest value that the loss can take however strong the attack, if known; a
        threshold at or above it is never reached (INFINITE).

    Returns:
      The solution. Outside jit and vmap: Python numbers and an `EpsilonStatus`.

    Raises:
      InputError: Unknown method, or arrays that are not two of the same length.

    References:
      Xing, Song and Cheng, "Phase Transition from Clean Training to Adversarial Training",
      NeurIPS 2022, section 4 and Appendix A.
    """
    if method not in METHODS:
        raise InputError(f"method: {method!r} is not known; allowed: {', '.join(METHODS)}")
    if np.ndim(epsilons) != 1 or np.shape(epsilons) != np.shape(losses) or not len(epsilons):
        raise InputError(
            f"epsilons and losses have shapes {np.shape(epsilons)} and {np.shape(losses)}; "
            "allowed: two arrays of one length [E], E >= 1 (use jax.vmap for batches)"
        )
    is_traced = any(isinstance(value, Tracer) for value in (epsilons, losses, threshold, supremum))
    if method in TRACEABLE_METHODS:
        if is_traced:
            return _solve_traceable(epsilons, losses, threshold, supremum, method=method)
        return _to_host(_solve_jitted(epsilons, losses, threshold, supremum, method=method))
    if is_traced:
        raise InputError(
            f"method: {method!r} runs on the host; allowed inside jit and vmap: "
            f"{', '.join(TRACEABLE_METHODS)}"
        )
    return _to_host(_solve_monotone(epsilons, losses, threshold, supremum, method))


def solve_thresholds(
    epsilons: np.ndarray,
    losses: np.ndarray,
    thresholds: np.ndarray,
    *,
    method: str,
    supremum: float = math.inf,
) -> EpsilonStar:
    """Solve every seed's curve for many thresholds (the bootstrap).

    Args:
      epsilons: [E] attack strengths.
      losses: [S, E] one curve a seed.
      thresholds: [S, R] thresholds of each seed.
      method: As in `solve_epsilon_star`.
      supremum: As in `solve_epsilon_star`.

    Returns:
      Solutions with NumPy fields of shape [S, R].
    """
    if method in TRACEABLE_METHODS:
        solutions = _solve_many(epsilons, losses, thresholds, supremum, method=method)
        return EpsilonStar(*(np.asarray(field) for field in solutions))
    rows = [
        _solve_monotone(epsilons, curve, row, supremum, method)
        for curve, row in zip(losses, thresholds, strict=True)
    ]
    return EpsilonStar(*(np.stack(fields) for fields in zip(*rows, strict=True)))


def _solve_traceable(
    epsilons: Any, losses: Any, threshold: Any, supremum: Any, *, method: str
) -> EpsilonStar:
    """Solve one curve for one threshold with JAX operations only."""
    dtype = jnp.result_type(float)
    epsilons, losses = jnp.asarray(epsilons, dtype), jnp.asarray(losses, dtype)
    threshold = jnp.asarray(threshold, dtype)
    if epsilons.size == 1:  # one static point: give it an unusable neighbour
        epsilons, losses = (jnp.append(array, jnp.nan) for array in (epsilons, losses))
    curve = crossing.sort_points(epsilons, losses)
    solution = _CROSSINGS[method](curve, threshold)
    return crossing.refine_status(curve, solution, threshold, jnp.asarray(supremum, dtype))


_solve_jitted = jax.jit(_solve_traceable, static_argnames="method")


@functools.partial(jax.jit, static_argnames="method")
def _solve_many(
    epsilons: Any, losses: Any, thresholds: Any, supremum: Any, *, method: str
) -> EpsilonStar:
    solve = functools.partial(_solve_traceable, method=method)
    over_thresholds = jax.vmap(solve, in_axes=(None, None, 0, None))
    return jax.vmap(over_thresholds, in_axes=(None, 0, 0, None))(
        epsilons, losses, thresholds, supremum
    )


def _solve_monotone(
    epsilons: Any, losses: Any, thresholds: Any, supremum: Any, method: str
) -> EpsilonStar:
    """Solve one curve for thresholds of any shape on the host."""
    epsilons, losses = np.asarray(epsilons, float), np.asarray(losses, float)
    thresholds = np.asarray(thresholds, float)
    finite = np.isfinite(epsilons)
    starts = finite & (epsilons == epsilons[finite].min(initial=math.inf))
    usable = finite & np.isfinite(losses)
    if not np.any(usable & starts):
        return _constant_solution(thresholds, EpsilonStatus.NONFINITE)
    first_loss = losses[usable & starts].mean()
    if len(np.unique(epsilons[usable])) < 2:
        solution = _constant_solution(thresholds, EpsilonStatus.INSUFFICIENT)
    else:
        curve = fit_monotone(epsilons[usable], losses[usable], method)
        solution = cross_monotone(curve, np.where(np.isfinite(thresholds), thresholds, 0.0))
    status = np.where(thresholds >= float(supremum), EpsilonStatus.INFINITE, solution.status)
    status = np.where(first_loss > thresholds, EpsilonStatus.UNDEFINED, status)
    status = np.where(np.isfinite(thresholds), status, EpsilonStatus.NONFINITE)
    found = status == EpsilonStatus.FOUND
    value, last, slope = (
        np.where(found, field, np.nan)
        for field in (solution.value, solution.last_crossing, solution.slope)
    )
    return EpsilonStar(value, status, last, np.where(found, solution.num_crossings, 0), slope)


def _constant_solution(thresholds: np.ndarray, status: EpsilonStatus) -> EpsilonStar:
    nothing = np.full(thresholds.shape, np.nan)
    codes = np.full(thresholds.shape, int(status))
    return EpsilonStar(nothing, codes, nothing, np.zeros(thresholds.shape, int), nothing)


def _to_host(solution: EpsilonStar) -> EpsilonStar:
    """Turn a single solve into Python numbers."""
    return EpsilonStar(
        value=float(solution.value),
        status=EpsilonStatus(int(solution.status)),
        last_crossing=float(solution.last_crossing),
        num_crossings=int(solution.num_crossings),
        slope=float(solution.slope),
    )
