"""What the settings of the paper share: data, attacks, training; and their quick variants.

Nothing here needs JAX. The configuration files in `configs/paper` put these parts together. They
follow the paper where it says something, and the training code that it names (robust overfitting)
where it does not; what neither says is marked as our choice.
"""

from __future__ import annotations

import dataclasses

from phase_jax.config import (
    AttackConfig,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    SweepConfig,
    TrainingConfig,
)

NUM_SELECTION = 10_000
"""The epoch is selected on (up to) this many test images: all of CIFAR and MNIST."""

CIFAR10 = DataConfig(name="cifar10", num_train=50_000, num_selection=NUM_SELECTION)
CIFAR10_10K = dataclasses.replace(CIFAR10, num_train=10_000)
CIFAR100 = DataConfig(name="cifar100", num_train=50_000, num_selection=NUM_SELECTION)
SVHN = DataConfig(name="svhn_cropped", num_train=50_000, num_selection=NUM_SELECTION)
MNIST = DataConfig(name="mnist", num_train=50_000, num_selection=NUM_SELECTION)

# The step is 2/255 at 8/255 and 15/255 at 128/255, kept in proportion at other strengths: a fixed
# step would be several times the smallest radii. One gradient step of FGM goes 1.25 times as far.
PGD_LINF = AttackConfig(name="pgd", norm="linf", num_steps=10, step_size=2 / 8)
PGD_L2 = AttackConfig(name="pgd", norm="l2", num_steps=10, step_size=15 / 128)
FGM_LINF = AttackConfig(name="fgm", norm="linf", step_size=1.25)
EVALUATION_LINF = EvaluationConfig(num_steps=10, step_size=2 / 8)
EVALUATION_L2 = EvaluationConfig(num_steps=10, step_size=15 / 128)

PREACTRESNET18 = ModelConfig(name="preactresnet18", width=64)

CIFAR10_TRAINING = TrainingConfig(
    num_epochs=200,
    batch_size=128,
    optimizer="sgd",
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=5e-4,
    decay_at=(0.5, 0.75),
    decay_factor=0.1,
    augmentation="crop_flip",
)
CIFAR100_TRAINING = dataclasses.replace(CIFAR10_TRAINING, augmentation="crop_flip_rotate")
SVHN_TRAINING = dataclasses.replace(CIFAR10_TRAINING, learning_rate=0.01, augmentation="none")
MNIST_TRAINING = dataclasses.replace(  # our choice: the paper does not say
    CIFAR10_TRAINING, num_epochs=40, learning_rate=0.05, augmentation="none"
)

QUICK_MODELS = {"preactresnet18": ("preactresnet10", 8), "wideresnet34": ("wideresnet10", 1)}


def scale_grid(*epsilons_255: float) -> tuple[float, ...]:
    """Turn attack strengths in units of 1/255 into radii in pixel space [0, 1]."""
    return tuple(epsilon / 255 for epsilon in epsilons_255)


def build_quick(config: SweepConfig) -> SweepConfig:
    """Shrink a setting until it trains on two CPU cores in minutes.

    Lanes, attack, objective and optimiser stay; images, epochs and network shrink. The result
    shows that the setting runs. It says nothing about the paper's numbers.

    Args:
      config: The setting.

    Returns:
      The quick variant.
    """
    model = config.model
    if model.name in QUICK_MODELS:
        name, width = QUICK_MODELS[model.name]
        model = dataclasses.replace(model, name=name, width=width)
    else:
        model = dataclasses.replace(model, name="mnist_cnn_small")
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, num_train=500, num_test=250, num_selection=100),
        model=model,
        evaluation=dataclasses.replace(config.evaluation, batch_size=250),
        training=dataclasses.replace(config.training, num_epochs=4, batch_size=50),
    )
