"""The default run: scikit-learn's 1,797 real digits (8 x 8 pixels), a small network. No download.

    python -m phase_jax.sweep configs/digits.py --out runs/digits

Needs:    2 CPU cores; under 60 s the first time, under 30 s with a warm compilation cache
Expected: epsilon* = 12/255 (95 % interval 9.71/255 to 14.9/255)
Versions: Python 3.11, jax 0.10.2, flax 0.12.8, optax 0.2.8
"""

from phase_jax.config import SweepConfig

config = SweepConfig(target_epsilon=0.1)
