"""Settings of a sweep that finds its own grid. No JAX: the command line reads them."""

from __future__ import annotations

import dataclasses

from phase_jax.config import option
from phase_jax.requirements import require_integer, require_number


@dataclasses.dataclass(frozen=True)
class AdaptiveConfig:
    """How `--eps-grid auto` finds its attack strengths."""

    precision: float = option(
        0.05,
        "bracket each seed's epsilon* between strengths so close, relatively",
        flag="precision",
    )
    num_strengths: int = option(4, "attack strengths that a round adds", flag="strengths")
    max_rounds: int = option(8, "rounds at most", flag="rounds")


def validate_adaptive(adaptive: AdaptiveConfig) -> None:
    """Refuse an adaptive sweep that cannot run.

    Raises:
      InputError: A field is out of its range.
    """
    require_number("--precision", adaptive.precision, 1e-4, 1)
    require_integer("--strengths", adaptive.num_strengths, 1, 100)
    require_integer("--rounds", adaptive.max_rounds, 1, 100)
