"""The section on what happens around epsilon*: every measure as a column, and pictures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from phase_jax.report.page.markup import (
    escape,
    show_details,
    show_epsilon,
    show_picture,
    show_section,
    show_table,
)
from phase_jax.report.transition import MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from phase_jax.report.mean import Mean
    from phase_jax.report.transition import Transition

HEADS = {
    "train_loss_ratio": "train loss / threshold",
    "clean_loss_rise": "clean loss, rise",
    "clean_accuracy_drop": "clean accuracy, drop",
    "distance": "distance",
    "gap_growth": "gap, late / reference",
    "unstable": "catastrophic",
    "barrier": "barrier",
    "audit_rise": "rise under audit",
}


def show_transition(transition: Transition, pictures: Iterable[tuple[str, bytes]] = ()) -> str:
    """Show how far the models of every attack strength are from the clean ones.

    Args:
      transition: The measures.
      pictures: What each shows, and its PNG file.

    Returns:
      A section.
    """
    known = transition.known
    rows = [
        [
            show_epsilon(float(epsilon)),
            "-" if math.isnan(ratio) else f"{ratio:.2f}",
            *(_show_mean(means[e]) for means in known.values()),
        ]
        for e, (epsilon, ratio) in enumerate(
            zip(transition.epsilons, transition.ratios, strict=True)
        )
    ]
    caption = "Means and intervals over seeds (barriers: over pairs, audits: over images)"
    heads = [HEADS[name].replace(", ", ",<br>").replace(" / ", " /<br>") for name in known]
    body = show_table(["ε", "ε / ε*", *heads], rows, caption=caption)
    terms = [(HEADS[name], escape(MEASURES[name])) for name in known]
    body += show_details("What the columns are", show_table((), terms, caption="", kind="text"))
    body += "".join(show_picture(text, png) for text, png in pictures)
    return show_section("transition", "Where the transition shows", body)


def _show_mean(mean: Mean) -> str:
    """Show a mean, and its interval below it."""
    if mean.value is None:
        return "-"
    if mean.low is None or mean.low == mean.high:
        return f"{mean.value:.3g}"
    return f'{mean.value:.3g}<br><small class="soft">{mean.low:.2g} to {mean.high:.2g}</small>'
