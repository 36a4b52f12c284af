"""Studies of the linear model beside what the paper prints of them (Table B.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phase_jax.reproduce.entries import Entry
from phase_jax.reproduce.paper import list_regimes

if TYPE_CHECKING:
    from collections.abc import Mapping

REGIME_STUDY = "trajectory"
THRESHOLDS = {"epsilon_star": "loss_star", "trajectory_epsilon": "trajectory_star"}
"""Quantity -> where the study keeps it. Only the first one is printed."""


def describe_regimes(document: Mapping[str, Any] | None) -> list[Entry]:
    """Set Table B.1 beside the exact thresholds of both regimes.

    Args:
      document: The document of the study `trajectory`, or None where it has not run.

    Returns:
      For each regime the loss threshold and the trajectory threshold, medians over the draws in
      which they are finite.
    """
    entries = []
    for n, d, published in list_regimes():
        for quantity, field in THRESHOLDS.items():
            printed = published if quantity == "epsilon_star" else None
            entry = Entry(f"n={n}, d={d}", quantity, published=printed)
            entries.append(entry if document is None else _measure(entry, document, n, d, field))
    return entries


def _measure(entry: Entry, document: Mapping[str, Any], n: int, d: int, field: str) -> Entry:
    (facts,) = (
        facts for facts in document["summary"]["settings"] if (facts["n"], facts["d"]) == (n, d)
    )
    star = facts[field]
    shares = ", ".join(
        f"{name} in {star[f'share_{name}']['value']:.0%}" for name in ("undefined", "infinite")
    )
    median = star["median"]
    return entry._replace(
        value=median["value"],
        low=median["low"],
        high=median["high"],
        status="FOUND" if median["value"] is not None else "BEYOND_GRID",
        notes=("median over draws", f"{shares} of draws"),
    )
