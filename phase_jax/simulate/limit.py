"""The linear model under the l2 attack as n and d grow at a fixed ratio: exact limits, no sampling.

By the convex Gaussian min-max theorem the adversarial train loss behaves as that of a problem with
three numbers: a and b, the parts of theta along theta_0 and orthogonal to it, and the multiplier
lambda of a constraint on the residuals. With s^2 = sigma^2 + (a - |theta_0|)^2 + b^2 (the clean
risk), c = epsilon (a^2 + b^2)^(1/2) and z ~ N(0, s^2) a fresh residual,

    minimum over a, b and v(z) of E (|v| + c)^2   subject to   E (v - z)^2 <= ratio b^2,

where v = sign(z) (lambda |z| - c)_+ / (1 + lambda). Clean training (c = 0) gives, for ratio < 1,
the well-known b^2 = sigma^2 ratio / (1 - ratio) and train loss sigma^2 (1 - ratio). For the l2
attack the limit is in Javanmard, Soltanolkotabi and Hassani (2020), "Precise tradeoffs in
adversarial training for linear regression". Plain floating-point numbers: this is what simulations
are compared with.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from scipy import optimize

MEAN_ABSOLUTE = math.sqrt(2 / math.pi)
"""E |z| of a standard normal z."""


class LimitState(NamedTuple):
    """The limit of adversarial training."""

    loss: float
    """Adversarial train loss."""
    along: float
    """a: theta along theta_0."""
    across: float
    """b: length of theta orthogonal to theta_0."""
    shrinkage: float
    """E z (z - v) / s^2: share of a fresh residual that training takes away."""


def limit_threshold(ratio: float, theta_length: float, sigma: float = 1.0) -> float:
    """Compute the limit of the clean risk of the clean minimiser.

    Args:
      ratio: d / n.
      theta_length: |theta_0|.
      sigma: Standard deviation of the noise.

    Returns:
      The risk; inf at 1.
    """
    if ratio == 1:
        return math.inf
    if ratio < 1:
        return sigma**2 / (1 - ratio)
    return sigma**2 * ratio / (ratio - 1) + (1 - 1 / ratio) * theta_length**2


def limit_collapse(ratio: float, theta_length: float, sigma: float = 1.0) -> float:
    """Compute the limit of the collapse threshold |X^T y| / |y|_1."""
    spread = theta_length**2 + sigma**2
    return math.sqrt(theta_length**2 + ratio * spread) / (MEAN_ABSOLUTE * math.sqrt(spread))


@functools.lru_cache(maxsize=4096)
def solve_limit(
    epsilon: float, ratio: float, theta_length: float, sigma: float = 1.0
) -> LimitState:
    """Solve the limit problem at one attack strength.

    Args:
      epsilon: Attack radius, l2; >= 0.
      ratio: d / n, not 1.
      theta_length: |theta_0|, > 0.
      sigma: Standard deviation of the noise, > 0.

    Returns:
      The state.
    """
    if epsilon >= limit_collapse(ratio, theta_length, sigma):
        return LimitState(theta_length**2 + sigma**2, 0.0, 0.0, 0.0)
    clean_along, clean_across = _solve_clean(ratio, theta_length, sigma)

    def place(point) -> tuple[float, float]:
        return clean_along - clean_across * point[0], clean_across * abs(point[1])

    def measure(point) -> float:
        return _solve_inner(*place(point), epsilon, ratio, theta_length, sigma)[0]

    options = {"xatol": 1e-6, "fatol": 1e-13, "maxiter": 2000}
    start = (min(epsilon, 0.5 * clean_along) / clean_across, 1.0)
    found = optimize.minimize(measure, start, method="Nelder-Mead", options=options)
    along, across = place(found.x)
    loss, shrinkage = _solve_inner(along, across, epsilon, ratio, theta_length, sigma)
    return LimitState(loss, along, across, shrinkage)


@functools.lru_cache(maxsize=4096)
def limit_epsilon_star(ratio: float, theta_length: float, sigma: float = 1.0) -> float:
    """Compute the limit of epsilon* of the loss; inf where it is infinite.

    It is where the clean risk reaches mean(y^2), the loss beyond collapse. With r the ratio of
    |theta_0|^2 to sigma^2 these are the ratios d / n from r / (1 + r) on, and for r > 1 only up to
    r / (r - 1).
    """
    threshold = limit_threshold(ratio, theta_length, sigma)
    if threshold >= theta_length**2 + sigma**2:
        return math.inf
    highest = limit_collapse(ratio, theta_length, sigma)

    def excess(epsilon: float) -> float:
        return solve_limit(epsilon, ratio, theta_length, sigma).loss - threshold

    return optimize.brentq(excess, 0.0, highest, xtol=1e-13, rtol=1e-9)  # type: ignore


def limit_distance(epsilon: float, ratio: float, theta_length: float, sigma: float = 1.0) -> float:
    """Compute the limit of |theta_hat(epsilon) - theta_hat(0)|, for ratio < 1.

    The parts of both minimisers orthogonal to theta_0 are jointly Gaussian. Their scalar product q
    solves ratio q = E (z_1 - v_1)(z_2 - v_2), where the fresh residuals z_1, z_2 have covariance
    sigma^2 + q; clean training takes away the share `ratio` of z_1, so q = sigma^2 k / (1 - k), k
    the shrinkage of the adversarial side.
    """
    state = solve_limit(epsilon, ratio, theta_length, sigma)
    clean = sigma**2 * ratio / (1 - ratio)
    product = sigma**2 * state.shrinkage / (1 - state.shrinkage)
    squared = (state.along - theta_length) ** 2 + clean + state.across**2 - 2 * product
    return math.sqrt(max(squared, 0.0))


@functools.lru_cache(maxsize=4096)
def limit_trajectory_epsilon(ratio: float, theta_length: float, sigma: float = 1.0) -> float:
    """Compute the limit of the epsilon at which the minimisers are |Std theta_hat(0)| apart.

    For ratio < 1, where |theta_hat(0)|, their distance from collapse on, is longer than that.
    """
    goal = sigma * math.sqrt(ratio / (1 - ratio))
    highest = limit_collapse(ratio, theta_length, sigma)

    def excess(epsilon: float) -> float:
        return limit_distance(epsilon, ratio, theta_length, sigma) - goal

    return optimize.brentq(excess, 0.0, highest, xtol=1e-13, rtol=1e-9)  # type: ignore


def _solve_clean(ratio: float, theta_length: float, sigma: float) -> tuple[float, float]:
    """Compute the parts of the clean minimiser along and orthogonal to theta_0."""
    if ratio < 1:
        return theta_length, sigma * math.sqrt(ratio / (1 - ratio))
    lost = theta_length**2 * (1 - 1 / ratio) / ratio
    return theta_length / ratio, math.sqrt(sigma**2 / (ratio - 1) + lost)


def _solve_inner(
    along: float, across: float, epsilon: float, ratio: float, theta_length: float, sigma: float
) -> tuple[float, float]:
    """Minimise over v for given a and b; return the loss and the shrinkage of the residuals."""
    s = math.sqrt(sigma**2 + (along - theta_length) ** 2 + across**2)
    c = epsilon * math.hypot(along, across)
    budget = ratio * across**2
    if budget >= s**2:
        return c**2, 1.0

    def measure(log_lambda: float) -> tuple[float, float, float]:
        multiplier = math.exp(log_lambda)
        active, inactive, silent, slope = _integrate(s, c, c / (multiplier * s))
        share = 1 / (1 + multiplier)
        loss = (1 - share) ** 2 * active + c**2 * silent
        return share**2 * active + inactive - budget, loss, share * slope + inactive / s**2

    if budget <= 0:
        return s**2 + 2 * MEAN_ABSOLUTE * c * s + c**2, 0.0
    root = optimize.brentq(lambda value: measure(value)[0], -40.0, 40.0, xtol=1e-13)
    return measure(root)[1:]  # type: ignore


def _integrate(s: float, c: float, cut: float) -> tuple[float, float, float, float]:
    """Integrate over z = s g, g standard normal, apart at |g| = cut.

    Returns:
      E (|z| + c)^2 and beyond the cut, E z^2 and P below it, and E |g| (|g| + c / s) beyond it.
    """
    below = math.erf(cut / math.sqrt(2))
    density = 2 * math.exp(-0.5 * cut * cut) / math.sqrt(2 * math.pi) if cut < 40 else 0.0
    square_below = below - (cut * density if density else 0.0)
    square_beyond, beyond = 1 - square_below, math.erfc(cut / math.sqrt(2))
    active = s**2 * square_beyond + 2 * s * c * density + c**2 * beyond
    return active, s**2 * square_below, below, square_beyond + c / s * density
