"""The linear model of Section 4: closed forms, exact minimisers, epsilon*, trajectories.

Every function takes one data set (and, where it says so, several attack strengths) and is pure:
batch with `jax.vmap`, or with `phase_jax.run_monte_carlo` for statistics over many data sets.
"""

from phase_jax.linear.descent import Descent, descend
from phase_jax.linear.model import (
    LinearData,
    adversarial_gradient,
    adversarial_loss,
    collapse_epsilon,
    population_risk,
    sample_data,
    solve_clean,
)
from phase_jax.linear.moments import (
    estimator_variance,
    gap_mean,
    gap_second_moment,
    gap_variance,
    std_length,
    train_loss_mean,
    train_loss_variance,
)
from phase_jax.linear.solve import LinearSolution, SolveStatus, interpolation_epsilon, solve
from phase_jax.linear.threshold import solve_epsilon_star, solve_trajectory_epsilon
from phase_jax.linear.two_layer import (
    TwoLayer,
    init_two_layer,
    linearise_two_layer,
    measure_predictor_gap,
    predict_two_layer,
    train_two_layer,
)

__all__ = [
    "Descent",
    "LinearData",
    "LinearSolution",
    "SolveStatus",
    "TwoLayer",
    "adversarial_gradient",
    "adversarial_loss",
    "collapse_epsilon",
    "descend",
    "estimator_variance",
    "gap_mean",
    "gap_second_moment",
    "gap_variance",
    "init_two_layer",
    "interpolation_epsilon",
    "linearise_two_layer",
    "measure_predictor_gap",
    "population_risk",
    "predict_two_layer",
    "sample_data",
    "solve",
    "solve_clean",
    "solve_epsilon_star",
    "solve_trajectory_epsilon",
    "std_length",
    "train_loss_mean",
    "train_loss_variance",
    "train_two_layer",
]
