"""Lemmas 1 and 2: moments of clean training, measured beside their printed and corrected forms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from phase_jax.linear import moments as forms
from phase_jax.linear.model import adversarial_loss, population_risk, sample_data, solve_clean
from phase_jax.report.plots import STYLE, TEST, TRAIN
from phase_jax.simulate.study import Study, StudyResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import PRNGKeyArray
    from matplotlib.axes import Axes

    from phase_jax.simulate.study import StudyContext

SIGMA = THETA_LENGTH = 1.0
SIZES = ((100, 20), (20, 100), (100, 80))
"""(N, D): few features, more than examples, nearly as many."""
DEFAULT, FULL = 20_000, 100_000
CLOSE, FAR = 4.0, 20.0
"""Standard errors within which a form agrees, and beyond which it is refuted."""


class Moment(NamedTuple):
    """A moment of clean training."""

    symbol: str
    source: str
    output: str
    """Output of a replicate."""
    statistic: str
    """`mean` or `variance` of that output."""
    predict: Callable[[int, int, str], Any]
    """(N, D, form) -> value; nan where the paper has no such form."""


MOMENTS = (
    Moment(
        "tr Var θ̂(0)",
        "Lemma 1",
        "squared_deviation",
        "mean",
        lambda n, d, form: forms.estimator_variance(n, d, SIGMA, THETA_LENGTH, form),
    ),
    Moment(
        "E R̂(0)",
        "Lemma 2, proof",
        "train_loss",
        "mean",
        lambda n, d, form: forms.train_loss_mean(n, d, SIGMA),
    ),
    Moment(
        "Var R̂(0)",
        "Lemma 2, proof",
        "train_loss",
        "variance",
        lambda n, d, form: forms.train_loss_variance(n, d, SIGMA, form),
    ),
    Moment(
        "E Δ",
        "Lemma 2",
        "gap",
        "mean",
        lambda n, d, form: forms.gap_mean(n, d, SIGMA, THETA_LENGTH, form),
    ),
    Moment(
        "E Δ²",
        "Lemma 2",
        "squared_gap",
        "mean",
        lambda n, d, form: forms.gap_second_moment(n, d, SIGMA, THETA_LENGTH, form),
    ),
    Moment(
        "Var Δ",
        "not in the paper",
        "gap",
        "variance",
        lambda n, d, form: (
            forms.gap_variance(n, d, SIGMA, THETA_LENGTH) if form == "corrected" else math.nan
        ),
    ),
)


def run_moments(context: StudyContext) -> StudyResult:
    """Measure every moment at every size."""
    num_replicates = context.count(DEFAULT, FULL)
    rows = []
    for num_examples, num_features in SIZES:
        result = context.simulate(
            f"n{num_examples}-d{num_features}",
            make_replicate(num_examples, num_features, context.dtype),
            num_replicates,
            quantiles=(),
            label=f"sigma {SIGMA}, theta_0 {THETA_LENGTH}",
        )
        rows += [
            row
            for moment in MOMENTS
            if (row := compare_moment(moment, result.summary, num_examples, num_features))
        ]
    summary = {
        "num_replicates": num_replicates,
        "sigma": SIGMA,
        "theta_length": THETA_LENGTH,
        "largest_error_of_corrected": max(abs(row["corrected_off"]) for row in rows),
        "smallest_error_of_wrong_printed": min(
            (abs(row["printed_off"]) for row in rows if row["printed_is_wrong"]), default=None
        ),
    }
    findings = describe_moments(rows, num_replicates)
    return StudyResult(rows, summary, findings, {"moments": draw_moments(rows)})


def make_replicate(num_examples: int, num_features: int, dtype: Any) -> Callable[..., Any]:
    """Make the function of a key that trains cleanly on one data set and measures the result."""
    theta_0 = jnp.full(num_features, THETA_LENGTH * num_features**-0.5, dtype)
    # E theta_hat: the span of N examples holds a share N / D of theta_0 on average.
    center = theta_0 * min(1.0, num_examples / num_features)

    def replicate(key: PRNGKeyArray) -> dict[str, Any]:
        x, y = sample_data(key, num_examples, theta_0, SIGMA)
        theta = solve_clean(x, y)
        train_loss = adversarial_loss(theta, x, y, 0.0)
        gap = population_risk(theta, theta_0, SIGMA, 0.0) - train_loss
        return {
            "squared_deviation": ((theta - center) ** 2).sum(),
            "train_loss": train_loss,
            "gap": gap,
            "squared_gap": gap**2,
        }

    return replicate


def compare_moment(
    moment: Moment, summary: dict[str, Any], num_examples: int, num_features: int
) -> dict[str, Any] | None:
    """Compare one measured moment with both forms; None where it is zero by construction."""
    values = summary[moment.output]
    if moment.output == "train_loss" and num_features >= num_examples:
        return None
    mean = moment.statistic == "mean"
    measured = float(values.mean if mean else values.variance)
    error = float(values.standard_error if mean else values.variance_standard_error)
    corrected, printed = (
        float(moment.predict(num_examples, num_features, form)) for form in ("corrected", "printed")
    )
    return {
        "n": num_examples,
        "d": num_features,
        "moment": moment.symbol,
        "source": moment.source,
        "measured": measured,
        "standard_error": error,
        "corrected": corrected,
        "printed": printed,
        "corrected_off": (measured - corrected) / error,
        "printed_off": (measured - printed) / error,
        "printed_is_wrong": math.isfinite(printed) and printed != corrected,
    }


def describe_moments(rows: list[dict[str, Any]], num_replicates: int) -> list[str]:
    """Say which forms hold, in standard errors."""
    worst = max(rows, key=lambda row: abs(row["corrected_off"]))
    verdict = "agree" if abs(worst["corrected_off"]) <= CLOSE else "do NOT all agree"
    findings = [
        f"{num_replicates:,} replicates at each of {len(SIZES)} sizes: the corrected forms of "
        f"Lemmas 1 and 2 {verdict} with all {len(rows)} measured moments; the largest deviation is "
        f"{abs(worst['corrected_off']):.1f} standard errors ({worst['moment']}, n = {worst['n']}, "
        f"d = {worst['d']})."
    ]
    for row in rows:
        if row["printed_is_wrong"]:
            off = abs(row["printed_off"])
            word = "refuted" if off > FAR else "off"
            findings.append(
                f"{row['moment']} at n = {row['n']}, d = {row['d']}: measured "
                f"{row['measured']:.4g} ± {row['standard_error']:.1g}, corrected "
                f"{row['corrected']:.4g}, printed {row['printed']:.4g}, which is {word} by "
                f"{off:,.0f} standard errors."
            )
    return findings


def draw_moments(rows: list[dict[str, Any]]) -> Figure:
    """Draw measured and printed moments relative to the corrected ones."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 4.4), layout="constrained")
        panels = figure.subplots(1, len(SIZES), sharex=True, sharey=True)
        for axes, (num_examples, num_features) in zip(panels, SIZES, strict=True):
            chosen = [row for row in rows if (row["n"], row["d"]) == (num_examples, num_features)]
            _draw_panel(axes, chosen)
            axes.set_title(f"n = {num_examples}, d = {num_features}", loc="left", fontsize=10)
        panels[0].set_yticks(range(len(MOMENTS)), [moment.symbol for moment in MOMENTS])
        panels[0].invert_yaxis()
        panels[len(SIZES) // 2].set_xlabel("moment / its corrected form")
        figure.suptitle("Lemmas 1 and 2: measured moments beside both forms", fontsize=11)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        return figure


def _draw_panel(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Draw the moments at one size."""
    symbols = [moment.symbol for moment in MOMENTS]
    places = np.array([symbols.index(row["moment"]) for row in rows])
    corrected, printed, measured, error = (
        np.array([row[name] for row in rows])
        for name in ("corrected", "printed", "measured", "standard_error")
    )
    axes.axvline(1.0, color="#444444", linewidth=1.0)
    axes.errorbar(
        measured / corrected,
        places,
        xerr=CLOSE * error / corrected,
        fmt="o",
        color=TRAIN,
        markersize=5,
        capsize=4,
        label=f"measured, ± {CLOSE:.0f} standard errors",
    )
    known = np.isfinite(printed)
    axes.plot(
        (printed / corrected)[known],
        places[known],
        "x",
        color=TEST,
        markersize=9,
        markeredgewidth=2,
        label="printed",
    )
    axes.set_xscale("log")
    axes.set_ylim(-0.5, len(MOMENTS) - 0.5)


STUDY = Study("moments", "Lemmas 1 and 2: moments, printed and corrected", run_moments, (30, 130))
