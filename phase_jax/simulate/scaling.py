"""How epsilon* grows with d and n: the loss threshold and the trajectory threshold, exactly solved.

Medians are over all draws, an undefined epsilon* counting as the smallest and an infinite one as
the largest value: nothing is conditioned on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from phase_jax.linear import moments
from phase_jax.simulate.intervals import estimate_median, estimate_share
from phase_jax.simulate.limit import (
    MEAN_ABSOLUTE,
    limit_epsilon_star,
    limit_trajectory_epsilon,
)
from phase_jax.simulate.power_law import measure_log_error
from phase_jax.simulate.scaling_cells import SNRS, Cell, choose_batch, list_cells, make_replicate
from phase_jax.simulate.scaling_figure import draw_exponents, draw_scaling
from phase_jax.simulate.scaling_findings import describe_scaling
from phase_jax.simulate.scaling_fits import fit_regions, list_local_exponents
from phase_jax.simulate.study import Study, StudyResult

if TYPE_CHECKING:
    from jaxtyping import Float

    from phase_jax.simulate.study import StudyContext


def run_scaling(context: StudyContext) -> StudyResult:
    """Measure every cell, then fit."""
    rows = []
    for cell in list_cells(context.full):
        count = context.count(cell.default, cell.full)
        result = context.simulate(
            f"{cell.threshold}-n{cell.n}-d{cell.d}",
            make_replicate(cell, context.dtype),
            count,
            batch_size=choose_batch(cell, count),
            keep_values=True,
            quantiles=(),
            label=f"{SNRS}",
        )
        rows += list_rows(cell, result.values)
    rows.sort(key=lambda row: (row["threshold"], row["snr"], row["n"], row["d"]))
    fits, local = fit_regions(rows), list_local_exponents(rows)
    summary = {
        "sigma": 1.0,
        "num_failed": sum(row["num_failed"] for row in rows),
        "fits": fits,
        "local_exponents": local,
    }
    figures = {
        "scaling": draw_scaling(rows),
        "scaling-exponents": draw_exponents(local, fits),
    }
    return StudyResult(rows, summary, describe_scaling(rows, fits), figures)


def list_rows(cell: Cell, values: dict[str, Float[np.ndarray, "R S"]]) -> list[dict[str, Any]]:
    """List one row for each |theta_0| / sigma."""
    rows = []
    for index, snr in enumerate(SNRS):
        epsilon = values["epsilon"][:, index]
        sound = epsilon[~np.isnan(epsilon)]
        row = {
            "threshold": cell.threshold,
            "snr": snr,
            "n": cell.n,
            "d": cell.d,
            "ratio": cell.d / cell.n,
            "num_replicates": epsilon.size,
            "num_failed": int(epsilon.size - sound.size),
        }
        for name, hits in (
            ("undefined", sound == -np.inf),
            ("finite", np.isfinite(sound)),
            ("infinite", sound == np.inf),
        ):
            share = estimate_share(int(hits.sum()), sound.size)
            row |= {f"{name}": share.value, f"{name}_low": share.low, f"{name}_high": share.high}
        middle = estimate_median(epsilon)
        row |= {
            "median": middle.value,
            "median_low": middle.low,
            "median_high": middle.high,
            "log_error": measure_log_error(middle),
        }
        row |= _predict_loss(row) if cell.threshold == "loss" else _predict_trajectory(row)
        if cell.threshold == "loss":
            row |= _divide_by_gap(row, epsilon, values["gap"][:, index])
        rows.append(row)
    return rows


def _predict_loss(row: dict[str, Any]) -> dict[str, float]:
    """Predict the loss threshold: first order, limit, and the normal share of undefined draws."""
    n, d, snr = row["n"], row["d"], row["snr"]
    mean = float(moments.gap_mean(n, d, 1.0, snr))
    variance = float(moments.gap_variance(n, d, 1.0, snr))
    return {
        "first_order": d / n / (MEAN_ABSOLUTE * snr),
        "limit": limit_epsilon_star(row["ratio"], snr),
        "undefined_normal": float(stats.norm.cdf(-mean / math.sqrt(variance))),
    }


def _predict_trajectory(row: dict[str, Any]) -> dict[str, float]:
    """Predict the trajectory threshold: first order, and for d < n the limit."""
    limit = limit_trajectory_epsilon(row["ratio"], row["snr"]) if row["ratio"] < 1 else math.nan
    return {"first_order": math.sqrt(row["ratio"]) / MEAN_ABSOLUTE, "limit": limit}


def _divide_by_gap(
    row: dict[str, Any], epsilon: Float[np.ndarray, "R"], gap: Float[np.ndarray, "R"]
) -> dict[str, float]:
    """Estimate epsilon* at the mean gap: median of epsilon* / Delta, times E Delta of Lemma 2.

    Nearly all of the spread of epsilon* is that of Delta, whose mean is known exactly.
    """
    found = np.isfinite(epsilon) & (gap > 0)
    middle = estimate_median(epsilon[found] / gap[found])
    mean = float(moments.gap_mean(row["n"], row["d"], 1.0, row["snr"]))
    return {
        "at_mean_gap": middle.value * mean,
        "at_mean_gap_low": middle.low * mean,
        "at_mean_gap_high": middle.high * mean,
        "at_mean_gap_log_error": measure_log_error(middle),
    }


STUDY = Study(
    "scaling", "How epsilon* grows with d and n, both thresholds", run_scaling, (75, 5400)
)
