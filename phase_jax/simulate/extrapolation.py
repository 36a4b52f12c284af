"""Algorithm A.1 on the linear model: epsilon* extrapolated from a few exact train losses.

Along d = n^(3/4) the generalisation gap makes epsilon* of order d / n, so it vanishes as n grows,
while Delta, of mean 2 sigma^2 d / n and standard deviation of order n^(-1/2), stays positive. The
train losses are those of exact minimisers: what is left is the error of the straight line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from scipy import stats

from phase_jax.linear.model import adversarial_loss, population_risk, sample_data, solve_clean
from phase_jax.linear.solve import solve
from phase_jax.linear.threshold import solve_epsilon_star
from phase_jax.report.plots import STAR, STYLE, TEST, THRESHOLD, TRAIN
from phase_jax.solver import solve_epsilon_star as solve_curve
from phase_jax.types import EpsilonStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import PRNGKeyArray

    from phase_jax.simulate.study import StudyContext

SIGMA = 1.0
ROOTS = (3, 4, 5, 6)
FULL_ROOTS = (3, 4, 5, 6, 7)
"""n = root^4, d = root^3 = n^(3/4)."""
FRACTIONS = (0.25, 0.5, 1.0)
"""Attack strengths that are solved, in units of the first-order guess of epsilon*."""
METHODS = ("tangent", "one point, 0.25", "one point, 0.5", "one point, 1", "three points")
DEFAULT, FULL = 40, 400
DEFAULT_LARGE = 12
"""Data sets at the largest size by default; their errors vary little there."""
LEVEL = 0.95


class Power(NamedTuple):
    """A power law fitted to positive estimates."""

    exponent: float
    half_width: float
    """Of its interval, from the standard errors of the estimates."""


class Errors(NamedTuple):
    """What the extrapolations give."""

    rows: list[dict[str, Any]]
    summary: dict[str, Any]


def measure_errors(context: StudyContext) -> Errors:
    """Measure the relative error of every method along d = n^(3/4)."""
    rows = []
    for root in FULL_ROOTS if context.full else ROOTS:
        num_examples, num_features = root**4, root**3
        num_replicates = context.count(DEFAULT if root < ROOTS[-1] else DEFAULT_LARGE, FULL)
        result = context.simulate(
            f"extrapolation-n{num_examples}",
            make_replicate(num_examples, num_features, context.dtype),
            num_replicates,
            quantiles=(),
            label=f"sigma {SIGMA}, {FRACTIONS}",
        )
        rows += tabulate_errors(result.summary, num_examples, num_features, num_replicates)
    powers = {
        method: fit_power([row for row in rows if row["method"] == method]) for method in METHODS
    }
    summary = {
        "sigma": SIGMA,
        "fractions": FRACTIONS,
        "exponents": {method: power._asdict() for method, power in powers.items()},
    }
    return Errors(rows, summary)


def make_replicate(
    num_examples: int, num_features: int, dtype: Any
) -> Callable[[PRNGKeyArray], dict[str, Any]]:
    """Make the function of a key that extrapolates on one data set and solves it exactly.

    Its `relative` and `absolute` errors are [methods], nan where either epsilon* is not finite.
    """
    theta_0 = jnp.full(num_features, num_features**-0.5, dtype)
    fractions = jnp.asarray(FRACTIONS, dtype)

    def replicate(key: PRNGKeyArray) -> dict[str, Any]:
        x, y = sample_data(key, num_examples, theta_0, SIGMA)
        clean = solve_clean(x, y)
        start = adversarial_loss(clean, x, y, 0.0)
        threshold = population_risk(clean, theta_0, SIGMA, 0.0)
        # The envelope theorem: at epsilon = 0 the minimum rises by 2 |theta| mean |r|.
        slope = 2 * jnp.sqrt(clean @ clean) * jnp.abs(y - x @ clean).mean()
        tangent = (threshold - start) / slope
        epsilons = jnp.where(tangent > 0, tangent, jnp.nan) * fractions
        # One LAPACK call after the other: see `factor_design`.
        x, y, epsilons = jax.lax.optimization_barrier((x, y, epsilons))
        losses = jax.vmap(lambda epsilon: solve(x, y, epsilon).loss)(epsilons)
        x, y, losses = jax.lax.optimization_barrier((x, y, losses))
        exact = solve_epsilon_star(x, y, threshold)
        zero = jnp.zeros_like(start)

        def extend_line(epsilon, loss):
            points = jnp.stack([zero, epsilon]), jnp.stack([start, loss])
            return solve_curve(points[0], points[1], threshold, method="line").value

        lines = jax.vmap(extend_line)(epsilons, losses)
        points = jnp.append(zero, epsilons), jnp.append(start, losses)
        regression = solve_curve(points[0], points[1], threshold, method="regression").value
        estimates = jnp.concatenate([tangent[None], lines, regression[None]]).astype(dtype)
        relative = estimates / exact.value - 1
        return {
            "relative": relative,
            "absolute": jnp.abs(relative),
            "epsilon_star": exact.value,
            "found": exact.status == EpsilonStatus.FOUND,
        }

    return replicate


def tabulate_errors(
    summary: dict[str, Any], num_examples: int, num_features: int, num_replicates: int
) -> list[dict[str, Any]]:
    """Make one row for each method."""
    return [
        {
            "part": "extrapolation",
            "n": num_examples,
            "d": num_features,
            "method": method,
            "num_replicates": num_replicates,
            "num_found": round(float(summary["found"].mean) * num_replicates),
            "epsilon_star": float(summary["epsilon_star"].mean),
            "epsilon_star_error": float(summary["epsilon_star"].standard_error),
            "relative": float(summary["relative"].mean[index]),
            "relative_error": float(summary["relative"].standard_error[index]),
            "absolute": float(summary["absolute"].mean[index]),
            "absolute_error": float(summary["absolute"].standard_error[index]),
        }
        for index, method in enumerate(METHODS)
    ]


def fit_power(rows: list[dict[str, Any]]) -> Power:
    """Fit log mean |relative error| to log n by least squares, weighted by the standard errors."""
    sound = [row for row in rows if row["absolute"] > 0 and row["absolute_error"] > 0]
    if len(sound) < 2:
        return Power(np.nan, np.nan)
    log_n = np.log([row["n"] for row in sound])
    value = np.array([row["absolute"] for row in sound])
    weight = (value / np.array([row["absolute_error"] for row in sound])) ** 2
    centered = log_n - weight @ log_n / weight.sum()
    information = weight @ centered**2
    exponent = weight @ (centered * np.log(value)) / information
    return Power(float(exponent), float(stats.norm.ppf(0.5 + LEVEL / 2) / information**0.5))


def describe_errors(errors: Errors) -> list[str]:
    """Say how large the errors are and whether they vanish."""
    sizes = sorted({row["n"] for row in errors.rows})
    parts = []
    for method in METHODS:
        first, last = (
            next(r for r in errors.rows if r["method"] == method and r["n"] == n)
            for n in (sizes[0], sizes[-1])
        )
        power = errors.summary["exponents"][method]
        parts.append(
            f"{method}: {first['absolute']:.2g} ± {first['absolute_error']:.1g} at n = {sizes[0]}, "
            f"{last['absolute']:.2g} ± {last['absolute_error']:.1g} at n = {sizes[-1]:,}, exponent "
            f"{power['exponent']:.2f} ± {power['half_width']:.2f}"
        )
    found = sum(row["num_found"] for row in errors.rows if row["method"] == METHODS[0])
    counts = [row["num_replicates"] for row in errors.rows if row["method"] == METHODS[0]]
    total = sum(counts)
    falls = all(
        power["exponent"] + power["half_width"] < 0
        for power in errors.summary["exponents"].values()
    )
    verdict = (
        "All fall with n, so the error is o(ε*), as claimed; the tangent's only about as "
        "fast as ε* itself, which is of order d/n = n^(−1/4) here"
        if falls
        else "Not all of them fall with n at this number of data sets"
    )
    return [
        f"Extrapolated ε̂ against exact ε* along d = n^(3/4), mean |ε̂/ε* − 1| ± standard error over "
        f"{', '.join(map(str, counts))} data sets at n = {', '.join(map(str, sizes))} (ε* finite "
        f"in {found} of {total}), and its exponent in n with a 95 % interval (points lie at the "
        "given multiples of the tangent's ε̂): " + "; ".join(parts) + f". {verdict}."
    ]


def draw_errors(errors: Errors) -> Figure:
    """Draw the mean absolute relative error against n, with 95 % intervals."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.add_subplot()
        colours = (THRESHOLD, TRAIN, TRAIN, TRAIN, TEST)
        for method, colour, marker in zip(METHODS, colours, "sv^oD", strict=True):
            chosen = [row for row in errors.rows if row["method"] == method]
            n, value, error = (
                np.array([row[name] for row in chosen])
                for name in ("n", "absolute", "absolute_error")
            )
            fitted = errors.summary["exponents"][method]["exponent"]
            axes.errorbar(
                n, value, yerr=1.96 * error, color=colour, marker=marker, capsize=3,
                label=f"{method}: exponent {fitted:.2f}",
            )  # fmt: skip
        star = [row for row in errors.rows if row["method"] == METHODS[0]]
        axes.plot(
            [row["n"] for row in star],
            [row["epsilon_star"] for row in star],
            ":",
            color=STAR,
            label="ε* itself (mean)",
        )
        axes.set_xscale("log")
        axes.set_xticks(n, [f"{size:,.0f}" for size in n])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_yscale("log")
        axes.set_xlabel(r"number of examples n, with d = $n^{3/4}$ features")
        axes.set_ylabel("mean |ε̂/ε* − 1|, 95 % interval")
        axes.set_title(
            "Proposition 2 and Algorithm A.1: relative error of the extrapolated ε*",
            loc="left",
            fontsize=11,
        )
        axes.legend(fontsize=8, loc="lower left")
        return figure
