"""The two critical attack strengths of one linear data set, exactly.

The loss threshold is epsilon* as the paper defines it: where the minimal adversarial train loss
reaches the clean test loss. The trajectory threshold is where the minimiser has moved away from
clean training's by the clean estimator's own standard deviation (Theorem 1). They are not of the
same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from phase_jax.linear.interior_point import reach_threshold, run_interior_point
from phase_jax.linear.model import collapse_epsilon, measure_dual, measure_length
from phase_jax.linear.problem import check_problem, fit_clean, reduce_problem
from phase_jax.linear.solve import AIM, minimise
from phase_jax.types import EpsilonStar, EpsilonStatus

if TYPE_CHECKING:
    from jaxtyping import Array, Float

RELATIVE_GAP = 1e-7
"""Gap at epsilon* over the rise of the loss from clean training to the threshold."""
TRAJECTORY_TOLERANCE = {"float64": 1e-8, "float32": 1e-4}
"""Relative width of the bracket at which the trajectory threshold is taken as found."""
MAX_BRACKETINGS = 60


class Bracket(NamedTuple):
    """Two attack strengths around a crossing, and how far from it their values are."""

    low: Float[Array, ""]
    high: Float[Array, ""]
    low_value: Float[Array, ""]
    high_value: Float[Array, ""]
    side: Float[Array, ""]  # which end moved last: -1, +1
    count: Array


def solve_epsilon_star(
    x: Float[Array, "N D"],
    y: Float[Array, "N"],
    threshold: Float[Array, ""] | float,
    *,
    norm: str = "l2",
) -> EpsilonStar:
    """Solve for epsilon*, where the minimal adversarial train loss reaches a threshold.

    The minimum rises continuously from the clean train loss to mean(y^2), which it reaches at
    collapse. One interior-point run follows it: between its steps epsilon takes safeguarded Newton
    steps on the envelope derivative 2 |theta|_q mean|r| + 2 epsilon |theta|_q^2. Pure; batch with
    `jax.vmap`. Near threshold = mean(y^2) the slope vanishes and the answer is ill-conditioned.

    Args:
      x: Design, of full rank.
      y: Responses, not all zero.
      threshold: Clean test loss of the clean minimiser, in the unit of y^2; traced.
      norm: Attack norm, `l2` or `linf`; static.

    Returns:
      One crossing, arrays with codes of `EpsilonStatus`: FOUND; UNDEFINED where the threshold lies
      below the clean train loss; INFINITE where it is at or above mean(y^2); NONFINITE where the
      data or the threshold is not finite or the method failed.

    Raises:
      InputError: `norm` is not known, or the shapes don't fit.

    References:
      Section 4 of the paper, the definition after Theorem 2.
    """
    check_problem(x, y, norm)
    problem = reduce_problem(x, y, norm)
    clean = fit_clean(problem.design, problem.y)
    wanted = jnp.asarray(threshold, x.dtype) / problem.scale**2
    rise = wanted - jnp.mean(clean.residual**2)
    first = reach_threshold(clean.theta, clean.residual, wanted, norm)
    inside = (rise > 0) & (wanted < 1) & (first > 0)
    collapse = collapse_epsilon(problem.design.x, problem.y, norm)
    state = run_interior_point(
        problem.design,
        problem.y,
        jnp.where(inside, first, 0.5 * collapse),
        norm,
        clean=clean,
        tolerance=jnp.where(inside, jnp.minimum(AIM[str(x.dtype)], RELATIVE_GAP * rise), 1.0),
        threshold=jnp.where(inside, wanted, -1.0),
    )
    value = jnp.where(inside, state.epsilon, 0.0)
    length = measure_dual(state.best_theta, norm)
    slope = 2 * length * (jnp.abs(state.iterate.residual).mean() + value * length)
    status = jnp.where(rise < 0, EpsilonStatus.UNDEFINED, EpsilonStatus.FOUND)
    status = jnp.where(wanted >= 1, EpsilonStatus.INFINITE, status)
    sound = jnp.isfinite(rise) & jnp.any(y != 0)
    sound &= ~inside | (state.best_loss - state.best_bound <= 0.1 * rise)
    status = jnp.where(sound, status, EpsilonStatus.NONFINITE)
    return describe_crossing(value, status, slope * problem.scale**2)


def solve_trajectory_epsilon(
    x: Float[Array, "N D"], y: Float[Array, "N"], distance: Float[Array, ""] | float
) -> EpsilonStar:
    """Solve for the l2 attack strength at which the minimiser has moved by a given distance.

    |theta(epsilon) - theta(0)| rises from 0 to |theta(0)|, which it reaches at collapse, and grew
    monotonically in every data set tried; it is bracketed and solved by regula falsi (Illinois).

    Args:
      x: Design, of full rank.
      y: Responses, not all zero.
      distance: |Std theta_hat(0)|_F (`moments.std_length`), in the unit of theta; > 0, traced.

    Returns:
      One crossing, arrays with codes of `EpsilonStatus`: FOUND; INFINITE where the distance is
      never reached (it is above |theta(0)|); NONFINITE. `slope` is that of the distance.

    Raises:
      InputError: The shapes don't fit.

    References:
      Theorem 1.
    """
    check_problem(x, y, "l2")
    problem = reduce_problem(x, y, "l2")
    clean = fit_clean(problem.design, problem.y)
    collapse = collapse_epsilon(problem.design.x, problem.y, "l2")
    wanted = jnp.asarray(distance, x.dtype) / problem.scale
    end = measure_length(clean.theta)

    def measure_value(epsilon: Array) -> Array:
        found = minimise(problem, clean, collapse, epsilon, "l2")
        return measure_length(found.theta - clean.theta) - wanted

    reachable = (wanted > 0) & (wanted < end)
    one = jnp.ones_like(collapse)
    bracket = Bracket(0 * one, collapse, -wanted, end - wanted, 0 * one, jnp.zeros((), jnp.int32))
    bracket = close_bracket(bracket, measure_value, TRAJECTORY_TOLERANCE[str(x.dtype)], ~reachable)
    value, slope = cross_bracket(bracket)
    status = jnp.where(wanted >= end, EpsilonStatus.INFINITE, EpsilonStatus.FOUND)
    sound = jnp.isfinite(wanted) & (wanted > 0) & jnp.isfinite(end) & jnp.any(y != 0)
    status = jnp.where(sound, status, EpsilonStatus.NONFINITE)
    return describe_crossing(value, status, slope * problem.scale)


def close_bracket(bracket: Bracket, measure_value: Any, tolerance: float, idle: Array) -> Bracket:
    """Narrow a bracket by regula falsi, halving the weight of an end that stays (Illinois)."""

    def continues(state: Bracket) -> Array:
        open_ = state.high - state.low > tolerance * state.high
        return open_ & (state.count < MAX_BRACKETINGS) & ~idle

    def narrow(state: Bracket) -> Bracket:
        middle, _ = cross_bracket(state)
        value = measure_value(middle)
        is_low = value < 0
        stays_high = is_low & (state.side < 0)
        stays_low = ~is_low & (state.side > 0)
        return Bracket(
            low=jnp.where(is_low, middle, state.low),
            high=jnp.where(is_low, state.high, middle),
            low_value=jnp.where(is_low, value, jnp.where(stays_low, 0.5, 1.0) * state.low_value),
            high_value=jnp.where(is_low, jnp.where(stays_high, 0.5, 1.0) * state.high_value, value),
            side=jnp.where(is_low, -1.0, 1.0),
            count=state.count + 1,
        )

    return jax.lax.while_loop(continues, narrow, bracket)


def cross_bracket(bracket: Bracket) -> tuple[Array, Array]:
    """Cross the line between a bracket's ends; return where, and its slope."""
    slope = (bracket.high_value - bracket.low_value) / (bracket.high - bracket.low)
    place = bracket.low - bracket.low_value / slope
    return jnp.clip(place, bracket.low, bracket.high), slope


def describe_crossing(value: Array, status: Array, slope: Array) -> EpsilonStar:
    """Describe the only crossing of a rising curve."""
    found = status == EpsilonStatus.FOUND
    value = jnp.where(found, value, jnp.nan)
    return EpsilonStar(
        value=value,
        status=status.astype(jnp.int32),
        last_crossing=value,
        num_crossings=found.astype(jnp.int32),
        slope=jnp.where(found, slope, jnp.nan),
    )
