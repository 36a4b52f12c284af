"""MNIST, 50,000 training images, two 3 x 3 convolutions: FGM fine-tuning, for a CPU.

    python -m phase_jax.data prepare mnist --source DIRECTORY_WITH_THE_FOUR_GZ_FILES
    python -m phase_jax.finetune configs/mnist_50k.py --attack fgm --eps-grid 4/255,8/255,16/255

Add:      --fine-tune-epochs 2 --train-loss evaluated --out runs/mnist-50k
Needs:    2 CPU cores, 50 minutes; MNIST as a TFDS directory
Expected: epsilon* = 9.58/255 (6.99/255 to 13.1/255) by a line through all points, 10.4/255 where
          the points cross the threshold; the paper's Table 3 prints 48/255: results/mnist-50k
Versions: Python 3.11, jax 0.10.2, flax 0.12.8, optax 0.2.8

The setting of Table 3 with 128 hidden units on a short schedule: 4 epochs clean, 2 of fine-tuning,
3 seeds. The train loss is that of the last parameters: an average over an epoch remembers a
network that resisted no attack. The paper says nothing on its schedule.
"""

from phase_jax.config import (
    AttackConfig,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    SweepConfig,
    TrainingConfig,
)

config = SweepConfig(
    num_seeds=3,
    target_epsilon=0.3,
    data=DataConfig(name="mnist", num_train=50_000),
    model=ModelConfig(name="mnist_cnn", hidden=128),
    attack=AttackConfig(num_steps=5),
    evaluation=EvaluationConfig(num_steps=5),
    training=TrainingConfig(num_epochs=4, batch_size=128, learning_rate=0.05),
)
