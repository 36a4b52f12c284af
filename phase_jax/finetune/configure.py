"""From the configuration of a clean training to those of Algorithm A.1's stages. No JAX."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phase_jax.config import FineTuningConfig, SweepConfig


def build_tuned_config(
    config: SweepConfig, fine_tuning: FineTuningConfig, attack: str
) -> SweepConfig:
    """Turn the configuration of clean training into that of one attack's fine-tuned lanes."""
    training, rate = config.training, fine_tuning.learning_rate
    is_own = attack == config.attack.name
    return dataclasses.replace(
        config,
        epsilon_grid=fine_tuning.epsilons,
        attack=dataclasses.replace(
            config.attack, name=attack, step_size=config.attack.step_size if is_own else None
        ),
        training=dataclasses.replace(
            training,
            num_epochs=fine_tuning.num_epochs,
            learning_rate=training.learning_rate if rate is None else rate,
            schedule="rise_fall",
        ),
        solver=dataclasses.replace(config.solver, method="regression"),
    )


def build_clean_config(config: SweepConfig) -> SweepConfig:
    """Turn a configuration into that of clean lanes alone.

    At radius 0 every attack leaves the images as they are; the cheapest one is taken.
    """
    return dataclasses.replace(
        config,
        attack=dataclasses.replace(config.attack, name="gaussian", num_restarts=1),
        evaluation=dataclasses.replace(config.evaluation, num_steps=1, num_restarts=1),
    )
