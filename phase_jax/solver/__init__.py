"""From a loss curve to the critical attack strength: a value, a status and an interval."""

from phase_jax.solver.interval import estimate_epsilon_star
from phase_jax.solver.solve import METHODS, TRACEABLE_METHODS, solve_epsilon_star

__all__ = ["METHODS", "TRACEABLE_METHODS", "estimate_epsilon_star", "solve_epsilon_star"]
