"""Figure 2, right: does the adversarially trained parameter differ from clean ones?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phase_jax.simulate.p_value_curves import list_rows, simulate_curves
from phase_jax.simulate.p_value_figure import draw_curves
from phase_jax.simulate.p_value_findings import describe_curves, summarise_curves
from phase_jax.simulate.study import Study, StudyResult

if TYPE_CHECKING:
    from phase_jax.simulate.study import StudyContext

DEFAULT, FULL = 200, 2000


def run_parameter_test(context: StudyContext) -> StudyResult:
    """Test theta after training at each attack strength against 300 clean repeats."""
    curves = simulate_curves(context, "theta", context.count(DEFAULT, FULL))
    title = "Figure 2, right: p-value of θ⁽ᵀ⁾(ε)"
    claim = (
        "The paper has the p-value of the parameter start to fall dramatically where "
        "log(ε/ε*) is about 0."
    )
    return StudyResult(
        list_rows(curves),
        summarise_curves(curves),
        describe_curves(curves, claim),
        {"parameter-test": draw_curves(curves, title)},
    )


STUDY = Study(
    "parameter-test",
    "Figure 2, right: p-value of the adversarial parameter",
    run_parameter_test,
    (60, 600),
)
