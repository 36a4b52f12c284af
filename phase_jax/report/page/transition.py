"""The section on what happens around epsilon*: every measure as a column, and pictures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from phase_jax.report.page.markup import (
    escape,
    shorten_numbers,
    show_details,
    show_epsilon,
    show_picture,
    show_section,
    show_select,
    show_table,
)
from phase_jax.report.transition import LEVELS, MEASURES

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


def describe_transition(transition: Transition) -> dict[str, Any]:
    """Describe every measure that is known, as the chart draws it: means and their intervals."""
    return {
        name: {
            "title": HEADS[name],
            "level": LEVELS.get(name, 0.0),
            **{
                part: shorten_numbers([getattr(mean, part) for mean in means])
                for part in ("value", "low", "high")
            },
        }
        for name, means in transition.known.items()
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
    body = ""
    if known:
        options = [(name, HEADS[name]) for name in known]
        body = (
            "<p>Thin lines are the ends of the intervals.</p>\n"
            '<div class="controls js-only">'
            f"{show_select('measure', 'Measure', options, next(iter(known)))}</div>\n"
            '<div class="card chart" id="measures"></div>\n'
        )
    body += show_table(["ε", "ε / ε*", *heads], rows, caption=caption)
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
