"""Figure 2, right: does the adversarially trained parameter differ from clean ones?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phase_jax.simulate.p_value_curves import simulate_curves
from phase_jax.simulate.p_value_figure import draw_curves
from phase_jax.simulate.p_value_findings import Claim, describe_curves, summarise_curves
from phase_jax.simulate.p_value_readings import find_fall, list_rows
from phase_jax.simulate.study import Study, StudyResult

if TYPE_CHECKING:
    from phase_jax.simulate.p_value_curves import Curves
    from phase_jax.simulate.study import StudyContext

DEFAULT, FULL = 500, 5000
NEAR = 0.5
"""Distance in log(epsilon / epsilon*) at which a fall counts as one at epsilon*."""


def falls_near_star(curve: Curves, axis: str) -> bool:
    """Check whether the mean p-value falls below 1/4 near epsilon*."""
    return abs(find_fall(curve, axis).value) <= NEAR


CLAIM = Claim(
    "The paper has the p-value of the parameter start to fall dramatically where log(ε/ε*) is "
    "about 0.",
    f"it falls below 1/4 within {NEAR:g} of that",
    falls_near_star,
)


def run_parameter_test(context: StudyContext) -> StudyResult:
    """Test theta after training at each attack strength against 300 clean repeats."""
    curves = simulate_curves(context, "theta", context.count(DEFAULT, FULL))
    return StudyResult(
        list_rows(curves),
        summarise_curves(curves),
        describe_curves(curves, CLAIM),
        {"parameter-test": draw_curves(curves, "Figure 2, right: p-value of θ⁽ᵀ⁾(ε)")},
    )


STUDY = Study(
    "parameter-test",
    "Figure 2, right: p-value of the adversarial parameter",
    run_parameter_test,
    (80, 420),
)
