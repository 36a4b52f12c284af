"""The phases of the minimiser over d / n and epsilon, for both attack norms.

n and d change together, n d = 10,000. Colour is the length of the minimiser relative to clean
training's; above collapse it is exactly zero, and under the l2 attack with d > n it is exactly one
below the interpolation threshold. What is said of epsilon* of the loss is said of the draws that
have a finite one, beside their share.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.linear.model import (
    adversarial_loss,
    collapse_epsilon,
    measure_dual,
    measure_length,
    multiply,
    population_risk,
    sample_data,
    solve_clean,
)
from phase_jax.linear.solve import SolveStatus, interpolation_epsilon, solve
from phase_jax.simulate.intervals import estimate_median, estimate_share
from phase_jax.simulate.phase_diagram_figure import draw_phase_diagram
from phase_jax.simulate.phase_diagram_findings import describe
from phase_jax.simulate.study import Study, StudyResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Float, PRNGKeyArray

    from phase_jax.simulate.study import StudyContext

SIGMA, THETA_LENGTH = 1.0, 2.0
"""At 2 the loss threshold is finite on both sides of d = n."""
AREA = 10_000
"""n d."""
NORMS = ("l2", "linf")
DEFAULT, FULL = 20, 200
EPSILON_SPAN = {"l2": (-2.5, 1.5), "linf": (-3.0, 0.5)}
"""Exponents of 10."""
CLOSE = 1e-6
"""Relative distance at which a length counts as clean training's."""


def run_phase_diagram(context: StudyContext) -> StudyResult:
    """Measure every size under both norms."""
    num_replicates = context.count(DEFAULT, FULL)
    rows, lines = [], []
    for num_examples, num_features in list_sizes(17 if context.full else 7):
        for norm in NORMS:
            epsilons = list_epsilons(norm, 43 if context.full else 22)
            result = context.simulate(
                f"{norm}-n{num_examples}-d{num_features}",
                make_replicate(num_examples, num_features, epsilons, norm, context.dtype),
                num_replicates,
                batch_size=min(num_replicates, 10),
                keep_values=True,
                quantiles=(),
                label=f"{epsilons}",
            )
            place = {"norm": norm, "n": num_examples, "d": num_features}
            rows += list_rows(place, epsilons, result.values)
            lines.append(place | list_boundaries(result.values))
    summary = {
        "num_replicates": num_replicates,
        "sigma": SIGMA,
        "theta_length": THETA_LENGTH,
        "num_unsolved": sum(row["num_unsolved"] for row in rows),
        "boundaries": lines,
    }
    figures = {"phase-diagram": draw_phase_diagram(rows, lines)}
    findings = describe(rows, lines, num_replicates, THETA_LENGTH)
    return StudyResult(rows, summary, findings, figures)


def list_sizes(count: int) -> list[tuple[int, int]]:
    """List (N, D) with N D = `AREA` and D / N from 0.01 to 100."""
    return [
        (round(math.sqrt(AREA) / 10**place), round(math.sqrt(AREA) * 10**place))
        for place in np.linspace(-1, 1, count)
    ]


def list_epsilons(norm: str, count: int) -> tuple[float, ...]:
    """List attack strengths, evenly in their logarithm."""
    return tuple(float(epsilon) for epsilon in np.logspace(*EPSILON_SPAN[norm], count))


def make_replicate(
    num_examples: int, num_features: int, epsilons: tuple[float, ...], norm: str, dtype: Any
) -> Callable[[PRNGKeyArray], dict[str, Any]]:
    """Make the function of a key that solves one data set at every epsilon.

    theta_0 has equal entries: the linf attack distinguishes axes.
    """
    theta_0 = jnp.full(num_features, THETA_LENGTH * num_features**-0.5, dtype)
    strengths = jnp.asarray(epsilons, dtype)

    def replicate(key: PRNGKeyArray) -> dict[str, Any]:
        x, y = sample_data(key, num_examples, theta_0, SIGMA)
        clean = solve_clean(x, y)
        threshold = population_risk(clean, theta_0, SIGMA, 0.0)
        found = jax.vmap(lambda epsilon: solve(x, y, epsilon, norm=norm))(strengths)
        solved = found.status == SolveStatus.SOLVED
        length = measure_length(found.theta) / measure_length(clean)
        curve = trace_loss(x, y, strengths, found.theta, clean, norm)
        outputs = {
            "length": jnp.where(solved, length, jnp.nan),
            "collapse": collapse_epsilon(x, y, norm),
            "loss_threshold": jnp.where(solved.all(), cross_threshold(curve, threshold), jnp.nan),
        }
        if num_features > num_examples:
            outputs["interpolation"] = interpolation_epsilon(x, y, norm)
        return outputs

    return replicate


class LossCurve(NamedTuple):
    """The minimal train loss at rising attack strengths, the first of which is 0."""

    epsilons: Float[Array, "E"]
    losses: Float[Array, "E"]
    slopes: Float[Array, "E"]
    """d loss / d epsilon."""


def trace_loss(x: Any, y: Any, epsilons: Any, theta: Any, clean: Any, norm: str) -> LossCurve:
    """Trace the loss of minimisers from epsilon = 0, with its slope by the envelope theorem.

    Attack strengths beyond collapse are moved to collapse, where the loss stops rising.
    """
    points = jnp.concatenate([clean[None], theta])
    reached = jnp.minimum(epsilons, collapse_epsilon(x, y, norm))
    epsilons = jnp.concatenate([jnp.zeros(1, reached.dtype), reached])
    losses = jax.vmap(adversarial_loss, (0, None, None, 0, None))(points, x, y, epsilons, norm)
    lengths = measure_dual(points, norm)
    residuals = jnp.abs(y - multiply(points, x.T)).mean(1)
    slopes = 2 * lengths * (residuals + epsilons * lengths)
    return LossCurve(epsilons, losses, slopes)


def cross_threshold(curve: LossCurve, threshold: Any) -> Float[Array, ""]:
    """Read epsilon* off a loss curve, by cubic interpolation with its slopes.

    Returns:
      epsilon*; -inf where it is undefined, inf where the curve does not reach the threshold.
    """
    epsilons, losses, slopes = curve
    after = jnp.clip(jnp.searchsorted(losses, threshold, side="right"), 1, losses.size - 1)
    before = after - 1
    width = epsilons[after] - epsilons[before]

    def interpolate(t: Any) -> Any:
        rest = 1 - t
        return (
            losses[before] * (1 + 2 * t) * rest**2
            + losses[after] * (3 - 2 * t) * t**2
            + width * t * rest * (slopes[before] * rest - slopes[after] * t)
        )

    def halve(_: Any, ends: tuple[Any, Any]) -> tuple[Any, Any]:
        middle = (ends[0] + ends[1]) / 2
        below = interpolate(middle) < threshold
        return jnp.where(below, middle, ends[0]), jnp.where(below, ends[1], middle)

    zero = jnp.zeros((), losses.dtype)
    place = jax.lax.fori_loop(0, 30, halve, (zero, zero + 1))[0]
    value = jnp.where(threshold >= losses[-1], jnp.inf, epsilons[before] + place * width)
    return jnp.where(threshold < losses[0], -jnp.inf, value)


def list_rows(
    place: dict[str, Any], epsilons: tuple[float, ...], values: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """List one row for each epsilon."""
    rows = []
    for index, epsilon in enumerate(epsilons):
        length = values["length"][:, index]
        sound = length[np.isfinite(length)]
        middle = estimate_median(length)
        rows.append(
            place
            | {
                "epsilon": epsilon,
                "length": middle.value,
                "length_low": middle.low,
                "length_high": middle.high,
                "share_zero": float((sound == 0).mean()) if sound.size else math.nan,
                "share_clean": float((abs(sound - 1) < CLOSE).mean()) if sound.size else math.nan,
                "num_unsolved": int(length.size - sound.size),
            }
        )
    return rows


def list_boundaries(values: dict[str, np.ndarray]) -> dict[str, Any]:
    """List medians of the boundaries with their intervals, epsilon*'s over its finite draws."""
    stars = values["loss_threshold"]
    stars = stars[~np.isnan(stars)]
    boundaries = {}
    for name in ("collapse", "interpolation", "loss_threshold"):
        if name in values:
            draws = stars[np.isfinite(stars)] if name == "loss_threshold" else values[name]
            middle = estimate_median(draws)
            boundaries |= {
                name: middle.value,
                f"{name}_low": middle.low,
                f"{name}_high": middle.high,
            }
    for name, hits in (
        ("undefined", stars == -np.inf),
        ("finite", np.isfinite(stars)),
        ("infinite", stars == np.inf),
    ):
        share = estimate_share(int(hits.sum()), stars.size)
        boundaries |= {
            f"share_{name}": share.value,
            f"share_{name}_low": share.low,
            f"share_{name}_high": share.high,
        }
    return boundaries


STUDY = Study(
    "phase-diagram",
    "Phases of the minimiser over d/n and epsilon",
    run_phase_diagram,
    (80, 600),
    unresolved="float32 does not determine the minimiser under the ℓ∞ attack with d ≫ n: its "
    "lengths are off by up to 40 % there. Take the float64 run.",
)
