"""What p-values say of the paper's Figures 2 and 3: numbers and sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from phase_jax.simulate.p_value_curves import (
    AXES,
    LOG_RATIOS,
    NUM_DRAWS,
    NUM_EXAMPLES,
    NUM_STEPS,
    SIGMA,
    THETA_LENGTH,
)
from phase_jax.simulate.p_value_readings import (
    compare_tests,
    describe_stars,
    find_fall,
    read_clean,
    read_mean,
)
from phase_jax.simulate.significance import TESTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.simulate.p_value_curves import Curves

DOUBTFUL = 0.01
"""P-value of Kolmogorov-Smirnov's test below which the default test is not quite calibrated."""


class Claim(NamedTuple):
    """What the paper says, and when a curve is held to show it."""

    text: str
    criterion: str
    hold_fn: Callable[[Curves, str], bool]
    """(curves, axis) -> whether the criterion is met."""


def summarise_curves(curves: list[Curves]) -> dict[str, Any]:
    """Put settings, thresholds, calibration and what is read off the curves together."""
    return {
        "num_replicates": len(curves[0].clean[TESTS[0]]),
        "num_examples": NUM_EXAMPLES,
        "num_draws": NUM_DRAWS,
        "num_steps": NUM_STEPS,
        "sigma": SIGMA,
        "theta_length": THETA_LENGTH,
        "default_test": TESTS[0],
        "features": [_summarise_features(curve) for curve in curves],
    }


def _summarise_features(curve: Curves) -> dict[str, Any]:
    """Put together what is known at one number of features."""

    def name_pair(pair: tuple[float, float]) -> dict[str, float]:
        return dict(zip(("mean_p", "standard_error"), pair, strict=True))

    return {
        "d": curve.num_features,
        "epsilon_star": describe_stars(curve),
        "calibration": {test: found._asdict() for test, found in curve.calibration.items()},
        "at_epsilon_0": {axis: name_pair(read_clean(curve, axis)) for axis in AXES},
        "at_log_ratio_0": {axis: name_pair(read_mean(curve, axis)) for axis in AXES},
        "log_ratio_where_mean_p_is_a_quarter": {
            axis: find_fall(curve, axis)._asdict() for axis in AXES
        },
        "largest_difference_between_tests": compare_tests(curve),
    }


def describe_curves(curves: list[Curves], claim: Claim) -> list[str]:
    """Say what was found, the paper's claim first."""
    return [
        judge_claim(curves, claim),
        *(_describe_axis(curves, axis) for axis in AXES),
        _describe_undefined(curves),
        _describe_calibration(curves),
    ]


def judge_claim(curves: list[Curves], claim: Claim) -> str:
    """Say for which readings of epsilon* the claim holds, by its criterion."""
    verdicts = []
    for axis, name in AXES.items():
        held = [curve.num_features for curve in curves if claim.hold_fn(curve, axis)]
        where = f"at d = {', '.join(map(str, held))}" if held else "at no d"
        verdicts.append(f"{where} with {name}")
    return f"{claim.text} Here {claim.criterion} {'; '.join(verdicts)}."


def _describe_axis(curves: list[Curves], axis: str) -> str:
    """Describe the curves over one reading of epsilon*."""
    at_star = ", ".join(f"{format_mean(*read_mean(c, axis))} {_name(c)}" for c in curves)
    falls = ", ".join(f"{_format_fall(c, axis)} {_name(c)}" for c in curves)
    return (
        f"With {AXES[axis]}: mean p-value at log(ε/ε*) = 0 is {at_star} (Hotelling; 0.5 under the "
        f"null); it falls below 1/4 at log(ε/ε*) = {falls}."
    )


def _describe_undefined(curves: list[Curves]) -> str:
    """Say how often the loss threshold is missing, and what leaving those draws out does."""
    parts = []
    for curve in curves:
        stars = describe_stars(curve)["loss"]
        undefined, infinite = stars["undefined"], stars["infinite"]
        parts.append(
            f"undefined in {undefined['value']:.0%} ({undefined['low']:.0%} to "
            f"{undefined['high']:.0%}) and infinite in {infinite['value']:.0%} {_name(curve)}"
        )
    clean = ", ".join(f"{format_mean(*read_clean(c, 'loss'))} {_name(c)}" for c in curves)
    return (
        f"The loss threshold does not exist in every draw of n = {NUM_EXAMPLES}: "
        f"{'; '.join(parts)}. Its curves rest on the other draws, whose mean p-value at ε = 0 is "
        f"{clean}: where that is not 0.5 the choice of draws shows, not the attack."
    )


def _describe_calibration(curves: list[Curves]) -> str:
    """Say whether p-values at epsilon = 0 are uniform, and whether the choice of test matters."""
    parts = [
        f"{test} {', '.join(f'{curve.calibration[test].p_value:.2g}' for curve in curves)}"
        for test in TESTS
    ]
    features = ", ".join(str(curve.num_features) for curve in curves)
    count = curves[0].calibration[TESTS[0]].num_values
    worst = min(curve.calibration[TESTS[0]].p_value for curve in curves)
    doubt = (
        " Hotelling's test asks for Gaussian draws, which clean training gives only for a fixed "
        "design; over designs it is slightly off. The rank test asks for none."
        if worst < DOUBTFUL
        else ""
    )
    return (
        f"Calibration at ε = 0, {count:,} p-values with a fresh null distribution each, tested for "
        f"uniformity by Kolmogorov-Smirnov: p = {'; '.join(parts)} (d = {features}). Mean p-values "
        f"of the three tests differ by at most {max(map(compare_tests, curves)):.2g} anywhere."
        + doubt
    )


def format_mean(mean: float, error: float) -> str:
    """Write a mean with its standard error, to one figure of the latter."""
    if not (math.isfinite(mean) and math.isfinite(error)):
        return f"{mean:.2f}"
    places = 2 if not error else min(4, max(2, -math.floor(math.log10(error))))
    return f"{mean:.{places}f} ± {error:.{places}f}"


def _name(curve: Curves) -> str:
    """Name a curve."""
    return f"at d = {curve.num_features}"


def _format_fall(curve: Curves, axis: str) -> str:
    """Write where a curve falls, with its interval; it may not do so on the grid."""
    value, low, high = find_fall(curve, axis)
    if math.isnan(value):
        return f"no point up to {LOG_RATIOS[-1]:g}"
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"
