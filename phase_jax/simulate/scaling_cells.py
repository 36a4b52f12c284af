"""The cells of the scaling study: sizes, numbers of replicates, and what one replicate computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from phase_jax.linear.model import adversarial_loss, population_risk, sample_data, solve_clean
from phase_jax.linear.moments import std_length
from phase_jax.linear.threshold import solve_epsilon_star, solve_trajectory_epsilon
from phase_jax.types import EpsilonStar, EpsilonStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Float, PRNGKeyArray

SNRS = (0.5, 1.0, 2.0)
"""|theta_0| / sigma; sigma is 1."""
THRESHOLDS = ("loss", "trajectory")
FEW_FEATURES = 100
FULL_FEW, FULL_MANY = 1000, 200
"""Replicates with --full, up to FEW_FEATURES features and above."""


class Cell(NamedTuple):
    """One size at which one of the thresholds is measured."""

    threshold: str
    n: int
    d: int
    default: int
    """Replicates without --full; 0 for none."""
    full: int

    @property
    def work(self) -> float:
        """Multiplications of one replicate's Newton steps, to order cells and choose batches."""
        small = min(self.n, self.d)
        rows = self.n if self.d <= self.n else small
        return rows * small**2 * (4.0 if self.threshold == "trajectory" else 1.0)


# fmt: off
# Sizes that run by default, with their replicates.
DEFAULT_CELLS = {
    "loss": {
        (100, 5): 300, (1000, 5): 300, (1000, 100): 50, (2000, 140): 24, (4000, 200): 16,
        (100, 1000): 150,
    },
    "trajectory": {(1000, 10): 48, (1000, 30): 24, (1000, 100): 12, (50, 200): 48},
}
# fmt: on
# What --full adds: hours, most of them in the largest cells, so the trajectory threshold, which
# takes four solves, has fewer of those.
FULL_SIZES = {
    20: (200,),
    50: (2, 5, 20, 35, 75, 100, 200, 500),
    100: (2, 5, 10, 20, 40, 60, 80, 125, 150, 200, 300, 1000),
    250: (2, 5, 10, 25, 50, 100, 150, 200, 500, 1000),
    1000: (2, 5, 10, 20, 30, 50, 70, 100, 150, 200),
    2000: (10, 50, 100, 200),
    4000: (5, 10, 20, 50),
}
FULL_LOSS_ONLY = {1000: (300,), 2000: (140, 170), 4000: (100, 200, 250)}


def list_cells(full: bool) -> list[Cell]:
    """List the cells of a run, cheap ones first."""
    if not full:
        cells = [
            Cell(threshold, n, d, count, count)
            for threshold, counts in DEFAULT_CELLS.items()
            for (n, d), count in counts.items()
        ]
        return sorted(cells, key=lambda cell: cell.work * cell.default)
    pairs = [(t, n, d) for t in THRESHOLDS for n, many in FULL_SIZES.items() for d in many]
    pairs += [("loss", n, d) for n, many in FULL_LOSS_ONLY.items() for d in many]
    cells = [Cell(*pair, 0, FULL_FEW if pair[2] <= FEW_FEATURES else FULL_MANY) for pair in pairs]
    return sorted(cells, key=lambda cell: cell.work * cell.full)


def choose_batch(cell: Cell, count: int) -> int:
    """Choose replicates a chunk.

    Lanes of a chunk wait for the slowest of them. Chunks of 8 trajectory thresholds took 40 ms a
    replicate at (50, 200) on one core, chunks of 50 took 320 ms.
    """
    widest = 8 if cell.threshold == "trajectory" else 50
    return max(1, min(count, widest, int(2e8 / cell.work)))


def make_replicate(cell: Cell, dtype: Any) -> Callable[[PRNGKeyArray], dict[str, Any]]:
    """Make the function of a key that solves one design at every |theta_0| / sigma.

    The l2 attack has no axes, so theta_0 lies along the first one. Outputs are [len(SNRS)].
    """
    lengths = jnp.asarray(SNRS, dtype)
    measure = measure_loss if cell.threshold == "loss" else measure_trajectory

    def replicate(key: PRNGKeyArray) -> dict[str, Any]:
        x, noise = sample_data(key, cell.n, jnp.zeros(cell.d, dtype))
        return jax.vmap(lambda length: measure(x, noise + length * x[:, 0], length))(lengths)

    return replicate


def measure_loss(x: Any, y: Any, length: Float[Array, ""]) -> dict[str, Any]:
    """Solve for the loss threshold, and measure the gap Delta."""
    theta_0 = jnp.zeros(x.shape[1], x.dtype).at[0].set(length)
    clean = solve_clean(x, y)
    risk = population_risk(clean, theta_0, 1.0, 0.0)
    return {
        "epsilon": encode_crossing(solve_epsilon_star(x, y, risk)),
        "gap": risk - adversarial_loss(clean, x, y, 0.0),
    }


def measure_trajectory(x: Any, y: Any, length: Float[Array, ""]) -> dict[str, Any]:
    """Solve for the trajectory threshold."""
    distance = std_length(x.shape[0], x.shape[1], 1.0, length)
    return {"epsilon": encode_crossing(solve_trajectory_epsilon(x, y, distance))}


def encode_crossing(crossing: EpsilonStar) -> Float[Array, ""]:
    """Write a crossing as one number: -inf for undefined, inf for infinite, nan for failed."""
    status = crossing.status
    value = jnp.where(status == EpsilonStatus.FOUND, crossing.value, jnp.nan)
    value = jnp.where(status == EpsilonStatus.UNDEFINED, -jnp.inf, value)
    return jnp.where(status == EpsilonStatus.INFINITE, jnp.inf, value)
