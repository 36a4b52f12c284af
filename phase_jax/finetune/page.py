"""The page of a fine-tuning: verdict, every extrapolation, figures, what it cost."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from phase_jax.finetune.plots import LABELS
from phase_jax.report.document import convert_to_plain
from phase_jax.report.page.build import fill_page
from phase_jax.report.page.markup import (
    escape,
    show_details,
    show_epsilon,
    show_interval,
    show_picture,
    show_section,
    show_table,
)
from phase_jax.report.page.run import name_run, tabulate_fields
from phase_jax.report.page.scale import ScaleRow, show_scale, show_star
from phase_jax.report.wording import describe_outcome, format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from phase_jax.finetune.result import Extrapolation, FineTuningResult

ORIGINS = {
    "trained": "a clean model trained for it",
    "run": "the clean lanes of a sweep",
    "imported": "an imported clean model",
}


def build_fine_tuning_page(
    result: FineTuningResult, pictures: Iterable[tuple[str, bytes]] = ()
) -> str:
    """Build the page of a fine-tuning, which lies beside the directories of its attacks.

    Args:
      result: The fine-tuning.
      pictures: What each shows, and its PNG file.

    Returns:
      HTML in one piece: it asks the network for nothing.
    """
    first = next(iter(result.runs.values()))
    num_seeds = len(first.seeds)
    subtitle = (
        f"fine-tuned from {ORIGINS[result.origin['kind']]}, "
        f"{len(result.fine_tuning.epsilons)} attack strengths × {num_seeds} "
        f"seed{'s' if num_seeds > 1 else ''}, {result.fine_tuning.num_epochs} epochs; "
        f"{format_duration(sum(result.seconds.values()))}"
    )
    content = (
        _show_verdict(result, describe_outcome(first))
        + _show_extrapolations(result)
        + show_section("figures", "Figures", "".join(show_picture(*pair) for pair in pictures))
        + _show_cost(result)
    )
    return fill_page(name_run(first), subtitle, content, {}, ("page.js", "plain.js"))


def _show_verdict(result: FineTuningResult, outcome: str) -> str:
    """Show epsilon*, the sentence, every method on one scale, and cautions."""
    rows = [
        ScaleRow(
            escape(_name(e)), e.estimate, result.fine_tuning.epsilons, result.config.target_epsilon
        )
        for e in result.extrapolations
    ]
    cautions = "".join(f"<li>{escape(text)}</li>" for text in result.cautions)
    star = result.epsilon_star
    return (
        '<section class="card verdict" aria-label="Verdict">\n'
        f'<p class="star">ε* {"= " if star.value is not None else ""}{show_star(star)}</p>\n'
        f'<p class="sentence">{escape(outcome)}</p>\n'
        f"{show_scale(rows)}\n"
        + (f'<ul class="cautions" aria-label="Cautions">{cautions}</ul>\n' if cautions else "")
        + "</section>\n"
    )


def _show_extrapolations(result: FineTuningResult) -> str:
    rows = [
        [
            escape(_name(e)),
            show_star(e.estimate),
            show_interval(e.estimate),
            *("-" if end is None else show_epsilon(end) for end in (e.points_low, e.points_high)),
        ]
        for e in result.extrapolations
    ]
    header = ["method", "ε*", "interval", "points left out, lowest", "highest"]
    caption = "Intervals from seeds and test images; the range over leaving each point out"
    links = ", ".join(f'<a href="{a}/report.html">{a.upper()}</a>' for a in result.runs)
    body = show_table(header, rows, caption=caption) + f"<p>Lanes, attack by attack: {links}</p>"
    return show_section("extrapolations", "Extrapolations", body)


def _show_cost(result: FineTuningResult) -> str:
    rows = [
        [escape(stage), f"{count / 1e6:.3g}", format_duration(result.seconds[stage])]
        for stage, count in result.gradients.items()
    ]
    caption = "Example gradients and time, stage by stage"
    settings = convert_to_plain(dataclasses.asdict(result.fine_tuning))
    config = convert_to_plain(dataclasses.asdict(result.config))
    body = show_table(["stage", "million gradients", "time"], rows, caption=caption)
    body += show_details("Fine-tuning", tabulate_fields(settings))
    body += show_details("Configuration of the clean model", tabulate_fields(config))
    return show_section("cost", "What it cost", body)


def _name(extrapolation: Extrapolation) -> str:
    return f"{extrapolation.attack.upper()}, {LABELS[extrapolation.method]}"
