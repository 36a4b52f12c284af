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

from phase_jax.linear.factorise import factor_cholesky, solve_cholesky
from phase_jax.linear.interior_point import reach_threshold, run_interior_point
from phase_jax.linear.model import collapse_epsilon, measure_dual, measure_length, multiply
from phase_jax.linear.problem import check_problem, fit_clean, reduce_problem
from phase_jax.linear.solve import AIM, minimise
from phase_jax.types import EpsilonStar, EpsilonStatus

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from phase_jax.linear.problem import CleanFit, Design

RELATIVE_GAP = 1e-7
"""Gap at epsilon* over the rise of the loss from clean training to the threshold."""
TRAJECTORY_TOLERANCE = {"float64": 1e-5, "float32": 1e-4}
"""Relative size of a step at which the trajectory threshold is taken as found."""
MAX_PROBES = 60


class Bracket(NamedTuple):
    """A crossing between two attack strengths, and the last two probes of the distance."""

    low: Float[Array, ""]
    high: Float[Array, ""]
    place: Float[Array, ""]  # the next probe
    last: Float[Array, ""]
    last_lack: Float[Array, ""]
    slope: Float[Array, ""]  # of the lack, by the last two probes
    width: Float[Array, ""]  # of the last move
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
    monotonically in every data set tried. epsilon / |theta(epsilon) - theta(0)| hardly changes with
    epsilon, and is known at 0: secant steps on epsilon - distance times this ratio, inside a
    bracket, take four or five solves.

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

    def measure_distance(epsilon: Array) -> Array:
        found = minimise(problem, clean, collapse, epsilon, "l2")
        return measure_length(found.theta - clean.theta)

    reachable = (wanted > 0) & (wanted < end)
    bracket = open_bracket(wanted, measure_first_slope(problem.design, clean), collapse, end)
    bracket = close_bracket(
        bracket, wanted, measure_distance, TRAJECTORY_TOLERANCE[str(x.dtype)], ~reachable
    )
    status = jnp.where(wanted >= end, EpsilonStatus.INFINITE, EpsilonStatus.FOUND)
    sound = jnp.isfinite(wanted) & (wanted > 0) & jnp.isfinite(end) & jnp.any(y != 0)
    status = jnp.where(sound, status, EpsilonStatus.NONFINITE)
    return describe_crossing(bracket.place, status, bracket.slope * problem.scale)


def measure_first_slope(design: Design, clean: CleanFit) -> Float[Array, ""]:
    """Compute d|theta(epsilon) - theta(0)| / d epsilon at 0, under the l2 attack.

    Setting the gradient of the loss to zero to first order, (X^T X / N) d theta / d epsilon =
    |theta| X^T sign(r) / N - mean|r| theta / |theta|. It is 0 where clean training interpolates.
    """
    x = design.x
    if x.shape[1] >= x.shape[0]:
        return jnp.zeros((), x.dtype)
    length = measure_length(clean.theta)
    signs = jnp.sign(clean.residual)
    side = multiply(signs, x) * length - jnp.abs(clean.residual).sum() * clean.theta / length
    factored = factor_cholesky(multiply(design.transposed, x))
    return measure_length(solve_cholesky(factored, side[:, None])[:, 0])


def open_bracket(wanted: Array, first_slope: Array, collapse: Array, end: Array) -> Bracket:
    """Bracket the crossing by 0 and collapse, and choose the first probe."""
    zero = jnp.zeros_like(collapse)
    first = wanted / first_slope
    place = jnp.where(first < collapse, first, collapse * wanted / end)
    return Bracket(
        low=zero,
        high=collapse,
        place=place,
        last=zero,
        last_lack=-first,
        slope=end / collapse,
        width=collapse,
        count=jnp.zeros((), jnp.int32),
    )


def close_bracket(
    bracket: Bracket, wanted: Array, measure_distance: Any, tolerance: float, idle: Array
) -> Bracket:
    """Move by secants, or to the bracket's middle, until a move is a small share of epsilon."""

    def continues(state: Bracket) -> Array:
        open_ = state.width > tolerance * state.place
        return open_ & (state.count < MAX_PROBES) & ~idle

    def probe(state: Bracket) -> Bracket:
        place = state.place
        distance = measure_distance(place)
        lack = place - wanted * place / distance
        low = jnp.where(distance < wanted, place, state.low)
        high = jnp.where(distance < wanted, state.high, place)
        following = place - lack * (place - state.last) / (lack - state.last_lack)
        usable = (following >= low) & (following <= high) & jnp.isfinite(state.last_lack)
        following = jnp.where(usable, following, (low + high) / 2)
        following = jnp.where(lack == 0, place, following)
        return Bracket(
            low=low,
            high=high,
            place=following,
            last=place,
            last_lack=lack,
            # lack = place (1 - wanted / distance), at the crossing place * slope / wanted.
            slope=wanted / place * (lack - state.last_lack) / (place - state.last),
            width=jnp.abs(following - place),
            count=state.count + 1,
        )

    return jax.lax.while_loop(continues, probe, bracket)


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
