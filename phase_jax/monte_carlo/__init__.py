"""Means, quantiles and their standard errors over many random replicates of a JAX function."""

from phase_jax.monte_carlo.driver import MonteCarloResult, run_monte_carlo
from phase_jax.monte_carlo.execute import MonteCarloProgress
from phase_jax.monte_carlo.statistics import Summary

__all__ = ["MonteCarloProgress", "MonteCarloResult", "Summary", "run_monte_carlo"]
