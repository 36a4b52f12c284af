"""Put a page together: template, style, scripts, content, data."""

from __future__ import annotations

import pathlib
import string
from typing import TYPE_CHECKING, Any

import phase_jax
from phase_jax.report.page.comparison import describe_runs, show_comparison
from phase_jax.report.page.curves import describe_curves
from phase_jax.report.page.markup import dump_json, escape, show_choice
from phase_jax.report.page.run import name_run, show_run, summarise_run
from phase_jax.report.page.transition import describe_transition
from phase_jax.report.transition import NOTHING, assess_transition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phase_jax.report.page.comparison import PrintedRow
    from phase_jax.report.transition import FollowUps
    from phase_jax.sweep import SweepResult

FOLDER = pathlib.Path(__file__).parent
UNITS = ((255, "1/255"), (1, "[0, 1]"))


def build_page(
    result: SweepResult, *, has_files: bool = True, follow_ups: FollowUps = NOTHING
) -> str:
    """Build the page of one run.

    Args:
      result: The sweep; its parameters are not used.
      has_files: Whether the page will lie in the run's directory, so that it may link its files.
      follow_ups: The run's audit and its study of connectivity.

    Returns:
      HTML in one piece: it asks the network for nothing.
    """
    transition = assess_transition(result, follow_ups)
    return fill_page(
        name_run(result),
        summarise_run(result),
        show_run(result, transition, follow_ups.pictures, has_files=has_files),
        {**describe_curves(result), "transition": describe_transition(transition)},
        ("chart.js", "page.js", "run.js"),
    )


def build_comparison(
    runs: Sequence[tuple[str, SweepResult]], printed: Sequence[PrintedRow] = ()
) -> str:
    """Build the page that shows several runs beside each other, and rows of the paper.

    Args:
      runs: Names, all different, and results.
      printed: What the paper prints.

    Returns:
      HTML in one piece.
    """
    num = len(runs) + len(printed)
    return fill_page(
        f"{num} results compared",
        " · ".join(name for name, _ in runs),
        show_comparison(runs, printed),
        describe_runs(runs, printed),
        ("chart.js", "page.js", "comparison.js"),
    )


def fill_page(
    title: str, subtitle: str, content: str, data: dict[str, Any], scripts: tuple[str, ...]
) -> str:
    """Fill the template.

    Args:
      title: Of the page.
      subtitle: One line below it.
      content: HTML.
      data: What the scripts read.
      scripts: Files of this directory, in order; the last one starts the page.

    Returns:
      HTML in one piece.
    """
    header = (
        f'<header><div><p class="over">phase_jax report</p><h1>{escape(title)}</h1>'
        f'<p class="sub">{escape(subtitle)}</p></div>'
        f"{show_choice('unit', 'ε in', UNITS, 255)}</header>"
    )
    template = string.Template((FOLDER / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=f"{escape(title)} · phase_jax",
        css=(FOLDER / "page.css").read_text(encoding="utf-8"),
        header=header,
        content=content,
        version=phase_jax.__version__,
        data=dump_json(data),
        script="\n".join((FOLDER / name).read_text(encoding="utf-8") for name in scripts),
    )
