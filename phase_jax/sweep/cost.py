"""What lanes cost, counted: gradients with respect to an image or to the parameters, per image."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phase_jax.config import AttackConfig
    from phase_jax.sweep.setup import PreparedSweep


def count_gradients(sweep: PreparedSweep, num_lanes: int, *, train: bool = True) -> int:
    """Count the example gradients of lanes: attack steps and descents, training and evaluation.

    Evaluation after every epoch and at the end is counted in: the search for the epoch needs it.

    Args:
      sweep: What the lanes train.
      num_lanes: L.
      train: Whether they are trained, or evaluated only.

    Returns:
      The number of gradients, each of one image.
    """
    config, arrays = sweep.config, sweep.arrays
    num_train, num_selection = len(arrays.train_labels), len(arrays.selection_labels)
    per_evaluation = config.evaluation.num_steps * config.evaluation.num_restarts
    count = (num_train + len(sweep.tests[1])) * per_evaluation
    if train:
        per_image = count_attack_gradients(config.attack) + 1
        epoch = num_train * per_image + num_selection * per_evaluation
        count += config.training.num_epochs * epoch
    return num_lanes * count


def count_attack_gradients(attack: AttackConfig) -> int:
    """Count the gradients that an attack takes to move one image."""
    steps = {"gaussian": 0, "fgm": 1}.get(attack.name, attack.num_steps)
    return steps * attack.num_restarts
