"""CIFAR-10, 5,000 training images, a narrow pre-activation network, three objectives, for a CPU.

    python -m phase_jax.data prepare cifar10 --source DIRECTORY_WITH_CIFAR-10-BINARY.TAR.GZ
    python -m phase_jax.sweep configs/cifar10_narrow.py --out runs/cifar10-narrow
    python -m phase_jax.sweep configs/cifar10_narrow.py:trades --out runs/cifar10-narrow-trades
    python -m phase_jax.sweep configs/cifar10_narrow.py:mart --out runs/cifar10-narrow-mart

Needs:    2 CPU cores, 4 minutes each; CIFAR-10 as a TFDS directory
Expected: epsilon* = 0.37/255 (vanilla), 0.83/255 (TRADES; 1.02/255 by cross-entropy), 0.25/255
          (MART), with intervals that reach to about 4/255: results/cifar10-narrow*
Versions: Python 3.11, jax 0.10.2, flax 0.12.8, optax 0.2.8

The path of the paper's CIFAR-10 experiments in small: the same block, augmentation, optimiser and
objectives, but 10 layers of 8 to 64 channels, a tenth of the images, four epochs, and a three-step
attack. The values are not the paper's.
"""

import dataclasses

from phase_jax.config import (
    AttackConfig,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    SweepConfig,
    TrainingConfig,
)

config = SweepConfig(
    epsilon_grid=(4 / 255, 8 / 255),
    num_seeds=1,
    data=DataConfig(name="cifar10", num_train=5_000, num_test=1_000, num_selection=250),
    model=ModelConfig(name="preactresnet10", width=8),
    attack=AttackConfig(num_steps=3),
    evaluation=EvaluationConfig(num_steps=5),
    training=TrainingConfig(
        num_epochs=4, batch_size=128, learning_rate=0.1, augmentation="crop_flip"
    ),
)
trades, mart = (
    dataclasses.replace(config, training=dataclasses.replace(config.training, objective=name))
    for name in ("trades", "mart")
)
