"""A primal-dual interior-point method for adversarial linear regression, one problem at a time.

    minimise 1/2 sum_i (v_i + epsilon t)^2   subject to   v_i >= |r_i|,  t >= |theta|_q,
    r = y - X theta,

which is N / 2 times the adversarial train loss. Its dual is

    maximise w^T y - 1/2 |s|^2   subject to   |w_i| <= s_i,  |X^T w|_p <= epsilon sum_i s_i.

s is the sum of the multipliers of v - r >= 0 and v + r >= 0, and w their difference, so a dual
point comes with every iterate, and with it a certificate: the two values enclose the minimum. The
start is the clean minimiser with its residual, which is strictly inside on both sides. Steps are
Mehrotra's predictor and corrector. The norm's barrier weighs as much as all residuals' together,
because its multiplier is a sum over examples: with equal weights its slack would drown in rounding
long before theirs (float32 would not work at all).

With a threshold, epsilon moves along: see `advance_epsilon`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from phase_jax.linear.cone import CONES
from phase_jax.linear.model import measure_attack, measure_dual, multiply
from phase_jax.linear.newton import Iterate, reduce_system, solve_step

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

    from phase_jax.linear.cone import Cone
    from phase_jax.linear.problem import CleanFit, Design

MAX_ITERATIONS = 60
MAX_STALLED = 5
NUM_AGAIN = 15
START_SLACK = 1.0
KEEP_INSIDE = 0.99
KEEP_FAR_INSIDE = 0.9
"""Share of the way to the boundary that a step may go; the second one where the first got stuck,
once in some 1,000 small, nearly degenerate problems."""
LEAST_SHRINK = 1e-3


class LoopState(NamedTuple):
    """What the iterations carry."""

    iterate: Iterate
    epsilon: Float[Array, ""]
    sharp: Bool[Array, ""]
    keep: Float[Array, ""]
    best_theta: Float[Array, "D"]
    best_loss: Float[Array, ""]
    best_bound: Float[Array, ""]  # the largest lower bound of the minimum
    num_iterations: Int[Array, ""]
    num_stalled: Int[Array, ""]


def run_interior_point(
    design: Design,
    y: Float[Array, "N"],
    epsilon: Float[Array, ""],
    norm: str,
    *,
    clean: CleanFit,
    tolerance: float | Float[Array, ""],
    threshold: Float[Array, ""] | None = None,
) -> LoopState:
    """Iterate until the certificate closes, or no longer does.

    Args:
      design: Design.
      y: Responses with mean(y^2) = 1, the unit of losses and gaps here.
      epsilon: Attack radius, above 0 and below collapse (elsewhere the answer is known, and what
        comes back is of no use). With `threshold`: where to start, at most epsilon*.
      norm: Attack norm.
      clean: Clean training's minimiser, where the iterations start.
      tolerance: Gap at which to stop.
      threshold: None, or the loss whose epsilon* is sought.

    Returns:
      The last state; `epsilon` is epsilon* where a threshold was given.
    """
    cone = CONES[norm]

    def continues(state: LoopState) -> Bool[Array, ""]:
        open_ = state.best_loss - state.best_bound > tolerance
        return open_ & (state.num_iterations < MAX_ITERATIONS) & (state.num_stalled < MAX_STALLED)

    def advance(state: LoopState) -> LoopState:
        iterate = step_interior(state, design, y, norm)
        epsilon = state.epsilon
        if threshold is not None:
            iterate, epsilon = advance_epsilon(iterate, epsilon, threshold, norm, cone)
            return judge(state, iterate, epsilon, norm, cone)
        return restart_stuck(judge(state, iterate, epsilon, norm, cone), first.iterate)

    first = open_state(start_inside(design.x, epsilon, clean, cone), epsilon, norm, clean.bound)
    return jax.lax.while_loop(continues, advance, first)


def open_state(iterate: Iterate, epsilon: Array, norm: str, clean_bound: Array) -> LoopState:
    """Make the first state; no attack lowers the minimum, so clean training bounds it."""
    loss, bound = enclose(iterate, epsilon, norm)
    bound = jnp.fmax(bound, clean_bound)
    zero, no, keep = jnp.zeros((), jnp.int32), jnp.zeros((), bool), jnp.full_like(loss, KEEP_INSIDE)
    return LoopState(iterate, epsilon, no, keep, iterate.theta, loss, bound, zero, zero)


def judge(state: LoopState, iterate: Iterate, epsilon: Array, norm: str, cone: Cone) -> LoopState:
    """Enclose the minimum by the new iterate, and keep the best of both sides.

    Where epsilon has moved, only the new iterate counts.
    """
    loss, bound = enclose(iterate, epsilon, norm)
    fresh = epsilon > state.epsilon
    better = fresh | (loss < state.best_loss)
    best_loss = jnp.where(better, loss, state.best_loss)
    best_bound = jnp.where(fresh, bound, jnp.fmax(bound, state.best_bound))
    gained = best_loss - best_bound < 0.9 * (state.best_loss - state.best_bound)
    length, sharp = cone.sharpen(iterate.theta, iterate.bound, loss, loss - bound, state.sharp)
    return state._replace(
        iterate=iterate._replace(bound=length),
        epsilon=epsilon,
        sharp=sharp,
        best_theta=jnp.where(better, iterate.theta, state.best_theta),
        best_loss=best_loss,
        best_bound=best_bound,
        num_iterations=state.num_iterations + 1,
        num_stalled=jnp.where(gained, 0, state.num_stalled + 1),
    )


def restart_stuck(state: LoopState, start: Iterate) -> LoopState:
    """Begin again with shorter steps, once, where the certificate has stopped closing."""
    stuck = (state.num_stalled >= MAX_STALLED) & (state.keep == KEEP_INSIDE)
    return state._replace(
        iterate=jax.tree.map(lambda a, b: jnp.where(stuck, a, b), start, state.iterate),
        sharp=state.sharp & ~stuck,
        keep=jnp.where(stuck, KEEP_FAR_INSIDE, state.keep),
        num_stalled=jnp.where(stuck, -NUM_AGAIN, state.num_stalled),
    )


def enclose(iterate: Iterate, epsilon: Array, norm: str) -> tuple[Array, Array]:
    """Compute the loss at theta, and a lower bound of the minimum from the multipliers.

    Any w and s with |w_i| <= s_i and |X^T w|_p <= epsilon sum s give (w^T y)_+^2 / (N |s|^2), where
    w^T y = w^T r + (X^T w)^T theta; s is first made large enough.
    """
    loss = jnp.mean((jnp.abs(iterate.residual) + epsilon * measure_dual(iterate.theta, norm)) ** 2)
    upper, lower = iterate.multipliers
    w, s = upper - lower, upper + lower
    s = s * jnp.maximum(measure_attack(iterate.pull, norm) / (epsilon * s.sum()), 1.0)
    value = w @ iterate.residual + iterate.pull @ iterate.theta
    return loss, jnp.maximum(value, 0.0) ** 2 / (s.size * (s @ s))


def start_inside(x: Float[Array, "N D"], epsilon: Array, clean: CleanFit, cone: Cone) -> Iterate:
    """Start at the clean minimiser; its residual is orthogonal to X, so the dual side holds too."""
    theta, residual, _ = clean
    size = cone.size(cone.enter(theta, 0.0))
    bound = cone.enter(theta, START_SLACK * size)
    v = jnp.abs(residual) + START_SLACK * jnp.maximum(epsilon * size, 1e-3)
    s, w = v + epsilon * cone.size(bound), 0.99 * residual
    multipliers = jnp.stack([s + w, s - w]) / 2
    return Iterate(theta, bound, v, multipliers, residual, multiply(w, x))


def step_interior(state: LoopState, design: Design, y: Float[Array, "N"], norm: str) -> Iterate:
    """Take one predictor-corrector step."""
    iterate, epsilon, sharp, cone = state.iterate, state.epsilon, state.sharp, CONES[norm]
    slacks, multipliers = iterate.measure_slacks(), iterate.multipliers
    s = iterate.v + epsilon * cone.size(iterate.bound)
    tangent = cone.linearise(
        iterate.theta, iterate.bound, epsilon * s.sum(), iterate.pull, y.size, sharp
    )
    system = reduce_system(design, multipliers / slacks, epsilon, tangent)
    drift = s - multipliers[0] - multipliers[1]
    weight = 2 * y.size + tangent.weight
    mu = (jnp.vdot(slacks, multipliers) + tangent.gap) / weight
    solve_fn = functools.partial(
        solve_step, iterate, slacks, drift, design.x, epsilon, system, tangent
    )
    zero = jnp.zeros((), y.dtype)
    _, limit, gap_fn, products = solve_fn(zero, (zero, (zero, zero)))
    reached = gap_fn(jnp.minimum(limit, 1.0)) / weight
    target = mu * jnp.clip(reached / mu, 0.0, 1.0) ** 3
    direction, limit, _, _ = solve_fn(target, products)
    length = jnp.minimum(state.keep * limit, 1.0)
    theta, bound, v, multipliers = (
        value + length * step for value, step in zip(iterate[:4], direction, strict=True)
    )
    residual = y - multiply(design.x, theta)
    pull = multiply(multipliers[0] - multipliers[1], design.x)
    moved = Iterate(theta, bound, v, multipliers, residual, pull)
    return repair(moved, iterate, epsilon, sharp, cone, norm)


def repair(
    moved: Iterate, before: Iterate, epsilon: Array, sharp: Array, cone: Cone, norm: str
) -> Iterate:
    """Put back inside what rounding moved across the boundary, by raising v.

    Residual and pull are recomputed after a step, so near the end they differ from what the step
    foresaw by more than the slacks that are left.
    """
    size = jnp.abs(moved.residual)
    v = jnp.maximum(moved.v, size + LEAST_SHRINK * (before.v - jnp.abs(before.residual)))

    def measure_slack(point: Iterate) -> Array:
        total = point.v.sum() + point.v.size * epsilon * cone.size(point.bound)
        return epsilon * total - measure_attack(point.pull, norm)

    lack = LEAST_SHRINK * measure_slack(before) - measure_slack(moved._replace(v=v))
    raised = v + jnp.maximum(lack, 0.0) / (epsilon * v.size)
    return moved._replace(v=jnp.where(sharp, v, raised))


def advance_epsilon(
    iterate: Iterate, epsilon: Array, threshold: Array, norm: str, cone: Cone
) -> tuple[Iterate, Array]:
    """Move epsilon up to where the current theta's own loss reaches the threshold.

    The minimum at any epsilon is at most the loss of any theta there, so this never passes
    epsilon*. Once theta is the minimiser its loss touches the minimum with the same slope (the
    envelope theorem): then it is Newton's step towards epsilon*, from below, with nothing to guard.
    Raising epsilon keeps the dual point inside: s grows, w stays.
    """
    raised = jnp.fmax(epsilon, reach_threshold(iterate.theta, iterate.residual, threshold, norm))
    grown = (raised - epsilon) * cone.size(iterate.bound) / 2
    moved = iterate._replace(multipliers=iterate.multipliers + grown)
    return moved, raised


def reach_threshold(
    theta: Float[Array, "D"], residual: Float[Array, "N"], threshold: Array, norm: str
) -> Float[Array, ""]:
    """Solve adversarial_loss(theta, epsilon) = threshold for epsilon; 0 where it starts above."""
    size = jnp.abs(residual)
    mean, room = size.mean(), threshold - (size * size).mean()
    # The positive root of push^2 + 2 mean push - room, without cancellation.
    push = room / (mean + jnp.sqrt(jnp.maximum(mean**2 + room, 0.0)))
    length = measure_dual(theta, norm)
    return jnp.where((room > 0) & (length > 0), push / jnp.where(length > 0, length, 1.0), 0.0)
