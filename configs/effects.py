"""MNIST and Fashion-MNIST, small network: what training size, width and one-step attacks do.

    python -m phase_jax.data prepare mnist --source DIRECTORY_WITH_THE_FOUR_GZ_FILES
    python -m phase_jax.data prepare fashion_mnist --source DIRECTORY_WITH_THE_FOUR_GZ_FILES
    python -m phase_jax.sweep configs/effects.py:mnist_10000_128 --out runs/effects/mnist_10000_128

Variants: DATA_IMAGES_HIDDEN, with DATA mnist or fashion_mnist, IMAGES_HIDDEN 10000_128 (the
          reference), 2500_128 (fewer images), 10000_16 (narrower); and DATA_fgm (the reference
          trained with one step)
Needs:    2 CPU cores, 5 minutes each; the data sets as TFDS directories
Expected: results/effects; the values beside each other in docs/results.md
Versions: Python 3.11, jax 0.10.2, flax 0.12.8, optax 0.2.8

Section 5.3.2 of the paper in small, on real images with several seeds. Every network takes the
same number of gradient steps: with a quarter of the images, four times the epochs. The values are
not the paper's; which way they move is what is measured.
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

IMAGES_TIMES_EPOCHS = 60_000

config = mnist_10000_128 = SweepConfig(
    epsilon_grid=tuple(epsilon / 255 for epsilon in (0, 8, 16, 24, 32, 40)),
    num_seeds=3,
    target_epsilon=0.3,
    data=DataConfig(name="mnist", num_train=10_000, num_selection=1_000),
    model=ModelConfig(name="mnist_cnn_small", hidden=128),
    attack=AttackConfig(num_steps=5),
    evaluation=EvaluationConfig(num_steps=5),
    training=TrainingConfig(
        num_epochs=IMAGES_TIMES_EPOCHS // 10_000, batch_size=128, learning_rate=0.05
    ),
)
fashion_mnist_10000_128 = dataclasses.replace(
    config,
    epsilon_grid=tuple(epsilon / 255 for epsilon in (0, 2, 4, 8, 16)),
    target_epsilon=8 / 255,
    data=dataclasses.replace(config.data, name="fashion_mnist"),
)


def with_images(setting, num_train):
    """Train on another number of images, for the same number of gradient steps."""
    return dataclasses.replace(
        setting,
        data=dataclasses.replace(setting.data, num_train=num_train),
        training=dataclasses.replace(setting.training, num_epochs=IMAGES_TIMES_EPOCHS // num_train),
    )


def with_hidden(setting, hidden):
    """Take another number of hidden units."""
    return dataclasses.replace(setting, model=dataclasses.replace(setting.model, hidden=hidden))


def with_one_step(setting):
    """Train with one step of the gradient's sign, at strengths where that stops working."""
    return dataclasses.replace(
        setting,
        epsilon_grid=tuple(epsilon / 255 for epsilon in (0, 8, 16, 32, 64, 96)),
        attack=AttackConfig(name="fgm", step_size=1.25),
    )


mnist_2500_128 = with_images(mnist_10000_128, 2_500)
# Sixteen hidden units all die from about 16/255 on in most seeds: epsilon* is looked for below.
mnist_10000_16 = dataclasses.replace(
    with_hidden(mnist_10000_128, 16),
    epsilon_grid=tuple(epsilon / 255 for epsilon in (0, 4, 8, 12, 16, 24)),
)
mnist_fgm = with_one_step(mnist_10000_128)
fashion_mnist_2500_128 = with_images(fashion_mnist_10000_128, 2_500)
fashion_mnist_10000_16 = with_hidden(fashion_mnist_10000_128, 16)
fashion_mnist_fgm = with_one_step(fashion_mnist_10000_128)
