"""Epsilon* of many random data sets at once, against what is known exactly.

A replicate draws a data set for linear regression and minimises its adversarial train loss;
`run_monte_carlo` repeats it in one compiled program. Every mean has its standard error, and two of
them an exact counterpart: a formula at this size, and the limit of many examples and dimensions.

    python examples/monte_carlo.py [REPLICATES]

A minute on one CPU core for 2,000 replicates, half of it to compile.
"""

import sys

import jax
import jax.numpy as jnp

from phase_jax import EpsilonStatus, linear, run_monte_carlo
from phase_jax.simulate.limit import limit_epsilon_star

N, D = 400, 40
THETA = jnp.ones(D) / D**0.5  # of length 1, as is the standard deviation of the noise
MEAN_GAP = float(linear.gap_mean(N, D))


def replicate(key):
    """Draw a data set and return its epsilon*, twice: with its own threshold, and the mean one."""
    x, y = linear.sample_data(key, N, THETA, sigma=1.0)
    clean = linear.solve_clean(x, y)
    train_loss = linear.adversarial_loss(clean, x, y, 0.0)
    test_loss = linear.population_risk(clean, THETA, 1.0, epsilon=0.0)
    thresholds = jnp.stack([test_loss, train_loss + MEAN_GAP])
    star = jax.vmap(lambda threshold: linear.solve_epsilon_star(x, y, threshold))(thresholds)
    return {
        "gap": test_loss - train_loss,
        "epsilon*": star.value[0],
        "epsilon* (mean gap)": star.value[1],
        "undefined": star.status[0] == EpsilonStatus.UNDEFINED,
    }


num_replicates = int(sys.argv[1]) if sys.argv[1:] else 2_000
with jax.enable_x64(True):
    result = run_monte_carlo(replicate, jax.random.key(0), num_replicates)
known = {"gap": MEAN_GAP, "epsilon* (mean gap)": limit_epsilon_star(D / N, 1.0)}
print(f"{num_replicates} data sets of {N} examples in {D} dimensions, in {result.seconds:.1f} s")
for name, found in result.summary.items():
    line = f"{name:20} {found.mean:.5f} +- {found.standard_error:.5f}"
    print(line + (f"   known: {known[name]:.5f}" if name in known else ""))
print("known: the gap exactly (Lemma 2, corrected), epsilon* in the limit of the same d/n")
quartiles = ", ".join(f"{value:.3f}" for value in result.summary["epsilon*"].quantiles[1:4])
print(f"quartiles of epsilon* where it is defined: {quartiles}")
