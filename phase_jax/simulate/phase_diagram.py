"""The phases of the minimiser over d / n and epsilon, for both attack norms.

n and d change together, n d = 10,000. Colour is the length of the minimiser relative to clean
training's; above collapse it is exactly zero, and under the l2 attack with d > n it is exactly one
below the interpolation threshold.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.linear.model import (
    adversarial_loss,
    collapse_epsilon,
    measure_length,
    population_risk,
    sample_data,
    solve_clean,
)
from phase_jax.linear.solve import SolveStatus, interpolation_epsilon, solve
from phase_jax.simulate.intervals import estimate_median
from phase_jax.simulate.phase_diagram_figure import draw_phase_diagram
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
EPSILON_SPAN = {"l2": (-2.0, 1.5), "linf": (-3.0, 0.5)}
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
    return StudyResult(rows, summary, describe(rows, lines, num_replicates), figures)


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
        train_loss = adversarial_loss(clean, x, y, 0.0)
        found = jax.vmap(lambda epsilon: solve(x, y, epsilon, norm=norm))(strengths)
        solved = found.status == SolveStatus.SOLVED
        length = measure_length(found.theta) / measure_length(clean)
        losses = jnp.where(solved, found.loss, jnp.nan)
        collapse = collapse_epsilon(x, y, norm)
        # Beyond collapse the loss is what it is at collapse.
        reached = jnp.minimum(strengths, collapse)
        outputs = {
            "length": jnp.where(solved, length, jnp.nan),
            "collapse": collapse,
            "loss_threshold": cross_threshold(reached, losses, train_loss, threshold),
        }
        if num_features > num_examples:
            outputs["interpolation"] = interpolation_epsilon(x, y, norm)
        return outputs

    return replicate


def cross_threshold(
    epsilons: Float[Array, "E"], losses: Float[Array, "E"], train_loss: Any, threshold: Any
) -> Float[Array, ""]:
    """Read epsilon* off a loss curve, good to the grid, for a picture.

    Interpolation is linear in the root of the loss, which rises in proportion to epsilon where
    training interpolates.

    Returns:
      epsilon*; -inf where it is undefined, inf where the curve does not reach the threshold, nan
      where the curve has gaps.
    """
    strengths = jnp.concatenate([jnp.zeros(1, epsilons.dtype), epsilons])
    curve = jnp.concatenate([train_loss[None], losses])
    value = jnp.interp(jnp.sqrt(threshold), jnp.sqrt(curve), strengths)
    value = jnp.where(threshold >= curve[-1], jnp.inf, value)
    value = jnp.where(threshold < train_loss, -jnp.inf, value)
    return jnp.where(jnp.isnan(curve).any(), jnp.nan, value)


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
    """List medians of the boundaries with their intervals."""
    boundaries = {}
    for name in ("collapse", "interpolation", "loss_threshold"):
        if name in values:
            middle = estimate_median(values[name])
            boundaries |= {
                name: middle.value,
                f"{name}_low": middle.low,
                f"{name}_high": middle.high,
            }
    stars = values["loss_threshold"]
    return boundaries | {
        "share_undefined": float(np.mean(stars == -np.inf)),
        "share_infinite": float(np.mean(stars == np.inf)),
    }


def describe(
    rows: list[dict[str, Any]], lines: list[dict[str, Any]], num_replicates: int
) -> list[str]:
    """Say where the phases are."""
    unsolved = sum(row["num_unsolved"] for row in rows)
    count = num_replicates * len(rows)
    findings = [
        f"{num_replicates} replicates at each of {len(rows)} points (d/n, ε, norm); {unsolved} of "
        f"{count:,} solves left out because their certificate did not close."
    ]
    for norm in NORMS:
        own = [line for line in lines if line["norm"] == norm]
        unit = "√(d/n)" if norm == "l2" else "1/√n"
        scaled = [line["collapse"] / _scale(line) for line in own]
        findings.append(
            f"{_name(norm)} attack: the minimiser vanishes at ε = {scaled[0]:.2f} {unit} for d/n = "
            f"{own[0]['d'] / own[0]['n']:.2g}, {scaled[len(own) // 2]:.2f} at "
            f"{own[len(own) // 2]['d'] / own[len(own) // 2]['n']:.2g} and {scaled[-1]:.2f} at "
            f"{own[-1]['d'] / own[-1]['n']:.3g} (medians)."
        )
    over = [line for line in lines if "interpolation" in line and line["norm"] == "l2"]
    findings.append(
        "ℓ2 attack, d > n: up to the interpolation threshold, "
        + ", ".join(f"{line['interpolation'] / _scale(line):.2f}" for line in over)
        + " √(d/n) at d/n = "
        + ", ".join(f"{line['d'] / line['n']:.3g}" for line in over)
        + ", adversarial training ends exactly where clean training does."
    )
    least = [row for row in rows if row["norm"] == "linf" and row["d"] > row["n"]]
    least = [row for row in least if row["epsilon"] == least[0]["epsilon"]]
    findings.append(
        f"ℓ∞ attack, d > n: already at ε = {least[0]['epsilon']:.3g} the minimiser is not clean "
        "training's: it is "
        + ", ".join(f"{row['length']:.2f}" for row in least)
        + " times as long at d/n = "
        + ", ".join(f"{row['d'] / row['n']:.3g}" for row in least)
        + " (minimum ℓ1 instead of minimum ℓ2 norm)."
    )
    return findings


def _scale(line: dict[str, Any]) -> float:
    """Compute the order of collapse: sqrt(d / n), divided by sqrt(d) under the linf attack."""
    return math.sqrt((1 if line["norm"] == "linf" else line["d"]) / line["n"])


def _name(norm: str) -> str:
    return {"l2": "ℓ2", "linf": "ℓ∞"}[norm]


STUDY = Study(
    "phase-diagram", "Phases of the minimiser over d/n and epsilon", run_phase_diagram, (100, 600)
)
