"""Adversarial attacks: pure functions of a loss, a batch of images, a key and an attack strength.

An attack is composed of a start, a step rule and a projection, chosen by the norm of the ball. It
sees the network only through `loss_fn(images) -> loss of each image`, so any JAX callable will do:

    def loss_fn(images):
        return cross_entropy(apply_fn(params, images), labels)

    adversarial = pgd(loss_fn, images, key, epsilon=8 / 255, num_steps=10)

The attack strength is an ordinary traced value: a sweep vmaps over it, nothing branches on it, and
zero gives back the images bit for bit.

    adversarials = jax.vmap(lambda epsilon: pgd(loss_fn, images, key, epsilon=epsilon, num_steps=10))(
        jnp.linspace(0, 0.3, 7))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import jax
import jax.numpy as jnp

from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Float, PRNGKeyArray

    LossFn = Callable[[Float[Array, "B ..."]], Float[Array, "B"]]

NORMS = ("linf", "l2")
_TINY = 1e-30


class Attack(Protocol):
    """What `make_attack` returns: `attack(loss_fn, x, key, epsilon=...) -> images`."""

    def __call__(
        self,
        loss_fn: LossFn,
        x: Float[Array, "B ..."],
        key: PRNGKeyArray,
        *,
        epsilon: Float[Array, ""],
    ) -> Float[Array, "B ..."]:
        """Attack a batch."""
        ...


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
) -> Float[Array, "B ..."]:
    r"""Maximise a loss over a ball around each image by projected gradient ascent.

    Repeats  delta <- clamp(project(delta + step(gradient)))  where for l-infinity
    step(g) = step_size * sign(g), and for l2 step(g) = step_size * g / (|g|_2 + 1e-10), the start
    is uniform in the cube, respectively a Gaussian direction with uniform radius; clamping keeps
    x + delta inside `bounds`. The last iterate is returned.

    Args:
      loss_fn: Maps images to the loss of each image; images must not influence one another.
      x: Images inside `bounds`.
      key: Random key; may be None when nothing is random.
      epsilon: Radius of the ball in `norm`, in the unit of the pixels; traced; scalar or [B].
      step_size: Length of a step, same unit; by default 2.5 * epsilon / num_steps.
      num_steps: Gradient steps (static).
      norm: `linf` or `l2` (static).
      bounds: Smallest and largest allowed pixel value.
      random_start: Whether to start at a random point of the ball (static).
      num_restarts: Random restarts; for each image the one with the largest loss is kept (static).

    Returns:
      Adversarial images, inside the ball and the bounds. Equal to `x` where epsilon is zero.

    Raises:
      InputError: A static argument is not allowed, or a key is missing.

    References:
      Madry et al., "Towards deep learning models resistant to adversarial attacks", 2018,
      arXiv:1706.06083; Rice, Wong and Kolter, 2020, arXiv:2002.11569 (start and order of clamps).
    """
    _check_arguments(x, key, norm, num_steps, random_start, num_restarts)
    radius = jnp.reshape(jnp.asarray(epsilon, x.dtype), (-1,) + (1,) * (x.ndim - 1))
    length = 2.5 * radius / num_steps if step_size is None else jnp.asarray(step_size, x.dtype)
    grad_fn = jax.grad(lambda images: jnp.sum(loss_fn(images)))

    def ascend(start: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
        def step(_: int, delta: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
            direction = _steepest(grad_fn(x + delta), norm)
            return _clamp(project(delta + length * direction, radius, norm), x, bounds)

        delta = jax.lax.fori_loop(0, num_steps, step, _clamp(start, x, bounds))
        return jnp.clip(x + delta, *bounds)

    if not random_start:
        return ascend(jnp.zeros_like(x))
    if num_restarts == 1:
        return ascend(_draw_in_ball(key, x, radius, norm))
    return _keep_worst(loss_fn, ascend, x, jax.random.split(key, num_restarts), radius, norm)


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
    radius = jnp.reshape(jnp.asarray(epsilon, x.dtype), (-1,) + (1,) * (x.ndim - 1))
    noise = jax.random.normal(key, x.shape, x.dtype)
    size = _max_abs(noise) if norm == "linf" else _l2_norm(noise)
    delta = project(radius * noise / jnp.maximum(size, _TINY), radius, norm)
    return jnp.clip(x + _clamp(delta, x, bounds), *bounds)


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
    length = _l2_norm(delta)
    return jnp.where(length > epsilon, delta * (epsilon / jnp.maximum(length, _TINY)), delta)


def make_attack(
    name: str,
    *,
    norm: str,
    num_steps: int = 1,
    step_length: float = 1.0,
    step_rule: str = "relative",
    random_start: bool = True,
    num_restarts: int = 1,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Attack:
    """Fix everything about an attack except its strength.

    Args:
      name: `pgd`, `fgm` or `gaussian`.
      norm: `linf` or `l2`.
      num_steps: Gradient steps of `pgd`.
      step_length: Length of a step, in units of epsilon or of pixels.
      step_rule: `relative` (to epsilon) or `absolute` (pixels).
      random_start: Whether to start at a random point of the ball.
      num_restarts: Random restarts of `pgd`.
      bounds: Smallest and largest allowed pixel value.

    Returns:
      `attack(loss_fn, x, key, epsilon=...)`.

    Raises:
      InputError: The name is not known.
    """
    if name not in ("pgd", "fgm", "gaussian"):
        raise InputError(f"attack: {name!r} is not known; allowed: pgd, fgm, gaussian")

    def attack(
        loss_fn: LossFn,
        x: Float[Array, "B ..."],
        key: PRNGKeyArray,
        *,
        epsilon: Float[Array, ""],
    ) -> Float[Array, "B ..."]:
        if name == "gaussian":
            return gaussian(loss_fn, x, key, epsilon=epsilon, norm=norm, bounds=bounds)
        return pgd(
            loss_fn,
            x,
            key,
            epsilon=epsilon,
            step_size=step_length * epsilon if step_rule == "relative" else step_length,
            num_steps=1 if name == "fgm" else num_steps,
            norm=norm,
            bounds=bounds,
            random_start=random_start,
            num_restarts=num_restarts,
        )

    return attack


def _keep_worst(
    loss_fn: LossFn,
    ascend: Callable[[Float[Array, "B ..."]], Float[Array, "B ..."]],
    x: Float[Array, "B ..."],
    keys: PRNGKeyArray,
    radius: Float[Array, "..."],
    norm: str,
) -> Float[Array, "B ..."]:
    """Run every restart and keep, for each image, the one with the largest loss."""

    def restart(carry, key):
        worst, worst_loss = carry
        candidate = ascend(_draw_in_ball(key, x, radius, norm))
        loss = loss_fn(candidate)
        better = loss > worst_loss
        chosen = jnp.where(better.reshape((-1,) + (1,) * (x.ndim - 1)), candidate, worst)
        return (chosen, jnp.where(better, loss, worst_loss)), None

    first = ascend(_draw_in_ball(keys[0], x, radius, norm))
    (worst, _), _ = jax.lax.scan(restart, (first, loss_fn(first)), keys[1:])
    return worst


def _draw_in_ball(
    key: PRNGKeyArray, x: Float[Array, "B ..."], radius: Float[Array, "..."], norm: str
) -> Float[Array, "B ..."]:
    """Draw a start: uniform in the cube, or a Gaussian direction with uniform radius."""
    if norm == "linf":
        return radius * jax.random.uniform(key, x.shape, x.dtype, -1.0, 1.0)
    direction_key, length_key = jax.random.split(key)
    direction = jax.random.normal(direction_key, x.shape, x.dtype)
    direction = direction / jnp.maximum(_l2_norm(direction), _TINY)
    length = jax.random.uniform(length_key, (x.shape[0],) + (1,) * (x.ndim - 1), x.dtype)
    return radius * length * direction


def _steepest(gradient: Float[Array, "B ..."], norm: str) -> Float[Array, "B ..."]:
    """Turn a gradient into the direction of steepest ascent in the norm."""
    if norm == "linf":
        return jnp.sign(gradient)
    return gradient / (_l2_norm(gradient) + 1e-10)


def _clamp(
    delta: Float[Array, "B ..."], x: Float[Array, "B ..."], bounds: tuple[float, float]
) -> Float[Array, "B ..."]:
    """Shorten perturbations so that x + delta stays inside the bounds."""
    return jnp.clip(delta, bounds[0] - x, bounds[1] - x)


def _max_abs(values: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    return jnp.max(jnp.abs(values), axis=tuple(range(1, values.ndim)), keepdims=True)


def _l2_norm(values: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    """Euclidean norm of each example, free of overflow and underflow."""
    size = _max_abs(values)
    scale = jnp.where(size > 0, size, 1.0)
    squares = jnp.sum((values / scale) ** 2, axis=tuple(range(1, values.ndim)), keepdims=True)
    return jnp.where(size > 0, scale * jnp.sqrt(squares), 0.0)


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
        raise InputError(f"num_steps, num_restarts: {num_steps}, {num_restarts}; allowed: at least 1")
    if num_restarts > 1 and not random_start:
        raise InputError(f"num_restarts: {num_restarts} needs random_start; allowed without: 1")
    if random_start and key is None:
        raise InputError("key: None; a random start needs a key")
