"""Is adversarial training's outcome one that clean training could have given? Figures 2 and 3.

One replicate draws a null distribution, 300 data sets trained cleanly, and one more data set that
is trained at many attack strengths. These lie on a grid of log(epsilon / epsilon*), for each of
three readings of epsilon*, of which the paper does not say which it means.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.linear.descent import descend
from phase_jax.linear.model import adversarial_loss, population_risk, sample_data, solve_clean
from phase_jax.linear.moments import std_length
from phase_jax.linear.threshold import solve_epsilon_star, solve_trajectory_epsilon
from phase_jax.simulate.scaling_cells import encode_crossing
from phase_jax.simulate.significance import (
    Calibration,
    Distances,
    check_uniform,
    find_p_values,
    measure_distances,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Float, PRNGKeyArray

    from phase_jax.simulate.study import StudyContext

SIGMA = THETA_LENGTH = 1.0
NUM_EXAMPLES = 100
FEATURES = (2, 5, 10)
NUM_DRAWS = 300
"""M, clean data sets behind a null distribution."""
NUM_STEPS = 100
LOG_RATIOS = tuple(k / 3 for k in range(-12, 7))
"""log(epsilon / epsilon*), natural; 0 is among them."""
AXES = {
    "theory": "ε* = √(d/n)",
    "trajectory": "ε* = trajectory threshold",
    "loss": "ε* = loss threshold",
}
BATCH = 10


class Curves(NamedTuple):
    """P-values at one number of features."""

    num_features: int
    p_values: dict[str, Float[np.ndarray, "R A G"]]
    """Test -> p-values over axes and log ratios; NaN where epsilon* has no finite value."""
    calibration: dict[str, Calibration]
    """Test -> at epsilon = 0, where each p-value has a null distribution of its own."""
    clean: dict[str, Float[np.ndarray, "R"]]
    """Test -> the p-values behind it."""
    stars: dict[str, Float[np.ndarray, "R"]]
    """Axis -> epsilon*: -inf where undefined, inf where infinite."""


def simulate_curves(context: StudyContext, outcome: str, num_replicates: int) -> list[Curves]:
    """Simulate the p-values of an outcome for every number of features."""
    return [
        simulate_features(context, outcome, num_features, num_replicates, NUM_DRAWS)
        for num_features in FEATURES
    ]


def simulate_features(
    context: StudyContext,
    outcome: str,
    num_features: int,
    num_replicates: int,
    num_draws: int,
) -> Curves:
    """Simulate the p-values of an outcome, `theta` or `loss`, for one number of features."""
    result = context.simulate(
        f"d{num_features}",
        make_replicate(outcome, num_features, num_draws, context.dtype),
        num_replicates,
        batch_size=BATCH,
        keep_values=True,
        quantiles=(),
        label=f"{outcome}, n {NUM_EXAMPLES}, {num_draws} draws, {NUM_STEPS} steps, {LOG_RATIOS}",
    )
    size = num_features if outcome == "theta" else 1
    p_values = find_p_values(Distances(*result.values["distances"]), num_draws, size)
    shape = (num_replicates, len(AXES), len(LOG_RATIOS))
    stars = result.values["stars"]
    missing = ~np.isfinite(stars)[:, :, None]
    clean = {test: values[:, 0] for test, values in p_values.items()}
    return Curves(
        num_features,
        {t: np.where(missing, np.nan, p[:, 1:].reshape(shape)) for t, p in p_values.items()},
        {
            test: check_uniform(values, 1 / (num_draws + 1) if test == "rank" else 0.0)
            for test, values in clean.items()
        },
        clean,
        {axis: stars[:, a] for a, axis in enumerate(AXES)},
    )


def make_replicate(
    outcome: str, num_features: int, num_draws: int, dtype: Any
) -> Callable[[PRNGKeyArray], dict[str, Any]]:
    """Make the function of a key that draws a null distribution and measures one more data set.

    The null distribution's data sets are trained to the end: at n = 100 and d <= 10 gradient
    descent is there, up to rounding, long before step 100.
    """
    theta_0 = jnp.full(num_features, THETA_LENGTH * num_features**-0.5, dtype)
    measure = (lambda theta, x, y, epsilon: theta) if outcome == "theta" else measure_loss

    def draw_null(key: PRNGKeyArray) -> Array:
        x, y = sample_data(key, NUM_EXAMPLES, theta_0, SIGMA)
        return measure(solve_clean(x, y), x, y, 0.0)

    def replicate(key: PRNGKeyArray) -> dict[str, Any]:
        null_key, data_key = jax.random.split(key)
        sample = jax.vmap(draw_null)(jax.random.split(null_key, num_draws))
        x, y = sample_data(data_key, NUM_EXAMPLES, theta_0, SIGMA)
        stars = find_stars(x, y, theta_0)
        usable = jnp.where(jnp.isfinite(stars), stars, 0.0)
        grid = usable[:, None] * jnp.exp(jnp.asarray(LOG_RATIOS, dtype))
        epsilons = jnp.concatenate([jnp.zeros(1, dtype), grid.ravel()])
        theta = descend(x, y, epsilons, num_steps=NUM_STEPS, record_fn=None).theta
        points = jax.vmap(measure, (0, None, None, 0))(theta, x, y, epsilons)
        return {"distances": measure_distances(sample, points), "stars": stars}

    return replicate


def measure_loss(theta: Array, x: Array, y: Array, epsilon: Array | float) -> Float[Array, "1"]:
    """Measure the adversarial train loss, as a vector of one."""
    return adversarial_loss(theta, x, y, epsilon)[None]


def find_stars(x: Array, y: Array, theta_0: Array) -> Float[Array, "..."]:
    """Find epsilon* in each of its readings, in the order of `AXES`."""
    num_examples, num_features = x.shape
    risk = population_risk(solve_clean(x, y), theta_0, SIGMA, 0.0)
    distance = std_length(num_examples, num_features, SIGMA, THETA_LENGTH)
    theory = jnp.asarray(math.sqrt(num_features / num_examples), x.dtype)
    trajectory = encode_crossing(solve_trajectory_epsilon(x, y, distance))
    return jnp.stack([theory, trajectory, encode_crossing(solve_epsilon_star(x, y, risk))])
