"""Synthetic sweeps with a known critical attack strength."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class SyntheticSweep:
    """One generator of sweeps: loss curve a + b * epsilon, thresholds from skewed image losses.

    Seeds vary in the slope b (lognormal) and in their clean model's image losses; images vary in
    difficulty, and all seeds share them. The truth is the geometric mean over seeds of the
    crossing with the threshold of an infinite test set.
    """

    num_seeds: int
    num_images: int = 300
    seed_spread: float = 0.15
    truth: float = 0.1
    grid_end: float = 0.2
    start: float = 0.02
    threshold: float = 0.2

    def draw(self, rng):
        """Return epsilons [E], losses [S, E] and clean test losses [S, N] of one sweep."""
        epsilons = np.linspace(0, self.grid_end, 9)
        slope = (self.threshold - self.start) / self.truth
        slopes = slope * np.exp(self.seed_spread * rng.standard_normal(self.num_seeds))
        losses = self.start + slopes[:, None] * epsilons
        difficulty = rng.gamma(0.5, 2.0, self.num_images)  # mean 1, skewed
        own = rng.gamma(2.0, 0.5, (self.num_seeds, self.num_images))  # mean 1
        return epsilons, losses, self.threshold * difficulty * own
