"""MNIST, 10,000 training images, the smaller convolutional network, PGD, for a CPU.

    python -m phase_jax.data prepare mnist --source DIRECTORY_WITH_THE_FOUR_GZ_FILES
    python -m phase_jax.sweep configs/mnist.py --out runs/mnist

Needs:    2 CPU cores, 15 minutes; MNIST as a TFDS directory
Expected: epsilon* = 21.1/255 (95 % interval 18.4/255 to 24.4/255); two of three lanes at 0.15
          collapse to one class and are left out
Versions: Python 3.11, jax 0.10.2, flax 0.12.8, optax 0.2.8

The network is the smaller convolutional reading of the paper's Table 3 (4 x 4 stride-2
convolutions, 128 hidden units); training is short and on a fifth of the images, so the value is
not the paper's: more images lower the threshold and with it epsilon*.
"""

from phase_jax.config import (
    AttackConfig,
    DataConfig,
    ModelConfig,
    SweepConfig,
    TrainingConfig,
)
from phase_jax.grid import parse_grid

config = SweepConfig(
    epsilon_grid=parse_grid("0:0.15:7"),
    num_seeds=3,
    target_epsilon=0.3,
    data=DataConfig(name="mnist", num_train=10_000),
    model=ModelConfig(name="mnist_cnn_small", hidden=128),
    attack=AttackConfig(num_steps=7),
    training=TrainingConfig(num_epochs=12, batch_size=128, learning_rate=0.05),
)
