"""How far training against an attack moves the parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float


def measure_distances(params: Any) -> Float[np.ndarray, "E S"]:
    """Measure how far each lane's parameters lie from the clean lane's of the same seed.

    The two start at the same parameters and see the same batches.

    Args:
      params: Selected parameters, every leaf [E, S, ...], the clean lanes first.

    Returns:
      The l2 distance over the l2 norm of the clean lane's parameters.
    """
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    rows = [sum(_sum_squares(leaf[e] - leaf[0]) for leaf in leaves) for e in range(len(leaves[0]))]
    clean = sum(_sum_squares(leaf[0]) for leaf in leaves)
    squares = np.array(rows) / np.where(clean > 0, clean, np.nan)
    return np.sqrt(squares)


def _sum_squares(leaf: Float[np.ndarray, "S ..."]) -> Float[np.ndarray, "S"]:
    """Sum the squares of everything but the seeds."""
    return np.square(leaf, dtype=np.float64).reshape(len(leaf), -1).sum(axis=1)
