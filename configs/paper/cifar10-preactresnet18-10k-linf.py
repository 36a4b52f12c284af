"""CIFAR-10, 10,000 images, PreActResNet18, ℓ∞ PGD-10: Tables 2, 3, 4 and B.2.

    python -m phase_jax.sweep configs/paper/cifar10-preactresnet18-10k-linf.py

Needs:    one H200-class GPU, about 2 h (from counted operations, not measured);
          CIFAR-10 as a TFDS directory
Expected: epsilon* = 3.3/255
Quick:    add `:quick` to the file's name; 2 CPU cores, minutes: 500 images, 4 epochs, a narrow
          network. It shows that the setting runs and says nothing about the paper's numbers
Tuned:    `fine_tuning` is what Table 4 fine-tunes from the clean model of this setting
Versions: written for jax 0.10.2, flax 0.12.8, optax 0.2.8
"""

from phase_jax.config import FineTuningConfig, SweepConfig
from phase_jax.reproduce.recipes import (
    CIFAR10_10K,
    CIFAR10_TRAINING,
    EVALUATION_LINF,
    PGD_LINF,
    PREACTRESNET18,
    build_quick,
    scale_grid,
)

config = SweepConfig(
    epsilon_grid=scale_grid(0, 1, 2, 8),
    num_seeds=1,
    target_epsilon=8 / 255,
    data=CIFAR10_10K,
    model=PREACTRESNET18,
    attack=PGD_LINF,
    evaluation=EVALUATION_LINF,
    training=CIFAR10_TRAINING,
)
quick = build_quick(config)
fine_tuning = FineTuningConfig(epsilon_grid=scale_grid(0.25, 0.5, 1))
