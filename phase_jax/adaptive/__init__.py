"""Sweeps that find their own grid."""

from phase_jax.adaptive.run import AdaptiveSweep, run_adaptive_sweep

__all__ = ["AdaptiveSweep", "run_adaptive_sweep"]
