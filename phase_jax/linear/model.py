"""The linear model of Section 4: data, adversarial risk in closed form, clean minimiser, phases.

y = x^T theta_0 + noise, x ~ N(0, I_D), noise ~ N(0, sigma^2). Against an attack of radius epsilon
in the norm p (`l2` or `linf`) the worst case of the squared residual is known exactly, the maximum
of (y - (x + delta)^T theta)^2 over |delta|_p <= epsilon is (|y - x^T theta| + epsilon |theta|_q)^2
with q dual to p. Everything here is a pure function of one data set; batch with `jax.vmap`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from phase_jax.linear.factorise import (
    factor_cholesky,
    invert_upper,
    orthonormalise,
    solve_cholesky,
    solve_upper,
    solve_upper_transposed,
)
from phase_jax.types import InputError

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray

NORMS = ("l2", "linf")
TALL = 4  # ratio of sides from which a random design is so well conditioned that Cholesky does
NUM_REFINEMENTS = 3
HIGHEST = jax.lax.Precision.HIGHEST  # accelerators otherwise round the inputs of a float32 product


class LinearData(NamedTuple):
    """One data set."""

    x: Float[Array, "N D"]
    y: Float[Array, "N"]


def check_norm(norm: str) -> None:
    """Refuse an unknown attack norm.

    Raises:
      InputError: `norm` is neither `l2` nor `linf`.
    """
    if norm not in NORMS:
        raise InputError(f"norm: {norm!r} is not known; allowed: {', '.join(NORMS)}")


def multiply(a: Array, b: Array) -> Array:
    """Multiply matrices in full precision."""
    return jnp.matmul(a, b, precision=HIGHEST)


def sample_data(
    key: PRNGKeyArray,
    num_examples: int,
    theta_0: Float[Array, "D"],
    sigma: Float[Array, ""] | float = 1.0,
) -> LinearData:
    """Draw a data set: Gaussian design with identity covariance, Gaussian noise.

    Args:
      key: Consumed.
      num_examples: N; static.
      theta_0: True coefficients; their dtype is the data's.
      sigma: Standard deviation of the noise; traced.

    Returns:
      x [N, D] and y [N].

    References:
      Theorem 1's model, NeurIPS 2022.
    """
    theta_0 = jnp.asarray(theta_0)
    x_key, noise_key = jax.random.split(key)
    x = jax.random.normal(x_key, (num_examples, theta_0.size), theta_0.dtype)
    noise = jax.random.normal(noise_key, (num_examples,), theta_0.dtype)
    return LinearData(x, multiply(x, theta_0) + sigma * noise)


def measure_dual(theta: Float[Array, "... D"], norm: str) -> Float[Array, "..."]:
    """Compute |theta|_q, q dual to the attack norm: l2 for `l2`, l1 for `linf`."""
    if norm == "linf":
        return jnp.abs(theta).sum(-1)
    return measure_length(theta)


def measure_attack(z: Float[Array, "... D"], norm: str) -> Float[Array, "..."]:
    """Compute |z|_p in the attack norm itself."""
    if norm == "linf":
        return jnp.abs(z).max(-1)
    return measure_length(z)


def measure_length(z: Float[Array, "... D"]) -> Float[Array, "..."]:
    """Compute the l2 length, with derivative 0 (not NaN) at z = 0."""
    squared = (z * z).sum(-1)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def adversarial_loss(
    theta: Float[Array, "D"],
    x: Float[Array, "N D"],
    y: Float[Array, "N"],
    epsilon: Float[Array, ""] | float,
    norm: str = "l2",
) -> Float[Array, ""]:
    """Compute the adversarial train loss, mean (|y - x^T theta| + epsilon |theta|_q)^2.

    Args:
      theta: Coefficients.
      x: Design.
      y: Responses.
      epsilon: Attack radius in the norm `norm`, in the unit of x; >= 0, traced.
      norm: Attack norm, `l2` (q = 2) or `linf` (q = 1); static.

    Returns:
      The loss; its `jax.grad` is the subgradient that takes 0 at theta = 0 and at zero residuals.

    Raises:
      InputError: `norm` is not known.

    References:
      Equation (2) for the squared loss and a linear model.
    """
    check_norm(norm)
    residual = y - multiply(x, theta)
    return jnp.mean((jnp.abs(residual) + epsilon * measure_dual(theta, norm)) ** 2)


def adversarial_gradient(
    theta: Float[Array, "D"],
    x: Float[Array, "N D"],
    y: Float[Array, "N"],
    epsilon: Float[Array, ""] | float,
    norm: str = "l2",
) -> Float[Array, "D"]:
    """Compute the subgradient of `adversarial_loss` in theta, with sign(0) = 0 and 0 at theta = 0.

    Args:
      theta: Coefficients.
      x: Design.
      y: Responses.
      epsilon: Attack radius; >= 0, traced.
      norm: Attack norm; static.

    Returns:
      [D]; the clean gradient where epsilon = 0.

    Raises:
      InputError: `norm` is not known.

    References:
      The gradient in the proof of Theorem 1, whose term B is 2 epsilon^2 theta (printed with an
      extra 1/n).
    """
    check_norm(norm)
    residual = y - multiply(x, theta)
    length = measure_dual(theta, norm)
    worst = jnp.abs(residual) + epsilon * length
    push = jnp.sign(residual) * worst
    unit = theta / jnp.where(length > 0, length, 1.0)
    direction = jnp.sign(theta) if norm == "linf" else unit
    return 2 * (epsilon * worst.mean() * direction - multiply(push, x) / y.size)


def population_risk(
    theta: Float[Array, "D"],
    theta_0: Float[Array, "D"],
    sigma: Float[Array, ""] | float,
    epsilon: Float[Array, ""] | float,
    norm: str = "l2",
) -> Float[Array, ""]:
    """Compute the population adversarial risk of theta.

    With R = sigma^2 + |theta - theta_0|^2 (the clean risk) a residual is N(0, R), so the risk is
    R + 2 sqrt(2 / pi) epsilon |theta|_q sqrt(R) + epsilon^2 |theta|_q^2.

    Args:
      theta: Coefficients.
      theta_0: True coefficients.
      sigma: Standard deviation of the noise.
      epsilon: Attack radius; >= 0, traced.
      norm: Attack norm; static.

    Returns:
      The risk.

    Raises:
      InputError: `norm` is not known.
    """
    check_norm(norm)
    clean = sigma**2 + ((theta - theta_0) ** 2).sum()
    push = epsilon * measure_dual(theta, norm)
    return clean + 2 * jnp.sqrt(2 / jnp.pi) * push * jnp.sqrt(clean) + push**2


def factor_design(
    x: Float[Array, "N D"],
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Factor the taller of x and x^T as Q R, M = min(N, D).

    A tall design is factored by Cholesky's method twice over, which is matrix products nearly
    throughout (LAPACK's QR took 10 times as long at N = 1000, D = 20) and as orthogonal as QR up to
    a condition number of 1e7 in float64, 1e3 in float32; a squarer one by Householder's QR.

    Returns:
      Q [max(N, D), M] with orthonormal columns, and R [M, M].
    """
    tall = x if x.shape[1] <= x.shape[0] else x.T
    if tall.shape[0] < TALL * tall.shape[1]:
        q = orthonormalise(tall)
        return q, jnp.triu(multiply(q.T, tall))
    first, first_r = _factor_tall(tall)
    q, r = _factor_tall(first)
    return q, multiply(r, first_r)


def _factor_tall(tall: Float[Array, "N D"]) -> tuple[Float[Array, "N D"], Float[Array, "D D"]]:
    """Factor as Q R by Cholesky's factorisation of the Gram matrix."""
    r = factor_cholesky(multiply(tall.T, tall)).T
    inverse = invert_upper(r)
    return multiply(tall, inverse), r


def solve_clean(x: Float[Array, "N D"], y: Float[Array, "N"]) -> Float[Array, "D"]:
    """Solve clean training: least squares, and its minimum-l2-norm solution where D > N.

    Gradient descent from zero converges to it. For data of full rank (Gaussian designs are, almost
    surely); where the rank is deficient the result means nothing and may not be finite.

    Args:
      x: Design.
      y: Responses.

    Returns:
      [D].
    """
    return fit_least_squares(x, y, x.T)


def fit_least_squares(
    x: Float[Array, "N D"], y: Float[Array, "N"], transposed: Float[Array, "D N"]
) -> Float[Array, "D"]:
    """Solve clean training, with the design's transpose at hand.

    A tall design goes through its normal equations, refined: on a CPU a third of QR's time, and as
    accurate up to a condition number of 1e7 in float64, 1e3 in float32 (Björck 1987, "Stability
    analysis of the method of seminormal equations").
    """
    num_examples, num_features = x.shape
    if num_examples < TALL * num_features:
        q, r = factor_design(x)
        if num_features <= num_examples:
            return solve_upper(r, multiply(y, q))
        return multiply(q, solve_upper_transposed(r, y))
    lower = factor_cholesky(multiply(transposed, x))
    theta, residual = jnp.zeros_like(x[0]), y
    for _ in range(1 + NUM_REFINEMENTS):
        theta += solve_cholesky(lower, multiply(residual, x)[:, None])[:, 0]
        residual = y - multiply(x, theta)
    return theta


def collapse_epsilon(
    x: Float[Array, "N D"], y: Float[Array, "N"], norm: str = "l2"
) -> Float[Array, ""]:
    """Compute the collapse threshold |X^T y|_p / |y|_1.

    theta = 0 minimises the adversarial train loss exactly where epsilon is at or above it; from
    there on the minimum is mean(y^2).

    Args:
      x: Design.
      y: Responses, not all zero.
      norm: Attack norm; static.

    Returns:
      The threshold.

    Raises:
      InputError: `norm` is not known.
    """
    check_norm(norm)
    return measure_attack(multiply(y, x), norm) / jnp.abs(y).sum()
