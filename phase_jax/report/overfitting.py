"""Overfitting of both kinds, for the document of a run and as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phase_jax.sweep.overfitting import assess_overfitting
from phase_jax.sweep.stability import assess_stability

if TYPE_CHECKING:
    from phase_jax.sweep import SweepResult


def describe_overfitting(result: SweepResult) -> dict[str, Any]:
    """Describe the growth of the generalisation gap: one number an attack strength (Figure 5)."""
    overfitting = assess_overfitting(result)
    means, errors = overfitting.summarise()
    return {
        "reference_epoch": overfitting.reference_epoch,
        "final_ratios": [
            {"epsilon": epsilon, "ratio": mean, "standard_error": error}
            for epsilon, mean, error in zip(result.epsilons, means, errors, strict=True)
        ],
    }


def describe_stability(result: SweepResult) -> dict[str, Any]:
    """Describe catastrophic overfitting: where it begins, and the lanes that show it (Table 2)."""
    stability = assess_stability(result)
    places = zip(*np.nonzero(stability.onset), strict=True)
    return {
        "smallest_epsilon": stability.smallest_epsilon,
        "epsilon_star_is_below": stability.is_below,
        "lanes": [
            {
                "epsilon": result.epsilons[e],
                "seed": result.seeds[s],
                "onset": stability.onset[e, s],
                "lasts": stability.unstable[e, s],
            }
            for e, s in places
        ],
    }


def list_gaps(result: SweepResult) -> list[dict[str, Any]]:
    """List the generalisation gap of every lane and epoch, and its ratio; empty for nothing."""
    overfitting = assess_overfitting(result)

    def show(value: float) -> float | str:
        return float(value) if np.isfinite(value) else ""

    return [
        {
            "epsilon": float(epsilon),
            "seed": int(seed),
            "epoch": epoch,
            "gap": show(overfitting.gaps[e, s, epoch - 1]),
            "ratio": show(overfitting.ratios[e, s, epoch - 1]),
        }
        for e, epsilon in enumerate(result.epsilons)
        for s, seed in enumerate(result.seeds)
        for epoch in range(1, overfitting.gaps.shape[2] + 1)
    ]
