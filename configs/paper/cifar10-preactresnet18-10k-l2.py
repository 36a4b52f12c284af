"""CIFAR-10, 10,000 images, PreActResNet18, ℓ2 PGD-10: Table B.2.

    python -m phase_jax.sweep configs/paper/cifar10-preactresnet18-10k-l2.py

Needs:    one H200-class GPU, about 3 h (from counted operations, not measured);
          CIFAR-10 as a TFDS directory
Expected: epsilon* = 153/255, solved from the printed losses; the paper prints no value
Quick:    add `:quick` to the file's name; 2 CPU cores, minutes: 500 images, 4 epochs, a narrow
          network. It shows that the setting runs and says nothing about the paper's numbers
Versions: written for jax 0.10.2, flax 0.12.8, optax 0.2.8
"""

from phase_jax.config import SweepConfig
from phase_jax.reproduce.recipes import (
    CIFAR10_10K,
    CIFAR10_TRAINING,
    EVALUATION_L2,
    PGD_L2,
    PREACTRESNET18,
    build_quick,
    scale_grid,
)

config = SweepConfig(
    epsilon_grid=scale_grid(0, 32, 64, 96, 128, 256, 512),
    num_seeds=1,
    target_epsilon=128 / 255,
    data=CIFAR10_10K,
    model=PREACTRESNET18,
    attack=PGD_L2,
    evaluation=EVALUATION_L2,
    training=CIFAR10_TRAINING,
)
quick = build_quick(config)
