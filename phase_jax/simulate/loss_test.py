"""Figure 3: does the adversarial train loss differ from clean train losses?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phase_jax.simulate.p_value_curves import list_rows, simulate_curves
from phase_jax.simulate.p_value_figure import draw_curves
from phase_jax.simulate.p_value_findings import describe_curves, summarise_curves
from phase_jax.simulate.study import Study, StudyResult

if TYPE_CHECKING:
    from phase_jax.simulate.study import StudyContext

DEFAULT, FULL = 200, 2000


def run_loss_test(context: StudyContext) -> StudyResult:
    """Test the train loss at each attack strength against 300 clean repeats."""
    curves = simulate_curves(context, "loss", context.count(DEFAULT, FULL))
    title = "Figure 3: p-value of the train loss R̂(θ⁽ᵀ⁾(ε), ε)"
    claim = "The paper has the p-value of the train loss close to 0 where log(ε/ε*) is about 0."
    return StudyResult(
        list_rows(curves),
        summarise_curves(curves),
        describe_curves(curves, claim),
        {"loss-test": draw_curves(curves, title)},
    )


STUDY = Study(
    "loss-test", "Figure 3: p-value of the adversarial train loss", run_loss_test, (60, 600)
)
