"""What the phase diagram says, in sentences."""

from __future__ import annotations

import math
from typing import Any

from phase_jax.simulate.limit import limit_collapse

UNITS = {"l2": "√(d/n)", "linf": "1/√n"}
NAMES = {"l2": "ℓ2", "linf": "ℓ∞"}
FEW = 0.5
"""Share of finite epsilon* below which their median is neither drawn nor told."""


def describe(
    rows: list[dict[str, Any]], lines: list[dict[str, Any]], num_replicates: int, snr: float
) -> list[str]:
    """Say where the phases are; `snr` is |theta_0| / sigma."""
    unsolved = sum(row["num_unsolved"] for row in rows)
    findings = [
        f"{num_replicates} data sets at each of {len(lines)} sizes and norms, n d = 10,000, |θ₀| = "
        f"{snr:g} σ; {unsolved} of {num_replicates * len(rows):,} solves left out because their "
        "certificate did not close. Medians with 95 % intervals:"
    ]
    for norm in NAMES:
        own = [line for line in lines if line["norm"] == norm]
        findings.append(_describe_collapse(own, snr))
        findings.append(_describe_star(own))
    over = [line for line in lines if "interpolation" in line and line["norm"] == "l2"]
    findings.append(
        "ℓ2 attack, d > n: up to the interpolation threshold, "
        + ", ".join(f"{_show(line, 'interpolation')} at d/n = {_place(line)}" for line in over)
        + " (in √(d/n)), adversarial training ends exactly where clean training does."
    )
    least = [row for row in rows if row["norm"] == "linf" and row["d"] > row["n"]]
    least = [row for row in least if row["epsilon"] == least[0]["epsilon"]]
    findings.append(
        f"ℓ∞ attack, d > n: already at ε = {least[0]['epsilon']:.3g} the minimiser is not clean "
        "training's but the least ℓ1 norm's: it is "
        + ", ".join(
            f"{row['length']:.2f} [{row['length_low']:.2f}, {row['length_high']:.2f}] times as "
            f"long at d/n = {_place(row)}"
            for row in least
        )
        + "."
    )
    return findings


def _describe_collapse(lines: list[dict[str, Any]], snr: float) -> str:
    """Say where the minimiser vanishes, at both ends and in the middle."""
    parts = []
    for line in (lines[0], lines[len(lines) // 2], lines[-1]):
        limit = ""
        if line["norm"] == "l2":
            limit = (
                f" (limit n → ∞: {limit_collapse(line['d'] / line['n'], snr) / scale(line):.2f})"
            )
        parts.append(f"{_show(line, 'collapse')}{limit} at d/n = {_place(line)}")
    norm = lines[0]["norm"]
    text = f"{NAMES[norm]} attack: the minimiser is zero from ε = {', '.join(parts)} on, in "
    text += UNITS[norm]
    if norm == "l2":
        text += (
            ". So, as Theorem 1 has it, collapse is of order √(d/n) where d/n is bounded below; "
            "for d ≪ n it is of order 1"
        )
    return text + "."


def _describe_star(lines: list[dict[str, Any]]) -> str:
    """Say where the loss threshold is, with the share of draws that have one."""
    parts = [
        f"{_show(line, 'loss_threshold')} at d/n = {_place(line)} ({_show_share(line)} finite)"
        for line in lines
        if line["share_finite"] >= FEW
    ]
    rare = [f"{_place(line)} ({_show_share(line)})" for line in lines if line["share_finite"] < FEW]
    norm = lines[0]["norm"]
    text = (
        f"{NAMES[norm]} attack, ε* of the loss in {UNITS[norm]}, over the draws where it is finite"
    )
    text += f": {', '.join(parts) or 'nowhere'}"
    return text + (f"; finite in fewer than half at d/n = {', '.join(rare)}." if rare else ".")


def scale(line: dict[str, Any]) -> float:
    """Compute the order of collapse: sqrt(d / n), divided by sqrt(d) under the linf attack."""
    return math.sqrt((1 if line["norm"] == "linf" else line["d"]) / line["n"])


def _show(line: dict[str, Any], name: str) -> str:
    value, low, high = (line[key] / scale(line) for key in (name, f"{name}_low", f"{name}_high"))
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"


def _show_share(line: dict[str, Any]) -> str:
    share, low, high = (
        100 * line[key] for key in ("share_finite", "share_finite_low", "share_finite_high")
    )
    return f"{share:.0f} % [{low:.0f}, {high:.0f}]"


def _place(line: dict[str, Any]) -> str:
    return (
        f"{line['d'] / line['n']:.2g}"
        if line["d"] < 10 * line["n"]
        else (f"{line['d'] / line['n']:.0f}")
    )
