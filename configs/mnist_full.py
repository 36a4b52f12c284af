"""MNIST, 50,000 training images, our default reading of the paper's network, for a GPU.

    python -m phase_jax.data prepare mnist --source DIRECTORY_WITH_THE_FOUR_GZ_FILES
    python -m phase_jax.sweep configs/mnist_full.py --out runs/mnist_full

Needs:    a GPU (not measured on one yet; on 2 CPU cores it would take days)
Expected: the paper's Table 3 gives 48.0/255 for 128 hidden units and 26.1/255 for 16
          (`--hidden 16`), without its training schedule
Versions: written for jax 0.10.2

Two 3 x 3 convolutions (32, 64), 2 x 2 max-pool, 9216 -> 128 -> 10.
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
    epsilon_grid=parse_grid("0:0.3:13"),
    num_seeds=3,
    target_epsilon=0.3,
    data=DataConfig(name="mnist", num_train=50_000),
    model=ModelConfig(name="mnist_cnn", hidden=128),
    attack=AttackConfig(num_steps=10),
    training=TrainingConfig(num_epochs=40, batch_size=128, learning_rate=0.05),
)
