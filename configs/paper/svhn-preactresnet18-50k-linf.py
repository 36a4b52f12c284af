"""SVHN, 50,000 images, PreActResNet18, ℓ∞ PGD-10: Tables 3 and B.3, Figure A.1.

    python -m phase_jax.sweep configs/paper/svhn-preactresnet18-50k-linf.py

Needs:    one H200-class GPU, about 6 h (from counted operations, not measured);
          SVHN (svhn_cropped) as a TFDS directory
Expected: epsilon* = 4.9/255
Quick:    add `:quick` to the file's name; 2 CPU cores, minutes: 500 images, 4 epochs, a narrow
          network. It shows that the setting runs and says nothing about the paper's numbers
Versions: written for jax 0.10.2, flax 0.12.8, optax 0.2.8
"""

from phase_jax.config import SweepConfig
from phase_jax.reproduce.recipes import (
    EVALUATION_LINF,
    PGD_LINF,
    PREACTRESNET18,
    SVHN,
    SVHN_TRAINING,
    build_quick,
    scale_grid,
)

config = SweepConfig(
    epsilon_grid=scale_grid(0, 2, 4, 8),
    num_seeds=1,
    target_epsilon=8 / 255,
    data=SVHN,
    model=PREACTRESNET18,
    attack=PGD_LINF,
    evaluation=EVALUATION_LINF,
    training=SVHN_TRAINING,
)
quick = build_quick(config)
