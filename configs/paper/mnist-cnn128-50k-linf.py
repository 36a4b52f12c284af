"""MNIST, 50,000 images, two convolutions, 128 hidden units, ℓ∞ PGD-10: Table 3.

    python -m phase_jax.sweep configs/paper/mnist-cnn128-50k-linf.py

Needs:    one H200-class GPU, about 47 min (from counted operations, not measured);
          MNIST as a TFDS directory
Expected: epsilon* = 48.0/255
Quick:    add `:quick` to the file's name; 2 CPU cores, minutes: 500 images, 4 epochs, a narrow
          network. It shows that the setting runs and says nothing about the paper's numbers
Versions: written for jax 0.10.2, flax 0.12.8, optax 0.2.8

Two 3 x 3 convolutions (32, 64), 2 x 2 max-pool, 9216 -> 128 -> 10: our reading of the paper, which
calls the network MLP(128) in the table and two convolutions with two dense layers in the text. It
says nothing on training and prints no losses; grid, schedule and batch size are our choice.
"""

from phase_jax.config import ModelConfig, SweepConfig
from phase_jax.grid import parse_grid
from phase_jax.reproduce.recipes import (
    EVALUATION_LINF,
    MNIST,
    MNIST_TRAINING,
    PGD_LINF,
    build_quick,
)

config = SweepConfig(
    epsilon_grid=parse_grid("0:0.3:13"),
    num_seeds=1,
    target_epsilon=0.3,
    data=MNIST,
    model=ModelConfig(name="mnist_cnn", hidden=128),
    attack=PGD_LINF,
    evaluation=EVALUATION_LINF,
    training=MNIST_TRAINING,
)
quick = build_quick(config)
