"""Where a loss curve meets a threshold: pure functions of one curve and one threshold.

Everything here may be jitted and vmapped. Points need no order; points that are not finite are
left out; points that share an attack strength count as their mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp

from phase_jax.types import EpsilonStar, EpsilonStatus

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int


class Curve(NamedTuple):
    """Points sorted by attack strength, the usable ones first."""

    epsilons: Float[Array, "E"]
    losses: Float[Array, "E"]
    valid: Bool[Array, "E"]
    starts_valid: Bool[Array, ""]  # the loss at the smallest attack strength is finite


def sort_points(epsilons: Float[Array, "E"], losses: Float[Array, "E"]) -> Curve:
    """Sort points, move unusable ones to the end and average repeats.

    Args:
      epsilons: Attack strengths, any order.
      losses: Loss at each.

    Returns:
      The curve; repeated attack strengths keep their places and share their mean loss.
    """
    valid = jnp.isfinite(epsilons) & jnp.isfinite(losses)
    smallest = jnp.min(jnp.where(jnp.isfinite(epsilons), epsilons, jnp.inf))
    starts_valid = jnp.any(valid & (epsilons == smallest))
    order = jnp.lexsort((losses, jnp.where(valid, epsilons, jnp.inf)))
    epsilons, losses, valid = epsilons[order], losses[order], valid[order]
    losses = jnp.where(valid, losses, 0.0)
    same = (epsilons[:, None] == epsilons[None, :]) & valid[None, :]
    means = jnp.where(same, losses[None, :], 0.0).sum(1) / jnp.maximum(same.sum(1), 1)
    return Curve(epsilons, means, valid, starts_valid)


def cross_interpolation(curve: Curve, threshold: Float[Array, ""]) -> EpsilonStar:
    """Interpolate linearly between the neighbours that bracket the threshold.

    The value is the first upward crossing, the rule that reproduces Tables 1-3 of the paper.
    The last crossing, in either direction, is reported beside it: a train loss that comes back
    down (catastrophic overfitting) crosses more than once.
    """
    left, right = curve.losses[:-1], curve.losses[1:]
    start, stop = curve.epsilons[:-1], curve.epsilons[1:]
    segment = curve.valid[1:] & (stop > start)
    is_last = jnp.arange(1, curve.valid.size) == curve.valid.sum() - 1
    reaches = (right > threshold) | (is_last & (right == threshold))
    upward = segment & (left <= threshold) & reaches
    downward = segment & (left > threshold) & (right <= threshold)
    rise = right - left
    fraction = jnp.where(rise != 0, (threshold - left) / jnp.where(rise != 0, rise, 1.0), 1.0)
    places = start + fraction * (stop - start)
    crosses = upward | downward
    first = jnp.argmax(upward)
    found = jnp.any(upward)
    last = jnp.max(jnp.where(crosses, places, -jnp.inf), initial=-jnp.inf)
    return EpsilonStar(
        value=places[first],
        status=jnp.where(found, EpsilonStatus.FOUND, EpsilonStatus.BEYOND_GRID),
        last_crossing=jnp.where(jnp.any(crosses), last, jnp.nan),
        num_crossings=crosses.sum(),
        slope=(rise / jnp.where(segment, stop - start, 1.0))[first],
    )


def cross_line(curve: Curve, threshold: Float[Array, ""]) -> EpsilonStar:
    """Extend the straight line through the smallest attack strength and the middle of the others.

    With one positive attack strength this is the paper's one-point extrapolation (Table 4, "1"),
    which for three fine-tuned strengths uses the middle one.
    """
    distinct = curve.valid & jnp.append(True, curve.epsilons[1:] != curve.epsilons[:-1])
    num_others = distinct.sum() - 1
    place = jnp.cumsum(distinct) - 1  # 0 for the smallest
    is_middle = distinct & (place == (num_others + 1) // 2)
    middle = jnp.argmax(is_middle)
    rise = curve.losses[middle] - curve.losses[0]
    run = curve.epsilons[middle] - curve.epsilons[0]
    slope = rise / jnp.where(run > 0, run, 1.0)
    return _cross_straight(curve.epsilons[0], curve.losses[0], slope, threshold)


def cross_regression(curve: Curve, threshold: Float[Array, ""]) -> EpsilonStar:
    """Extend the least-squares line through all points, the smallest attack strength included.

    With three fine-tuned strengths this is the paper's three-point extrapolation (Table 4, "3").
    """
    weights = curve.valid / jnp.maximum(curve.valid.sum(), 1)
    epsilons = jnp.where(curve.valid, curve.epsilons, 0.0)
    mean_epsilon, mean_loss = weights @ epsilons, weights @ curve.losses
    centred = jnp.where(curve.valid, epsilons - mean_epsilon, 0.0)
    spread = weights @ centred**2
    slope = (weights * centred) @ (curve.losses - mean_loss) / jnp.where(spread > 0, spread, 1.0)
    return _cross_straight(mean_epsilon, mean_loss, slope, threshold)


def _cross_straight(
    epsilon: Float[Array, ""],
    loss: Float[Array, ""],
    slope: Float[Array, ""],
    threshold: Float[Array, ""],
) -> EpsilonStar:
    """Meet the line through (epsilon, loss) with the threshold."""
    rises = slope > 0
    value = epsilon + (threshold - loss) / jnp.where(rises, slope, 1.0)
    status = jnp.where(value >= 0, EpsilonStatus.FOUND, EpsilonStatus.UNDEFINED)
    status = jnp.where(rises, status, EpsilonStatus.BEYOND_GRID)
    found = status == EpsilonStatus.FOUND
    return EpsilonStar(value, status, jnp.where(found, value, jnp.nan), found.astype(int), slope)


def refine_status(
    curve: Curve,
    solution: EpsilonStar,
    threshold: Float[Array, ""],
    supremum: Float[Array, ""],
) -> EpsilonStar:
    """Put the outcomes that no method can overrule in front of the method's own."""
    status: Int[Array, ""] = solution.status
    num_points = (curve.valid & jnp.append(True, curve.epsilons[1:] > curve.epsilons[:-1])).sum()
    status = jnp.where(num_points < 2, EpsilonStatus.INSUFFICIENT, status)
    status = jnp.where(threshold >= supremum, EpsilonStatus.INFINITE, status)
    status = jnp.where(curve.losses[0] > threshold, EpsilonStatus.UNDEFINED, status)
    sound = jnp.isfinite(threshold) & curve.starts_valid
    status = jnp.where(sound, status, EpsilonStatus.NONFINITE)
    found = status == EpsilonStatus.FOUND
    return EpsilonStar(
        value=jnp.where(found, solution.value, jnp.nan),
        status=status.astype(jnp.int32),
        last_crossing=jnp.where(sound, solution.last_crossing, jnp.nan),
        num_crossings=jnp.where(sound, solution.num_crossings, 0).astype(jnp.int32),
        slope=jnp.where(found, solution.slope, jnp.nan),
    )
