"""Figure 3: does the adversarial train loss differ from clean train losses?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scipy import stats

from phase_jax.linear.moments import gap_mean, train_loss_variance
from phase_jax.simulate.p_value_curves import NUM_EXAMPLES, SIGMA, THETA_LENGTH, simulate_curves
from phase_jax.simulate.p_value_figure import draw_curves
from phase_jax.simulate.p_value_findings import (
    Claim,
    describe_curves,
    format_mean,
    summarise_curves,
)
from phase_jax.simulate.p_value_readings import list_rows, read_mean
from phase_jax.simulate.study import Study, StudyResult

if TYPE_CHECKING:
    from phase_jax.simulate.p_value_curves import Curves
    from phase_jax.simulate.study import StudyContext

DEFAULT, FULL = 500, 5000
CLOSE = 0.1
"""Mean p-value up to which it counts as close to 0."""


def is_close_at_star(curve: Curves, axis: str) -> bool:
    """Check whether the mean p-value is close to 0 at epsilon*."""
    return read_mean(curve, axis)[0] <= CLOSE


CLAIM = Claim(
    "The paper has the p-value of the train loss close to 0 where log(ε/ε*) is about 0.",
    f"it is at most {CLOSE:g} there",
    is_close_at_star,
)


def run_loss_test(context: StudyContext) -> StudyResult:
    """Test the train loss at each attack strength against 300 clean repeats."""
    curves = simulate_curves(context, "loss", context.count(DEFAULT, FULL))
    first, *others = describe_curves(curves, CLAIM)
    summary = summarise_curves(curves)
    for facts, curve in zip(summary["features"], curves, strict=True):
        facts["predicted_p_at_loss_threshold"] = predict_p_value(curve.num_features)
    return StudyResult(
        list_rows(curves),
        summary,
        [first, explain_loss_threshold(curves), *others],
        {"loss-test": draw_curves(curves, "Figure 3: p-value of the train loss R̂(θ⁽ᵀ⁾(ε), ε)")},
    )


def predict_p_value(num_features: int) -> float:
    """Predict the p-value at the loss threshold: the clean test loss as one clean train loss.

    There the train loss is R(theta(0), 0) by definition, E Delta above the mean of clean train
    losses, about D sqrt(2 / N) of their standard deviations. Normal; that test losses vary is left
    out.
    """
    gap = gap_mean(NUM_EXAMPLES, num_features, SIGMA, THETA_LENGTH)
    spread = math.sqrt(float(train_loss_variance(NUM_EXAMPLES, num_features, SIGMA)))
    return float(2 * stats.norm.sf(float(gap) / spread))


def explain_loss_threshold(curves: list[Curves]) -> str:
    """Say why the p-value at the loss threshold is a matter of d / sqrt(n)."""
    parts = ", ".join(
        f"{predict_p_value(curve.num_features):.2f} predicted and "
        f"{format_mean(*read_mean(curve, 'loss'))} measured at d = {curve.num_features}"
        for curve in curves
    )
    return (
        "At the loss threshold, the paper's own ε*, the train loss is the clean test loss by "
        "definition: EΔ above the mean of clean train losses, about d√(2/n) of their standard "
        f"deviations. So its p-value is a matter of d/√n: {parts}. It tends to 1 where d ≪ √n "
        "and to 0 where d ≫ √n: at this ε* a small p-value shows the size of d/√n, no transition."
    )


STUDY = Study(
    "loss-test", "Figure 3: p-value of the adversarial train loss", run_loss_test, (60, 250)
)
