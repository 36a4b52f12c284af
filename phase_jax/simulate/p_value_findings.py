"""What p-values say of the paper's Figures 2 and 3: numbers and sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from phase_jax.simulate.p_value_curves import (
    AXES,
    LOG_RATIOS,
    NUM_DRAWS,
    NUM_EXAMPLES,
    NUM_STEPS,
    SIGMA,
    THETA_LENGTH,
    average,
    describe_stars,
    find_fall,
)
from phase_jax.simulate.significance import TESTS

if TYPE_CHECKING:
    from phase_jax.simulate.p_value_curves import Curves

ZERO = LOG_RATIOS.index(0.0)


def summarise_curves(curves: list[Curves]) -> dict[str, Any]:
    """Put settings, thresholds, calibration and the p-values at log ratio 0 together."""
    return {
        "num_replicates": len(curves[0].clean[TESTS[0]]),
        "num_examples": NUM_EXAMPLES,
        "num_draws": NUM_DRAWS,
        "num_steps": NUM_STEPS,
        "sigma": SIGMA,
        "theta_length": THETA_LENGTH,
        "default_test": TESTS[0],
        "features": [
            {
                "d": curve.num_features,
                "epsilon_star": describe_stars(curve),
                "calibration": {t: c._asdict() for t, c in curve.calibration.items()},
                "at_log_ratio_0": {
                    axis: dict(
                        zip(("mean_p", "standard_error"), read_zero(curve, axis), strict=True)
                    )
                    for axis in AXES
                },
                "log_ratio_where_mean_p_is_a_quarter": {
                    axis: find_fall(curve, axis) for axis in AXES
                },
            }
            for curve in curves
        ],
    }


def read_zero(curve: Curves, axis: str, test: str = TESTS[0]) -> tuple[float, float]:
    """Read the mean p-value at epsilon = epsilon*, and its standard error."""
    return average(curve.p_values[test][:, list(AXES).index(axis), ZERO])


def describe_curves(curves: list[Curves], claim: str) -> list[str]:
    """Say what was found, the paper's claim first."""
    findings = [claim]
    for axis, name in AXES.items():
        at_star = ", ".join(
            f"{mean:.2f} ± {error:.2f} at d = {curve.num_features}"
            for curve in curves
            for mean, error in [read_zero(curve, axis)]
        )
        falls = ", ".join(
            f"{_format_fall(find_fall(curve, axis))} at d = {curve.num_features}"
            for curve in curves
        )
        findings.append(
            f"With {name}: mean p-value at log(ε/ε*) = 0 is {at_star} (Hotelling; 0.5 under the "
            f"null); it falls below 1/4 at log(ε/ε*) = {falls}."
        )
    shares = "; ".join(_describe_undefined(curve) for curve in curves)
    findings.append(
        f"The loss threshold does not exist in every draw of n = {NUM_EXAMPLES}: {shares}. Its "
        "curves rest on the draws where it is finite."
    )
    findings.append(_describe_calibration(curves))
    return findings


def _format_fall(log_ratio: float) -> str:
    """Write where a curve falls; it may not do so on the grid."""
    return "no point of the grid" if math.isnan(log_ratio) else f"{log_ratio:+.2f}"


def _describe_undefined(curve: Curves) -> str:
    """Say how often the loss threshold is undefined or infinite."""
    undefined, infinite = (
        describe_stars(curve)["loss"][what] for what in ("undefined", "infinite")
    )
    return (
        f"d = {curve.num_features}: undefined in {undefined['value']:.0%} "
        f"({undefined['low']:.0%} to {undefined['high']:.0%}), infinite in {infinite['value']:.0%}"
    )


def _describe_calibration(curves: list[Curves]) -> str:
    """Say whether p-values at epsilon = 0 are uniform."""
    parts = []
    for test in TESTS:
        values = ", ".join(f"{curve.calibration[test].p_value:.2f}" for curve in curves)
        parts.append(f"{test} {values}")
    features = ", ".join(str(curve.num_features) for curve in curves)
    count = curves[0].calibration[TESTS[0]].num_values
    return (
        f"Calibration at ε = 0, {count:,} p-values with a fresh null distribution each, tested for "
        f"uniformity by Kolmogorov-Smirnov: p = {'; '.join(parts)} (d = {features})."
    )
