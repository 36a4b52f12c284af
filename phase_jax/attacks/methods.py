"""The attacks: projected gradient ascent, one gradient step, and noise of the same radius."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from phase_jax.attacks.ball import (
    NORMS,
    TINY,
    align_with_images,
    clamp_to_box,
    draw_in_ball,
    draw_noise,
    measure_l2,
    measure_linf,
    project,
    turn_steepest,
)
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Float, PRNGKeyArray

    LossFn = Callable[[Float[Array, "B ..."]], Float[Array, "B"]]


def pgd(
    loss_fn: LossFn,
    x: Float[Array, "B ..."],
    key: PRNGKeyArray | None = None,
    *,
    epsilon: Float[Array, ""] | float,
    step_size: Float[Array, ""] | float | None = None,
    num_steps: int = 10,
    norm: str = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
    random_start: bool = True,
    num_restarts: int = 1,
    start_noise: float | None = None,
) -> Float[Array, "B ..."]:
    r"""Maximise a loss over a ball around each image by projected gradient ascent.

    Repeats  delta <- clamp(project(delta + step(gradient)))  where for l-infinity
    step(g) = step_size * sign(g), and for l2 step(g) = step_size * g / (|g|_2 + 1e-10), the start
    is uniform in the cube, respectively a Gaussian direction with uniform radius; clamping keeps
    x + delta inside `bounds`. The last iterate is returned.

    Args:
      loss_fn: Maps images to the loss of each image. Where images influence one another, through
        batch statistics say, the sum of the losses is ascended, and restarts have no meaning.
      x: Images inside `bounds`.
      key: Random key; may be None when nothing is random.
      epsilon: Radius of the ball in `norm`, in the unit of the pixels; traced; scalar or [B].
      step_size: Length of a step, same unit, scalar or [B]; by default 2.5 * epsilon / num_steps.
      num_steps: Gradient steps (static).
      norm: `linf` or `l2` (static).
      bounds: Smallest and largest allowed pixel value.
      random_start: Whether to start at a random point of the ball (static).
      num_restarts: Random restarts; for each image the one with the largest loss is kept (static).
      start_noise: A random start is Gaussian noise of this standard deviation, in the unit of the
        pixels, instead of a point of the ball, as TRADES and MART do (static).

    Returns:
      Adversarial images, inside the ball and the bounds. Equal to `x` where epsilon is zero.

    Raises:
      InputError: A static argument is not allowed, or a key is missing.

    References:
      Madry et al., "Towards deep learning models resistant to adversarial attacks", 2018,
      arXiv:1706.06083; Rice, Wong and Kolter, 2020, arXiv:2002.11569 (start and order of clamps).
    """
    _check_arguments(x, key, norm, num_steps, random_start, num_restarts)
    radius = align_with_images(epsilon, x)
    length = 2.5 * radius / num_steps if step_size is None else align_with_images(step_size, x)
    grad_fn = jax.grad(lambda images: jnp.sum(loss_fn(images)))

    def ascend(start: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
        def step(_: int, delta: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
            direction = turn_steepest(grad_fn(x + delta), norm)
            return clamp_to_box(project(delta + length * direction, radius, norm), x, bounds)

        delta = jax.lax.fori_loop(0, num_steps, step, clamp_to_box(start, x, bounds))
        return jnp.clip(x + delta, *bounds)

    def ascend_from(start_key: PRNGKeyArray) -> Float[Array, "B ..."]:
        if start_noise is None:
            return ascend(draw_in_ball(start_key, x, radius, norm))
        return ascend(draw_noise(start_key, x, start_noise))

    if not random_start or key is None:
        return ascend(jnp.zeros_like(x))
    if num_restarts == 1:
        return ascend_from(key)
    return _keep_worst(loss_fn, ascend_from, jax.random.split(key, num_restarts))


def fgm(
    loss_fn: LossFn,
    x: Float[Array, "B ..."],
    key: PRNGKeyArray | None = None,
    *,
    epsilon: Float[Array, ""] | float,
    step_size: Float[Array, ""] | float | None = None,
    norm: str = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
    random_start: bool = False,
) -> Float[Array, "B ..."]:
    """Take one gradient step of length epsilon: the fast gradient (sign) method.

    Exact when the loss is linear in the image and no bound is hit. Fast adversarial training uses
    `random_start=True, step_size=1.25 * epsilon`.

    Args:
      loss_fn: Maps images to the loss of each image.
      x: Images inside `bounds`.
      key: Random key; needed for a random start only.
      epsilon: Radius of the ball in `norm`, in the unit of the pixels; traced; scalar or [B].
      step_size: Length of the step, by default epsilon; the result stays in the ball.
      norm: `linf` or `l2` (static).
      bounds: Smallest and largest allowed pixel value.
      random_start: Whether to start at a random point of the ball (static).

    Returns:
      Adversarial images, inside the ball and the bounds.

    Raises:
      InputError: A static argument is not allowed, or a key is missing.

    References:
      Goodfellow, Shlens and Szegedy, 2015, arXiv:1412.6572; Wong, Rice and Kolter, "Fast is
      better than free", 2020, arXiv:2001.03994.
    """
    return pgd(
        loss_fn,
        x,
        key,
        epsilon=epsilon,
        step_size=epsilon if step_size is None else step_size,
        num_steps=1,
        norm=norm,
        bounds=bounds,
        random_start=random_start,
    )


def gaussian(
    loss_fn: LossFn | None,
    x: Float[Array, "B ..."],
    key: PRNGKeyArray,
    *,
    epsilon: Float[Array, ""] | float,
    norm: str = "linf",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Float[Array, "B ..."]:
    """Add noise in a Gaussian direction, scaled to length epsilon in the norm of the ball.

    The paper's Remark 2: noise of the same radius is not an attack. Clamping to the bounds may
    shorten it.

    Args:
      loss_fn: Not used; takes the place it has in the other attacks.
      x: Images inside `bounds`.
      key: Random key.
      epsilon: Radius in `norm`, in the unit of the pixels; traced; scalar or [B].
      norm: `linf` or `l2` (static).
      bounds: Smallest and largest allowed pixel value.

    Returns:
      Noisy images, inside the ball and the bounds.

    Raises:
      InputError: The norm is not known, or the key is missing.
    """
    del loss_fn
    _check_arguments(x, key, norm, 1, True, 1)
    radius = align_with_images(epsilon, x)
    noise = jax.random.normal(key, x.shape, x.dtype)
    size = measure_linf(noise) if norm == "linf" else measure_l2(noise)
    delta = project(radius * noise / jnp.maximum(size, TINY), radius, norm)
    return jnp.clip(x + clamp_to_box(delta, x, bounds), *bounds)


def _keep_worst(
    loss_fn: LossFn,
    ascend_from: Callable[[PRNGKeyArray], Float[Array, "B ..."]],
    keys: PRNGKeyArray,
) -> Float[Array, "B ..."]:
    """Run every restart and keep, for each image, the one with the largest loss."""

    def restart(carry, key):
        worst, worst_loss = carry
        candidate = ascend_from(key)
        loss = loss_fn(candidate)
        better = loss > worst_loss
        chosen = jnp.where(better.reshape((-1,) + (1,) * (worst.ndim - 1)), candidate, worst)
        return (chosen, jnp.where(better, loss, worst_loss)), None

    first = ascend_from(keys[0])
    (worst, _), _ = jax.lax.scan(restart, (first, loss_fn(first)), keys[1:])
    return worst


def _check_arguments(
    x: Float[Array, "B ..."],
    key: PRNGKeyArray | None,
    norm: str,
    num_steps: int,
    random_start: bool,
    num_restarts: int,
) -> None:
    if norm not in NORMS:
        raise InputError(f"norm: {norm!r} is not known; allowed: {', '.join(NORMS)}")
    if x.ndim < 2 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(
            f"x: shape {x.shape}, type {x.dtype}; allowed: floating-point images [B, ...]"
        )
    if num_steps < 1 or num_restarts < 1:
        raise InputError(
            f"num_steps, num_restarts: {num_steps}, {num_restarts}; allowed: at least 1"
        )
    if num_restarts > 1 and not random_start:
        raise InputError(f"num_restarts: {num_restarts} needs random_start; allowed without: 1")
    if random_start and key is None:
        raise InputError("key: None; a random start needs a key")
