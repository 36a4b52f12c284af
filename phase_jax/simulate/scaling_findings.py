"""What the scaling study says, in sentences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from phase_jax.simulate.scaling_cells import SNRS, THRESHOLDS
from phase_jax.simulate.scaling_fits import ESTIMATES, MAIN, name_error

SAME = ("snr", "num_cells", "ratio_from", "ratio_to")
"""What fits over the same cells have in common."""
NAMES = {"loss": "Loss threshold", "trajectory": "Trajectory threshold"}


def describe_scaling(rows: list[dict[str, Any]], fits: list[dict[str, Any]]) -> list[str]:
    """Say what the exponents, the shares and the limit are."""
    findings = [_describe_main(threshold, snr, fits) for threshold in THRESHOLDS for snr in SNRS]
    for threshold in THRESHOLDS:
        findings.append(_describe_sensitivity(threshold, fits))
        findings.append(_describe_limit(threshold, rows))
    findings.append(_describe_undefined(rows))
    findings += [_describe_infinite(threshold, rows) for threshold in THRESHOLDS]
    failed = sum(row["num_failed"] for row in rows)
    total = sum(row["num_replicates"] for row in rows)
    findings.append(f"{failed} of {total:,} solves failed; they are left out and counted.")
    return [finding for finding in findings if finding]


def _describe_main(threshold: str, snr: float, fits: list[dict[str, Any]]) -> str:
    """Describe the fits of one main region."""
    own = [f for f in fits if f["is_main"] and (f["threshold"], f["snr"]) == (threshold, snr)]
    if not own:
        return ""
    best, median = own[-1], own[0]
    lowest, highest = MAIN[threshold]
    region = f"d/n ≤ {highest}" if not lowest else f"d ≥ {lowest:g} √n and d/n ≤ {highest}"
    text = (
        f"{NAMES[threshold]}, |θ₀|/σ = {snr:g}, {best['num_cells']} cells with {region}: exponent "
        f"in d/n {_show_exponent(best)}"
    )
    unit = ""
    off = (best["exponent"] - 0.5) / best["exponent_error"]
    if threshold == "loss":
        text += (
            f" from ε*/Δ and the exact mean of Δ, {_show_exponent(median)} from plain medians: "
            f"order d/n, {off:.0f} standard errors from the paper's ½"
        )
        unit = " σ/|θ₀|"
    else:
        text += f": order √(d/n), as Theorem 1 says, {abs(off):.1f} standard errors from ½"
    text += (
        f"; the limit n → ∞ has {best['limit_exponent']:.3f} over the same cells and tends to "
        f"{best['theory']:g} only as d/n → 0. Prefactor {best['prefactor']:.2f} ± "
        f"{best['prefactor'] * best['prefactor_log_error']:.2f}{unit} (first order: 1.25{unit})"
    )
    if best["corrected_error"] < 0.1 and best["num_cells"] > 4:  # with freedom left
        text += (
            f"; with the first correction fitted as well the exponent is "
            f"{best['corrected_exponent']:.3f} ± {best['corrected_error']:.3f}"
        )
    return text + "."


def _show_exponent(fit: dict[str, Any]) -> str:
    return f"{fit['exponent']:.3f} [{fit['exponent_low']:.3f}, {fit['exponent_high']:.3f}]"


def _describe_sensitivity(threshold: str, fits: list[dict[str, Any]]) -> str:
    """Say how far the exponent moves with the fitting region."""
    own = [f for f in fits if f["threshold"] == threshold and f["num_cells"] > 2]
    own = [f for f in own if f["estimate"] == ESTIMATES[threshold][-1]]
    own = list({tuple(f[name] for name in SAME): f for f in own}.values())
    if not own:
        return ""
    low, high = (pick(fit["exponent"] for fit in own) for pick in (min, max))
    gap = max(abs(fit["exponent"] - fit["limit_exponent"]) for fit in own)
    return (
        f"{NAMES[threshold]}: over {len(own)} fits over different cells or |θ₀|/σ the exponent is "
        f"between {low:.3f} and {high:.3f}, never further than {gap:.3f} from the limit's over the "
        "same cells."
    )


def _describe_limit(threshold: str, rows: list[dict[str, Any]]) -> str:
    """Compare with the limit n -> infinity at the same d / n, whatever the law."""
    name = ESTIMATES[threshold][-1]
    own = [
        row
        for row in rows
        if row["threshold"] == threshold and 20 <= row["d"] < row["n"] and row["infinite"] < 0.25
        and math.isfinite(row["limit"]) and math.isfinite(row[name_error(name)])
    ]  # fmt: skip
    if not own:
        return ""
    off = [abs(math.log(row[name] / row["limit"])) for row in own]
    worst = own[int(np.argmax(off))]
    return (
        f"{NAMES[threshold]} against the limit n → ∞ at the same d/n, no parameter fitted: "
        f"{len(own)} cells with 20 ≤ d < n are off by {100 * float(np.median(off)):.1f} % "
        f"(median) and at most {100 * max(off):.1f} % ± {100 * worst[name_error(name)]:.1f} % (n = "
        f"{worst['n']}, d = {worst['d']}, |θ₀|/σ = {worst['snr']:g})."
    )


def _describe_undefined(rows: list[dict[str, Any]]) -> str:
    """List shares of undefined draws where d is at most 2 sqrt(n)."""
    own = [r for r in rows if r["threshold"] == "loss" and r["d"] ** 2 <= 4 * r["n"]]
    own = [row for row in own if row["snr"] == 1.0 and row["n"] >= 100]
    if not own:
        return ""
    shares = "; ".join(
        f"n = {row['n']}, d = {row['d']}: {_show_share(row, 'undefined')}, normal approximation "
        f"{100 * row['undefined_normal']:.0f} %"
        for row in own
    )
    return f"ε* of the loss is undefined (clean test loss below train loss) in, |θ₀| = σ: {shares}."


def _describe_infinite(threshold: str, rows: list[dict[str, Any]]) -> str:
    """List shares of infinite draws for d > n, and where the limit has them."""
    own = [row for row in rows if row["threshold"] == threshold and row["d"] > row["n"]]
    if not own:
        return ""
    n = max(row["n"] for row in own)
    own = [row for row in own if row["n"] == n]
    shares = "; ".join(
        f"|θ₀|/σ = {snr:g}: "
        + ", ".join(
            f"{_show_share(row, 'infinite')} at d = {row['d']}" for row in own if row["snr"] == snr
        )
        for snr in SNRS
    )
    text = f"{NAMES[threshold]}, d > n = {n}: infinite in {shares}."
    if threshold == "loss":
        text += (
            " In the limit at fixed d/n it is infinite from d/n = r/(1 + r) on, r = |θ₀|²/σ² (0.2, "
            "0.5, 0.8 for |θ₀|/σ = 0.5, 1, 2), and for r > 1 finite again beyond r/(r − 1) (1.33)."
        )
    return text


def _show_share(row: dict[str, Any], name: str) -> str:
    share, low, high = (100 * row[key] for key in (name, f"{name}_low", f"{name}_high"))
    return f"{share:.0f} % [{low:.0f}, {high:.0f}]"
