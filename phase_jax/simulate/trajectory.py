"""Figure 2, left: the paths of adversarial and clean training, and what Table B.1 says of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from phase_jax.linear.descent import descend, measure_curvature
from phase_jax.linear.model import (
    collapse_epsilon,
    measure_length,
    population_risk,
    sample_data,
)
from phase_jax.linear.moments import std_length
from phase_jax.linear.solve import interpolation_epsilon, solve
from phase_jax.linear.threshold import solve_epsilon_star, solve_trajectory_epsilon
from phase_jax.report.plots import STYLE, TEST, TRAIN
from phase_jax.simulate.intervals import Interval, estimate_median, estimate_share
from phase_jax.simulate.scaling_cells import encode_crossing
from phase_jax.simulate.study import Study, StudyResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import PRNGKeyArray
    from matplotlib.axes import Axes

    from phase_jax.monte_carlo import MonteCarloResult
    from phase_jax.simulate.study import StudyContext

SIGMA = THETA_LENGTH = 1.0
NUM_STEPS = 100
DEFAULT, FULL = 100, 1000
LEVELS = (0.05, 0.5, 0.95)
COLOURS = (TRAIN, TEST)


class Setting(NamedTuple):
    """A row of Table B.1."""

    num_examples: int
    num_features: int
    epsilons: tuple[float, float]
    """The small and the large attack."""
    printed_star: float
    printed_regime: str


SETTINGS = (Setting(1000, 20, (0.01, 0.2), 0.02, "d ≫ n"), Setting(10, 2000, (1, 20), 15, "d ≪ n"))


def run_trajectory(context: StudyContext) -> StudyResult:
    """Train along all attack strengths of both rows of Table B.1."""
    num_replicates = context.count(DEFAULT, FULL)
    rows, findings, facts, results = [], [], [], []
    for setting in SETTINGS:
        result = context.simulate(
            f"n{setting.num_examples}-d{setting.num_features}",
            make_replicate(setting, context.dtype),
            num_replicates,
            batch_size=25,
            keep_values=True,
            quantiles=LEVELS,
            label=f"{setting}, {NUM_STEPS} steps, sigma {SIGMA}, theta_0 {THETA_LENGTH}",
        )
        results.append(result)
        rows += list_rows(setting, result)
        facts.append(gather_facts(setting, result))
        findings += describe_setting(setting, result, facts[-1])
    findings.append(
        "Table B.1 has its regimes swapped: it calls d = 20, n = 1000 'd ≫ n' and d = 2000, "
        "n = 10 'd ≪ n'."
    )
    summary = {
        "num_replicates": num_replicates,
        "num_steps": NUM_STEPS,
        "sigma": SIGMA,
        "theta_length": THETA_LENGTH,
        "step_size": "1 / (lambda_max + largest epsilon^2), the same for all paths of a data set",
        "settings": facts,
    }
    return StudyResult(rows, summary, findings, {"trajectory": draw_trajectory(results)})


def make_replicate(
    setting: Setting, dtype: Any, num_steps: int = NUM_STEPS
) -> Callable[[PRNGKeyArray], dict[str, Any]]:
    """Make the function of a key that follows the paths on one data set and solves it exactly.

    All paths of a data set have one step size: otherwise they would differ by that, too.
    """
    num_features = setting.num_features
    theta_0 = jnp.full(num_features, THETA_LENGTH * num_features**-0.5, dtype)
    epsilons = jnp.asarray((0.0, *setting.epsilons), dtype)
    distance = std_length(setting.num_examples, num_features, SIGMA, THETA_LENGTH)

    def replicate(key: PRNGKeyArray) -> dict[str, Any]:
        x, y = sample_data(key, setting.num_examples, theta_0, SIGMA)
        paths = descend(
            x,
            y,
            epsilons,
            num_steps=num_steps,
            step_size=1 / (measure_curvature(x) + epsilons.max() ** 2),
            record_fn=measure_difference,
        )
        exact = jax.vmap(lambda epsilon: solve(x, y, epsilon).theta)(epsilons)
        threshold = population_risk(exact[0], theta_0, SIGMA, 0.0)
        facts = {
            "relative": paths.records[1:],
            "exact": measure_difference(exact),
            "loss_star": encode_crossing(solve_epsilon_star(x, y, threshold)),
            "trajectory_star": encode_crossing(solve_trajectory_epsilon(x, y, distance)),
            "collapse": collapse_epsilon(x, y),
        }
        if num_features > setting.num_examples:
            facts["interpolation"] = interpolation_epsilon(x, y)
        return facts

    return replicate


def measure_difference(theta: Any) -> Any:
    """Measure |theta(0) - theta(epsilon)| / |theta(0)|, 0 for 0 / 0: [E, D] with clean first."""
    length = measure_length(theta[0])
    return measure_length(theta[1:] - theta[0]) / jnp.where(length > 0, length, 1.0)


def list_rows(setting: Setting, result: MonteCarloResult) -> list[dict[str, Any]]:
    """List the relative difference at every step."""
    relative = result.summary["relative"]
    return [
        {
            "n": setting.num_examples,
            "d": setting.num_features,
            "epsilon": epsilon,
            "step": step + 1,
            "mean": relative.mean[step, e],
            "standard_error": relative.standard_error[step, e],
            **{f"q{100 * q:02.0f}": relative.quantiles[i, step, e] for i, q in enumerate(LEVELS)},
        }
        for e, epsilon in enumerate(setting.epsilons)
        for step in range(NUM_STEPS)
    ]


def gather_facts(setting: Setting, result: MonteCarloResult) -> dict[str, Any]:
    """Gather what exact solves say of a row of Table B.1."""
    values, summary = result.values, result.summary
    facts: dict[str, Any] = {
        "n": setting.num_examples,
        "d": setting.num_features,
        "epsilons": setting.epsilons,
        "printed_epsilon_star": setting.printed_star,
        "printed_regime": setting.printed_regime,
        "sqrt_d_over_n": math.sqrt(setting.num_features / setting.num_examples),
        "d_over_n": setting.num_features / setting.num_examples,
        "exact_relative_difference": summary["exact"].mean,
        "exact_relative_difference_standard_error": summary["exact"].standard_error,
        "collapse": describe_values(values["collapse"]),
    }
    if "interpolation" in values:
        facts["interpolation"] = describe_values(values["interpolation"])
    for name in ("loss_star", "trajectory_star"):
        stars = values[name]
        shares = {
            "undefined": np.isneginf(stars),
            "infinite": np.isposinf(stars),
            "failed": np.isnan(stars),
        }
        facts[name] = describe_values(stars[np.isfinite(stars)]) | {
            f"share_{outcome}": estimate_share(int(hits.sum()), hits.size)._asdict()
            for outcome, hits in shares.items()
        }
    return facts


def describe_values(values: np.ndarray) -> dict[str, Any]:
    """Describe a sample by its median, with an interval, and its middle 90 %."""
    low, high = np.quantile(values, (0.05, 0.95)) if values.size else (math.nan, math.nan)
    return {"median": estimate_median(values)._asdict(), "q05": low, "q95": high}


def describe_setting(
    setting: Setting, result: MonteCarloResult, facts: dict[str, Any]
) -> list[str]:
    """Say how far the paths are apart, and what epsilon* is."""
    where = f"d = {setting.num_features}, n = {setting.num_examples}"
    last, exact = result.summary["relative"], result.summary["exact"]
    apart = "; ".join(
        f"ε = {epsilon:g}: {last.mean[-1, e]:.3g} ± {last.standard_error[-1, e]:.1g} "
        f"(90 % of draws in {last.quantiles[0, -1, e]:.3g} to {last.quantiles[-1, -1, e]:.3g}; "
        f"exact minimisers {exact.mean[e]:.3g} ± {exact.standard_error[e]:.1g})"
        for e, epsilon in enumerate(setting.epsilons)
    )
    loss, trajectory = facts["loss_star"], facts["trajectory_star"]
    middle = Interval(**loss["median"])
    findings = [
        f"{where}, {result.num_replicates} replicates: relative difference of the paths after "
        f"{NUM_STEPS} steps: {apart}.",
        f"{where}: the exact loss threshold ε* has median {middle.value:.3g} "
        f"({middle.low:.3g} to {middle.high:.3g}) where it is finite, and is undefined in "
        f"{_format_share(loss['share_undefined'])} and infinite in "
        f"{_format_share(loss['share_infinite'])} of draws; the trajectory threshold has median "
        f"{trajectory['median']['value']:.3g} ({trajectory['median']['low']:.3g} to "
        f"{trajectory['median']['high']:.3g}) and is never reached in "
        f"{_format_share(trajectory['share_infinite'])}. Table B.1 prints "
        f"ε* = {setting.printed_star:g}; √(d/n) = {facts['sqrt_d_over_n']:.3g}, "
        f"d/n = {facts['d_over_n']:.3g}.",
    ]
    if "interpolation" in facts:
        findings.append(
            f"{where}: up to ε = {facts['interpolation']['median']['value']:.3g} (median) exact "
            "adversarial training ends at clean training's interpolator itself, and beyond "
            f"ε = {facts['collapse']['median']['value']:.3g} (median) it ends at zero. Gradient "
            "descent with a fixed step keeps swinging around these kinks, at a distance that the "
            "step decides."
        )
    return findings


def _format_share(share: dict[str, float]) -> str:
    """Write a share with its interval."""
    return f"{share['value']:.0%} ({share['low']:.0%} to {share['high']:.0%})"


def draw_trajectory(results: list[MonteCarloResult]) -> Figure:
    """Draw the relative difference along the paths, one panel a row of Table B.1."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 4.4), layout="constrained")
        panels = figure.subplots(1, len(SETTINGS), sharey=True)
        for axes, setting, result in zip(panels, SETTINGS, results, strict=True):
            _draw_panel(axes, setting, result)
        panels[0].set_ylabel("‖θ⁽ᵗ⁾(0) − θ⁽ᵗ⁾(ε)‖ / ‖θ⁽ᵗ⁾(0)‖")
        count = results[0].num_replicates
        figure.suptitle(
            f"Figure 2, left: mean and middle 90 % of {count:,} replicates; "
            "dotted: exact minimisers (apart by 0 at ε = 1)",
            fontsize=11,
        )
        return figure


def _draw_panel(axes: Axes, setting: Setting, result: MonteCarloResult) -> None:
    """Draw both attacks of one row."""
    steps = np.arange(1, NUM_STEPS + 1)
    relative, exact = result.summary["relative"], result.summary["exact"]
    names = ("small", "large")
    for e, (name, epsilon, colour) in enumerate(zip(names, setting.epsilons, COLOURS, strict=True)):
        low, high = relative.quantiles[0, :, e], relative.quantiles[-1, :, e]
        axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(steps, relative.mean[:, e], color=colour, label=f"{name} attack, ε = {epsilon:g}")
        if exact.mean[e] > 0:
            axes.axhline(exact.mean[e], color=colour, linestyle=":", linewidth=1.4)
    axes.set_xlabel("gradient-descent step t")
    axes.set(xscale="log", yscale="log", xlim=(2, NUM_STEPS), ylim=(1e-3, 4))
    axes.legend(loc="upper left", ncols=2, columnspacing=1.0, fontsize=9)
    axes.set_title(
        f"d = {setting.num_features}, n = {setting.num_examples} "
        f"(√(d/n) = {math.sqrt(setting.num_features / setting.num_examples):.3g})",
        loc="left",
        fontsize=10,
    )


STUDY = Study(
    "trajectory",
    "Figure 2, left: paths of clean and adversarial training",
    run_trajectory,
    (40, 200),
)
