"""Which studies there are. What is said of one here, its own module says too (a test compares).

No JAX: the command line lists studies without waiting for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

from phase_jax.types import InputError

if TYPE_CHECKING:
    from phase_jax.simulate.study import Study


class Listing(NamedTuple):
    """What is known of a study before it is loaded."""

    title: str
    seconds: tuple[float, float]
    """Time on two CPU cores: by default, and with --full."""


LISTINGS = {
    "trajectory": Listing("Figure 2, left: paths of clean and adversarial training", (40, 200)),
    "parameter-test": Listing("Figure 2, right: p-value of the adversarial parameter", (80, 420)),
    "loss-test": Listing("Figure 3: p-value of the adversarial train loss", (60, 250)),
    "theorem1": Listing("Theorem 1: distance of the paths as n grows, in three regimes", (60, 600)),
    "theorem2": Listing("Theorem 2: rise of the train loss over the generalisation gap", (55, 600)),
    "moments": Listing("Lemmas 1 and 2: moments, printed and corrected", (30, 130)),
    "scaling": Listing("How epsilon* grows with d and n, both thresholds", (75, 5400)),
    "phase-diagram": Listing("Phases of the minimiser over d/n and epsilon", (80, 600)),
    "two-layer": Listing("Proposition 1: two-layer networks against the linear model", (45, 600)),
    "fine-tuning-bound": Listing("Proposition 2: the fine-tuning bound, corrected", (75, 600)),
}
STUDIES = tuple(LISTINGS)


def check_name(name: str) -> None:
    """Refuse the name of no study.

    Raises:
      InputError: `name` is not in `STUDIES`.
    """
    if name not in STUDIES:
        raise InputError(f"STUDY: {name!r} is not known; allowed: {', '.join(STUDIES)}")


def load_study(name: str) -> Study:
    """Import a study's module, `-` in its name standing for `_`, and return its `STUDY`.

    Raises:
      InputError: There is no such study.
    """
    check_name(name)
    module = importlib.import_module(f"phase_jax.simulate.{name.replace('-', '_')}")
    return module.STUDY
