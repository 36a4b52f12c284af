"""What an audit is asked for. No JAX."""

from __future__ import annotations

import dataclasses

from phase_jax.config import option
from phase_jax.requirements import require_integer, require_number

FILES = frozenset({"result.json", "rises.png", "rises.svg"})
STEP_FACTORS = (0.5, 1.0, 2.0)
"""Step lengths of the attacks of an audit, in units of 2.5 epsilon / steps."""


@dataclasses.dataclass(frozen=True)
class AuditSettings:
    """Which networks of a run are attacked again, and how hard."""

    audited_epsilons: tuple[float, ...] | None = option(
        None,
        "attack strengths of the networks: a comma list or lo:hi:n, in pixel space [0, 1]; by "
        "default all of the run",
        flag="eps",
    )
    num_steps: int = option(50, "gradient steps of every attack", flag="steps")
    num_restarts: int = option(
        5, "random restarts of every attack; the worst per image counts", flag="restarts"
    )
    num_images: int | None = option(
        1_000,
        "attack so many of the training images, chosen at random, and of the test images (at most "
        "what there is); None for all",
        flag="num-images",
    )
    seed: int = option(0, "decides images and random starts")


def validate_settings(settings: AuditSettings) -> AuditSettings:
    """Check every field that can be checked without the run.

    Args:
      settings: The settings.

    Returns:
      The same settings.

    Raises:
      InputError: A field has a value that is not allowed; the message names the flag.
    """
    for epsilon in settings.audited_epsilons or ():
        require_number("--eps", epsilon, 0)
    require_integer("--steps", settings.num_steps, 1, 100_000)
    require_integer("--restarts", settings.num_restarts, 1, 1_000)
    require_integer("--num-images", settings.num_images, 2, optional=True)
    require_integer("--seed", settings.seed, 0, 2**31 - 1)
    return settings
