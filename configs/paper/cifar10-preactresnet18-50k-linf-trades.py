"""CIFAR-10, 50,000 images, PreActResNet18, ℓ∞, TRADES: Table B.5, section 5.3.2.

    python -m phase_jax.sweep configs/paper/cifar10-preactresnet18-50k-linf-trades.py

Needs:    one H200-class GPU, about 5 h (from counted operations, not measured);
          CIFAR-10 as a TFDS directory
Expected: epsilon* = 0.7/255 (0.77/255 from the printed losses, which are not monotone)
Quick:    add `:quick` to the file's name; 2 CPU cores, minutes: 500 images, 4 epochs, a narrow
          network. It shows that the setting runs and says nothing about the paper's numbers
Versions: written for jax 0.10.2, flax 0.12.8, optax 0.2.8
"""

import dataclasses

from phase_jax.config import SweepConfig
from phase_jax.reproduce.recipes import (
    CIFAR10,
    CIFAR10_TRAINING,
    EVALUATION_LINF,
    PGD_LINF,
    PREACTRESNET18,
    build_quick,
    scale_grid,
)

config = SweepConfig(
    epsilon_grid=scale_grid(0, 1, 2),
    num_seeds=1,
    target_epsilon=8 / 255,
    data=CIFAR10,
    model=PREACTRESNET18,
    attack=PGD_LINF,
    evaluation=EVALUATION_LINF,
    training=dataclasses.replace(CIFAR10_TRAINING, objective="trades", beta=6.0),
)
quick = build_quick(config)
