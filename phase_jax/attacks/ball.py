"""Geometry of attacks: balls in l-infinity and l2, and the box of allowed pixel values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray

NORMS = ("linf", "l2")
TINY = 1e-30


def project(
    delta: Float[Array, "B ..."], epsilon: Float[Array, "..."], norm: str
) -> Float[Array, "B ..."]:
    """Project perturbations onto the ball around zero.

    Args:
      delta: Perturbations.
      epsilon: Radius, broadcastable against `delta`.
      norm: `linf` or `l2`.

    Returns:
      The nearest points of the ball.
    """
    if norm == "linf":
        return jnp.clip(delta, -epsilon, epsilon)
    length = measure_l2(delta)
    return jnp.where(length > epsilon, delta * (epsilon / jnp.maximum(length, TINY)), delta)


def align_with_images(
    values: Float[Array, "..."] | float, x: Float[Array, "B ..."]
) -> Float[Array, "..."]:
    """Give a scalar, or one value an image [B], the axes that broadcast it against images."""
    return jnp.reshape(jnp.asarray(values, x.dtype), (-1,) + (1,) * (x.ndim - 1))


def draw_in_ball(
    key: PRNGKeyArray, x: Float[Array, "B ..."], radius: Float[Array, "..."], norm: str
) -> Float[Array, "B ..."]:
    """Draw a start: uniform in the cube, or a Gaussian direction with uniform radius."""
    if norm == "linf":
        return radius * jax.random.uniform(key, x.shape, x.dtype, -1.0, 1.0)
    direction_key, length_key = jax.random.split(key)
    direction = jax.random.normal(direction_key, x.shape, x.dtype)
    direction = direction / jnp.maximum(measure_l2(direction), TINY)
    length = jax.random.uniform(length_key, (x.shape[0],) + (1,) * (x.ndim - 1), x.dtype)
    return radius * length * direction


def draw_noise(
    key: PRNGKeyArray, x: Float[Array, "B ..."], deviation: float
) -> Float[Array, "B ..."]:
    """Draw Gaussian noise of a standard deviation; it may leave a small ball."""
    return deviation * jax.random.normal(key, x.shape, x.dtype)


def turn_steepest(gradient: Float[Array, "B ..."], norm: str) -> Float[Array, "B ..."]:
    """Turn a gradient into the direction of steepest ascent in the norm."""
    if norm == "linf":
        return jnp.sign(gradient)
    return gradient / (measure_l2(gradient) + 1e-10)


def clamp_to_box(
    delta: Float[Array, "B ..."], x: Float[Array, "B ..."], bounds: tuple[float, float]
) -> Float[Array, "B ..."]:
    """Shorten perturbations so that x + delta stays inside the bounds."""
    return jnp.clip(delta, bounds[0] - x, bounds[1] - x)


def measure_linf(values: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    """Measure the largest absolute value of each example."""
    return jnp.max(jnp.abs(values), axis=tuple(range(1, values.ndim)), keepdims=True)


def measure_l2(values: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    """Measure the Euclidean norm of each example without overflow or underflow.

    Where the squares themselves overflow or vanish, the values times a small or a large power of
    two are squared instead. (Scaling by the largest value is many times slower on a CPU: a maximum
    that respects NaN is not vectorised.) The square of the large power is finite: compilers
    multiply the two first where they know the values, and 0 times infinity would not be 0.
    """
    exponent = jnp.finfo(values.dtype).maxexp
    squares = _sum_squares(values)
    is_small = squares < 2.0 ** -(exponent // 2)
    is_safe = ~is_small & jnp.isfinite(squares)
    shift = jnp.where(is_small, 2.0 ** (exponent // 2 - 1), 2.0 ** -round(0.55 * exponent))
    shift = shift.astype(values.dtype)
    scaled_length = jnp.sqrt(_sum_squares(values * shift)) / shift
    return jnp.where(is_safe, jnp.sqrt(squares), scaled_length)


def _sum_squares(values: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    """Sum the squares of each example, as a product of vectors."""
    rows = values.reshape(values.shape[0], -1)
    products = jnp.einsum("bi,bi->b", rows, rows, precision="highest")
    return products.reshape(-1, *(1,) * (values.ndim - 1))
