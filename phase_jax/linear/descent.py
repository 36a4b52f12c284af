"""Gradient descent on the clean and the adversarial loss of one data set, many attack strengths.

All attack strengths of a data set share its design, so a step is two matrix products, [N, D] with
[D, E] and back. Everything here is a pure function of one data set; batch with `jax.vmap`, and let
a batch on a CPU be small enough for its residuals, [R, N, E], to stay in the cache.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from phase_jax.linear.model import check_norm, measure_length, multiply
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Float

NARROW = 16
"""Up to so many features residuals are written out as sums, which XLA fuses with their signs."""
LANE_MULTIPLE = 8
NUM_SQUARINGS = 16
"""Of a Gram matrix, for its largest eigenvalue: m = 2^15."""


class Descent(NamedTuple):
    """Outcome of gradient descent on one data set."""

    theta: Float[Array, "E D"]
    """Coefficients after the last step."""
    records: Any
    """What `record_fn` returned, with a leading axis of T + 1: the start, then after each step."""
    step_size: Float[Array, "E"]


def record_theta(theta: Float[Array, "E D"]) -> Float[Array, "E D"]:
    """Record the coefficients themselves."""
    return theta


def measure_curvature(x: Float[Array, "N D"]) -> Float[Array, ""]:
    """Compute the largest eigenvalue of X^T X / N, half the largest curvature of the clean loss.

    By repeated squaring of the smaller of X^T X and X X^T: tr(G^m)^(1/m) lies above the eigenvalue,
    by a factor of at most min(N, D)^(1/m), 1.0002 at N = D = 1,000. No LAPACK: two of jaxlib's
    batched decompositions at a time, on a CPU with few cores, can wait for each other for ever.

    Args:
      x: Design.

    Returns:
      The eigenvalue, never too small but for rounding.
    """
    num_examples, num_features = x.shape
    gram = multiply(x.T, x) if num_features <= num_examples else multiply(x, x.T)

    def square(index, carry):
        power, log_value = carry
        trace = jnp.maximum(jnp.trace(power), jnp.finfo(x.dtype).tiny)
        power = power / trace
        return multiply(power, power), log_value + jnp.log(trace) / 2.0**index

    start = (gram / num_examples, jnp.zeros((), x.dtype))
    return jnp.exp(jax.lax.fori_loop(0, NUM_SQUARINGS, square, start)[1])


def check_epsilon(epsilon: Array | float, field: str = "epsilon") -> None:
    """Refuse a negative attack strength or NaN, where the value is known: not while tracing.

    Raises:
      InputError: `epsilon`, which the message calls `field`, is not >= 0.
    """
    if not isinstance(epsilon, Tracer) and not np.all(np.asarray(epsilon) >= 0):
        raise InputError(f"{field}: {np.min(epsilon)} is negative or NaN; allowed: >= 0")


def descend(
    x: Float[Array, "N D"],
    y: Float[Array, "N"],
    epsilons: Float[Array, "E"],
    *,
    num_steps: int,
    norm: str = "l2",
    start: Float[Array, "D"] | Float[Array, "E D"] | None = None,
    step_size: Float[Array, "E"] | float | None = None,
    record_fn: Callable[[Float[Array, "E D"]], Any] | None = record_theta,
) -> Descent:
    """Train by full-batch gradient descent, once for each attack strength.

    A step is theta <- theta - eta g / 2, g the subgradient of `adversarial_loss`, which takes 0 at
    theta = 0 and at zero residuals; so from zero the first step is the clean one. At epsilon = 0
    this is clean training, theta_t = (I - (I - eta S)^t) theta_clean from zero, S = X^T X / N.

    Args:
      x: Design; its dtype is that of the whole descent.
      y: Responses.
      epsilons: Attack radii in the norm `norm`, in the unit of x; >= 0, traced.
      num_steps: T, >= 0; static.
      norm: Attack norm, `l2` or `linf`; static.
      start: Coefficients to start from, the same for all attack strengths or one row for each;
        zero by default.
      step_size: eta, in the unit of 1 / x^2, one for all or one for each attack strength; by
        default 1 / (lambda_max(S) + c epsilon^2), c = 1 for `l2` and D for `linf`, at which the
        loss rises only about kinks, theta = 0 among them. Traced.
      record_fn: Maps coefficients [E, D] to what is recorded of them, a pytree of arrays; by
        default the coefficients. `None` records nothing: only the end needs memory. Static.

    Returns:
      The coefficients reached, the records and the step sizes.

    Raises:
      InputError: `norm` is not known, `num_steps` is negative, a shape does not fit, or an attack
        strength is negative.

    References:
      The algorithm after Equation (2); step size as in Appendix C.1.
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    epsilons = jnp.asarray(epsilons, x.dtype)
    _check_problem(x, y, epsilons, num_steps, norm)
    if step_size is None:
        reach = x.shape[1] if norm == "linf" else 1  # |theta|_q^2 <= reach |theta|_2^2
        step_size = 1 / (measure_curvature(x) + reach * epsilons**2)
    step_size = _spread(step_size, epsilons.shape, "step_size", x)
    start = _spread(0.0 if start is None else start, (epsilons.size, x.shape[1]), "start", x)
    make_gradient = _make_narrow_gradient if x.shape[1] <= NARROW else _make_wide_gradient
    filled = functools.partial(_fill_lanes, count=epsilons.size)
    half_gradient = make_gradient(x, y, filled(epsilons), norm)
    step_sizes = filled(step_size)

    def read(theta):
        return theta[:, : epsilons.size].T

    def advance(theta, _):
        record = None if record_fn is None else record_fn(read(theta))
        return theta - step_sizes * half_gradient(theta), record

    last, records = jax.lax.scan(advance, filled(start.T), None, length=num_steps)
    if record_fn is not None:
        end = record_fn(read(last))
        records = jax.tree.map(lambda rows, row: jnp.concatenate([rows, row[None]]), records, end)
    return Descent(read(last), records, step_size)


def _fill_lanes(value: Float[Array, "... E"], count: int) -> Float[Array, "... E2"]:
    """Repeat the last attack strength until their number suits a CPU's vector registers.

    XLA's loops over 10 to 15 of them took up to twice as long as over 16.
    """
    missing = -count % LANE_MULTIPLE if count > LANE_MULTIPLE else 0
    return jnp.pad(value, [(0, 0)] * (value.ndim - 1) + [(0, missing)], mode="edge")


def _make_wide_gradient(x, y, epsilons, norm):
    """Build theta [D, E] -> half the subgradient [D, E], as `adversarial_gradient` writes it."""

    def half_gradient(theta):
        residual = y[:, None] - multiply(x, theta)
        length, direction = _measure_dual_columns(theta, norm)
        push = epsilons * length
        mean_worst = jnp.abs(residual).mean(0) + push
        pull = multiply(x.T, residual + push * jnp.sign(residual)) / y.size
        return epsilons * mean_worst * direction - pull

    return half_gradient


def _make_narrow_gradient(x, y, epsilons, norm):
    """Build the same for few features: of the residuals only their signs are ever stored.

    With A = [X y] and z = [-theta 1] the residuals are A z; then X^T r / N follows from the Gram
    matrix, and mean |r| = z^T A^T sign(r) / N from the product that the subgradient needs anyway.
    """
    joined = jnp.concatenate([x, y[:, None]], 1)
    scaled = joined.T / y.size
    gram = multiply(scaled[:-1], joined)
    ones = jnp.ones((1, epsilons.size), x.dtype)

    def half_gradient(theta):
        extended = jnp.concatenate([-theta, ones])
        pulled = multiply(scaled, _read_signs(_multiply_columns(joined, extended)))
        length, direction = _measure_dual_columns(theta, norm)
        push = epsilons * length
        mean_worst = (pulled * extended).sum(0) + push
        pull = _multiply_columns(gram, extended) + push * pulled[:-1]
        return epsilons * mean_worst * direction - pull

    return half_gradient


def _multiply_columns(a: Float[Array, "N D"], b: Float[Array, "D E"]) -> Float[Array, "N E"]:
    """Multiply matrices as a sum over D, written out: on CPUs faster than many small products."""
    total = a[:, 0, None] * b[0]
    for index in range(1, a.shape[1]):
        total = total + a[:, index, None] * b[index]
    return total


def _read_signs(residual: Float[Array, "N E"]) -> Float[Array, "N E"]:
    """Compute the sign, 0 at zero: as selections, which CPUs do faster than `jnp.sign`."""
    return jnp.where(residual > 0, 1.0, jnp.where(residual < 0, -1.0, 0.0)).astype(residual.dtype)


def _measure_dual_columns(theta: Float[Array, "D E"], norm: str):
    """Compute |theta|_q of each column and its subgradient, 0 at theta = 0."""
    if norm == "linf":
        return jnp.abs(theta).sum(0), jnp.sign(theta)
    length = measure_length(theta.T)
    return length, theta / jnp.where(length > 0, length, 1.0)


def _spread(value, shape: tuple[int, ...], field: str, x: Array) -> Array:
    """Broadcast a setting to `shape`, in the dtype of x."""
    value = jnp.asarray(value, x.dtype)
    try:
        return jnp.broadcast_to(value, shape)
    except ValueError:
        raise InputError(
            f"{field}: shape {value.shape} does not fit; allowed: {shape} or what broadcasts to it"
        ) from None


def _check_problem(x: Array, y: Array, epsilons: Array, num_steps: int, norm: str) -> None:
    """Refuse shapes that do not fit together and, where their values are known, wrong settings."""
    check_norm(norm)
    if x.ndim != 2 or not x.size:
        raise InputError(f"x: shape {x.shape} is not a design; allowed: [N, D], N and D >= 1")
    if y.shape != x.shape[:1]:
        raise InputError(f"y: shape {y.shape} does not fit x; allowed: {x.shape[:1]}")
    if epsilons.ndim != 1 or not epsilons.size:
        raise InputError(f"epsilons: shape {epsilons.shape} is not known; allowed: [E], E >= 1")
    check_epsilon(epsilons, "epsilons")
    if num_steps < 0:
        raise InputError(f"num_steps: {num_steps} is negative; allowed: 0 or more")
