"""Attacks with everything fixed except their strength."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from phase_jax.attacks.methods import gaussian, pgd
from phase_jax.types import InputError

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray

    from phase_jax.attacks.methods import LossFn


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


def make_attack(
    name: str,
    *,
    norm: str,
    num_steps: int = 1,
    step_length: float = 1.0,
    step_rule: str = "relative",
    random_start: bool = True,
    num_restarts: int = 1,
    start_noise: float | None = None,
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
      num_restarts: Random restarts of `pgd` and `fgm`.
      start_noise: A random start is Gaussian noise of this standard deviation, in pixels, instead
        of a point of the ball.
      bounds: Smallest and largest allowed pixel value.

    Returns:
      `attack(loss_fn, x, key, epsilon=...)`.

    Raises:
      InputError: The name or the step rule is not known.
    """
    if name not in ("pgd", "fgm", "gaussian"):
        raise InputError(f"attack: {name!r} is not known; allowed: pgd, fgm, gaussian")

    if step_rule not in ("relative", "absolute"):
        raise InputError(f"step_rule: {step_rule!r} is not known; allowed: relative, absolute")

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
            start_noise=start_noise,
        )

    return attack
