"""Exponents of the scaling study: fits over several regions, and between neighbouring cells."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from phase_jax.simulate.power_law import PowerLaw, fit_power_law
from phase_jax.simulate.scaling_cells import SNRS

MAIN = {"loss": (3.0, 0.1), "trajectory": (0.0, 0.1)}
"""Main fitting region: d >= the first times sqrt(n), d / n <= the second."""
REGIONS = {
    "loss": [(lowest, highest) for lowest in (1.0, 2.0, 3.0) for highest in (0.05, 0.1, 0.2)],
    "trajectory": [(0.0, highest) for highest in (0.02, 0.05, 0.1, 0.2)],
}
THEORY = {"loss": 1.0, "trajectory": 0.5}
DRIFT_POWER = {"loss": 1.0, "trajectory": 0.5}
"""Power of d / n in the first correction to the law."""
ESTIMATES = {"loss": ("median", "at_mean_gap"), "trajectory": ("median",)}
MAX_UNDEFINED = 0.4
"""Cells with a larger share of undefined draws are left out of fits: their median is near 0."""
SMALLEST_ERROR = 1e-3
"""Errors of log medians are taken at least so large: corrections to the law are of this order."""


def fit_regions(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fit every threshold, |theta_0| / sigma, estimate and region; the limit at the same cells."""
    fits = []
    for threshold, regions in REGIONS.items():
        for snr in SNRS:
            for region in regions:
                own = [row for row in rows if _is_inside(row, threshold, snr, *region)]
                for estimate in ESTIMATES[threshold]:
                    fits += _fit_cells(own, threshold, snr, region, estimate)
    return fits


def _is_inside(
    row: dict[str, Any], threshold: str, snr: float, lowest: float, highest: float
) -> bool:
    """Tell whether a cell counts for a fit."""
    return (
        row["threshold"] == threshold
        and row["snr"] == snr
        and row["d"] >= lowest * math.sqrt(row["n"])
        and row["ratio"] <= highest + 1e-9
        and row["undefined"] < MAX_UNDEFINED
    )


def _fit_cells(
    rows: list[dict[str, Any]],
    threshold: str,
    snr: float,
    region: tuple[float, float],
    estimate: str,
) -> list[dict[str, Any]]:
    """Fit one set of cells: plain, with the first correction, and the limit in place of data."""
    ratio, values, limit, errors = (
        np.array([row[name] for row in rows], float)
        for name in ("ratio", estimate, "limit", name_error(estimate))
    )
    errors = np.maximum(errors, SMALLEST_ERROR)
    plain = fit_power_law(ratio, values, errors)
    if plain is None:
        return []
    corrected = fit_power_law(ratio, values, errors, drift_power=DRIFT_POWER[threshold])
    predicted = fit_power_law(ratio, limit, errors)
    prefactor = plain.prefactor * snr if threshold == "loss" else plain.prefactor
    low, high = plain.interval
    return [
        {
            "threshold": threshold,
            "snr": snr,
            "estimate": estimate,
            "lowest_d_over_root_n": region[0],
            "highest_ratio": region[1],
            "is_main": region == MAIN[threshold],
            "num_cells": plain.num_points,
            "ratio_from": float(ratio.min()),
            "ratio_to": float(ratio.max()),
            "exponent": plain.exponent,
            "exponent_low": low,
            "exponent_high": high,
            "exponent_error": plain.exponent_error,
            "chi_square": plain.chi_square,
            "prefactor": prefactor,
            "prefactor_log_error": plain.prefactor_error,
            "theory": THEORY[threshold],
            "limit_exponent": predicted.exponent if predicted else math.nan,
            **_describe_corrected(corrected),
        }
    ]


def _describe_corrected(fit: PowerLaw | None) -> dict[str, float]:
    """List what a fit with the first correction says."""
    if fit is None:
        return {"corrected_exponent": math.nan, "corrected_error": math.nan}
    return {"corrected_exponent": fit.exponent, "corrected_error": fit.exponent_error}


def name_error(estimate: str) -> str:
    """Name the column of an estimate's error, that of its logarithm."""
    return "log_error" if estimate == "median" else f"{estimate}_log_error"


def list_local_exponents(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """List d log epsilon / d log d between neighbouring d at the same n, and the limit's."""
    local = []
    for first, second in itertools.pairwise(rows):
        if any(first[name] != second[name] for name in ("threshold", "snr", "n")):
            continue
        estimate = ESTIMATES[first["threshold"]][-1]
        error = name_error(estimate)
        step = math.log(second["d"] / first["d"])
        pair = [first[estimate], second[estimate], first[error], second[error]]
        if not all(math.isfinite(value) and value > 0 for value in pair):
            continue
        limits = (first["limit"], second["limit"])
        local.append(
            {
                "threshold": first["threshold"],
                "snr": first["snr"],
                "n": first["n"],
                "d_from": first["d"],
                "d_to": second["d"],
                "ratio": math.sqrt(first["ratio"] * second["ratio"]),
                "exponent": math.log(pair[1] / pair[0]) / step,
                "exponent_error": math.hypot(pair[2], pair[3]) / step,
                "limit_exponent": math.log(limits[1] / limits[0]) / step
                if all(map(math.isfinite, limits))
                else math.nan,
            }
        )
    return local
