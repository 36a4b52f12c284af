"""The default run: scikit-learn's 1,797 real digits (8 x 8 pixels), a small network. No download.

    python -m phase_jax.sweep configs/digits.py --out runs/digits
    python -m phase_jax.sweep configs/digits.py:fgm --out runs/digits-fgm

Variants: fgm (one step without a random start, up to half of the pixel range, at a constant
          learning rate: it overfits catastrophically), strong_pgd (PGD-5 at the same strengths)
Needs:    2 CPU cores; under 60 s the first time, under 30 s with a warm compilation cache
Expected: epsilon* = 11.8/255 (95 % interval 9.64/255 to 14.5/255); a machine that rounds otherwise
          may move it by 0.3/255. fgm: catastrophic overfitting from 89.2/255 on
Versions: Python 3.11, jax 0.10.2, flax 0.12.8, optax 0.2.8
"""

import dataclasses

from phase_jax.config import AttackConfig, SweepConfig, TrainingConfig
from phase_jax.grid import parse_grid

config = SweepConfig(target_epsilon=0.1)

strong_pgd = dataclasses.replace(
    config,
    epsilon_grid=parse_grid("0:0.5:11"),
    attack=AttackConfig(num_steps=5),
    training=TrainingConfig(num_epochs=40, decay_at=(), weight_decay=0.0),
)
fgm = dataclasses.replace(
    strong_pgd, attack=AttackConfig(name="fgm", random_start=False, step_size=1.0)
)
