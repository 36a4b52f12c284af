"""The bound of subgradient descent on the adversarial train loss, corrected and as printed.

Steps theta_{t+1} = theta_t - eta g_t, g_t a subgradient of the convex train loss, give for every T

    min_{t < T} loss(theta_t) - loss(theta_hat)
        <= (|theta_0 - theta_hat|^2 - |theta_T - theta_hat|^2) / (2 eta T) + eta L^2 / 2

with L = max_{t < T} |g_t|. Proposition 2 prints the minimum over t = 1...T, which is not so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from phase_jax.linear.model import adversarial_gradient, adversarial_loss

if TYPE_CHECKING:
    from jaxtyping import Array, Float

ROUNDING = 64.0
"""A violation is an excess of more than so many units of rounding of the terms compared."""


class Walk(NamedTuple):
    """A run of subgradient descent, at t = 0...num_steps."""

    lowest: Float[Array, "T+1"]
    """min over s = 0...t of the loss."""
    lowest_after: Float[Array, "T+1"]
    """min over s = 1...t, inf at t = 0."""
    steepest: Float[Array, "T+1"]
    """max over s = 0...t of |g_s|, the last of which is not stepped along."""
    squared_distance: Float[Array, "T+1"]
    """|theta_t - theta_hat|^2."""


class Bound(NamedTuple):
    """Both sides of the bound for T = 1...num_steps, and of the printed form."""

    excess: Float[Array, "T"]
    """min_{t < T} loss - loss(theta_hat)."""
    printed_excess: Float[Array, "T"]
    """min_{1 <= t <= T} loss - loss(theta_hat)."""
    bound: Float[Array, "T"]
    printed_bound: Float[Array, "T"]
    """With L = max_{t <= T} |g_t|, the more generous reading."""
    scale: Float[Array, "T"]
    """The largest term: what rounding is relative to."""


def walk_downhill(x, y, epsilon, norm, start, optimum, step_size, num_steps: int) -> Walk:
    """Take subgradient steps from `start`; record what the bound needs."""

    def advance(carry, step):
        theta, lowest, lowest_after, steepest = carry
        loss = adversarial_loss(theta, x, y, epsilon, norm)
        gradient = adversarial_gradient(theta, x, y, epsilon, norm)
        lowest = jnp.minimum(lowest, loss)
        lowest_after = jnp.where(step > 0, jnp.minimum(lowest_after, loss), jnp.inf)
        steepest = jnp.maximum(steepest, jnp.sqrt(gradient @ gradient))
        moved = theta - step_size * gradient
        record = Walk(lowest, lowest_after, steepest, ((theta - optimum) ** 2).sum())
        return (moved, lowest, lowest_after, steepest), record

    infinity = jnp.full((), jnp.inf, x.dtype)
    begin = (start, infinity, infinity, jnp.zeros((), x.dtype))
    return jax.lax.scan(advance, begin, jnp.arange(num_steps + 1))[1]


def evaluate_bound(walk: Walk, minimum: Float[Array, ""], step_size: Float[Array, ""]) -> Bound:
    """Evaluate both sides for every T."""
    steps = jnp.arange(1, walk.lowest.size, dtype=walk.lowest.dtype)
    far, near = walk.squared_distance[0], walk.squared_distance[1:]
    approach = (far - near) / (2 * step_size * steps)
    push = step_size * walk.steepest**2 / 2
    return Bound(
        excess=walk.lowest[:-1] - minimum,
        printed_excess=walk.lowest_after[1:] - minimum,
        bound=approach + push[:-1],
        printed_bound=approach + push[1:],
        scale=minimum + (far + near) / (2 * step_size * steps) + push[1:],
    )


def count_violations(bound: Bound) -> dict[str, Array]:
    """Reduce both sides over T."""
    allowance = ROUNDING * jnp.finfo(bound.scale.dtype).eps * bound.scale
    return {
        "num_violations": (bound.excess > bound.bound + allowance).sum(),
        "num_printed_violations": (bound.printed_excess > bound.printed_bound + allowance).sum(),
        "first_printed_violated": bound.printed_excess[0] > bound.printed_bound[0] + allowance[0],
        "excess": bound.excess[-1],
        "bound": bound.bound[-1],
    }


def break_printed_bound(dtype: Any) -> list[dict[str, Any]]:
    """Construct two problems of one example, one feature and one step that break the printed form.

    loss(theta) = (|1 - theta| + epsilon |theta|)^2.

    `residual kink`, epsilon = 0.8: the minimiser is 1, where this package's own subgradient, with
    sign(0) = 0, is 2 epsilon^2. `collapse`, epsilon = 2: the minimiser is 0 and any g in [-6, 2]
    is a subgradient there; -6 is taken, and L is the Lipschitz constant of the loss on the smallest
    ball about 0 that holds the run, as in the paper.
    """
    x, y = jnp.ones((1, 1), dtype), jnp.ones(1, dtype)

    def measure(theta: float, epsilon: float) -> float:
        return float(adversarial_loss(jnp.full(1, theta, dtype), x, y, epsilon))

    def slope(theta: float, epsilon: float) -> float:
        return float(adversarial_gradient(jnp.full(1, theta, dtype), x, y, epsilon)[0])

    cases = []
    for name, epsilon, optimum, step_size, gradient in (
        ("residual kink", 0.8, 1.0, 0.1, slope(1.0, 0.8)),
        ("collapse", 2.0, 0.0, 0.01, -6.0),
    ):
        after = optimum - step_size * gradient
        steepest = max(abs(gradient), abs(slope(after, epsilon)))
        if name == "collapse":
            steepest = max(steepest, abs(slope(-abs(after), epsilon)))
        approach = -((after - optimum) ** 2) / (2 * step_size)
        cases.append(
            {
                "case": name,
                "epsilon": epsilon,
                "optimum": optimum,
                "step_size": step_size,
                "subgradient": gradient,
                "after": after,
                "printed_excess": measure(after, epsilon) - measure(optimum, epsilon),
                "printed_bound": approach + step_size * steepest**2 / 2,
                "lipschitz": steepest,
                "corrected_excess": 0.0,
                "corrected_bound": approach + step_size * gradient**2 / 2,
            }
        )
    return cases
