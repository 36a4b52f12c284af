"""Fragments of HTML; every text that comes from a run is escaped here."""

from __future__ import annotations

import base64
import html
import json
import math
from typing import TYPE_CHECKING, Any

from phase_jax.report.wording import format_epsilon

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from phase_jax.types import EpsilonStarEstimate


def escape(text: object) -> str:
    """Escape a text for content and for quoted attributes; epsilon* becomes ε*."""
    return html.escape(str(text).replace("epsilon", "ε"))


def show_epsilon(value: float) -> str:
    """Show an attack strength in the unit that the reader chose."""
    return f'<span data-epsilon="{value:.6g}">{format_epsilon(value)}</span>'


def show_interval(estimate: EpsilonStarEstimate) -> str:
    """Show an interval in the unit that the reader chose."""
    if estimate.low is None:
        return "no interval"
    level = f"{100 * estimate.confidence:g} % interval"
    if estimate.high is None:
        return f"{level} from {show_epsilon(estimate.low)}, no upper end"
    return f"{level} {show_epsilon(estimate.low)} to {show_epsilon(estimate.high)}"


def show_section(name: str, title: str, body: str) -> str:
    """Show a section under its heading; `name` is its address within the page."""
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>\n{body}\n</section>\n'


def show_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str, kind: str = "numbers"
) -> str:
    """Show a table whose cells are HTML; the first cell of a row names it."""
    heads = "".join(f'<th scope="col">{cell}</th>' for cell in header)
    lines = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>\n'
        for first, *rest in rows
    )
    head = f"<thead><tr>{heads}</tr></thead>" if header else ""
    return (
        f'<div class="scroll"><table class="{kind}"><caption>{caption}</caption>{head}\n'
        f"<tbody>\n{lines}</tbody></table></div>"
    )


def show_picture(text: str, png: bytes) -> str:
    """Show a figure that lies within the page, with what it shows below it."""
    data = base64.b64encode(png).decode()
    return (
        f'<figure class="card"><img alt="{escape(text)}" style="max-width:100%" '
        f'src="data:image/png;base64,{data}"><figcaption>{escape(text)}</figcaption></figure>\n'
    )


def show_details(title: str, body: str) -> str:
    """Show what opens on demand."""
    return f"<details><summary>{title}</summary>\n<div>{body}</div></details>\n"


def show_choice(
    name: str, legend: str, options: Iterable[tuple[object, str]], chosen: object
) -> str:
    """Show a choice of few as buttons; each option is a value and its HTML."""
    buttons = "".join(
        f'<label><input type="radio" name="{name}" value="{value}" autocomplete="off"'
        f"{' checked' if value == chosen else ''}>{label}</label>"
        for value, label in options
    )
    return (
        f'<fieldset class="js-only"><legend>{legend}</legend><span class="choice">{buttons}</span>'
        "</fieldset>\n"
    )


def show_select(
    name: str, legend: str, options: Iterable[tuple[object, str]], chosen: object
) -> str:
    """Show a choice of many as a list; each option is a value and its HTML."""
    items = "".join(
        f'<option value="{value}"{" selected" if value == chosen else ""}>{label}</option>'
        for value, label in options
    )
    return (
        f'<label>{legend} <select id="{name}" name="{name}" autocomplete="off">{items}'
        "</select></label>\n"
    )


def dump_json(value: Any) -> str:
    """Write data for a script element: no text in it can end the element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("<", "\\u003c")


def shorten_numbers(values: Any, digits: int = 4) -> Any:
    """Round arrays and nested lists to some digits; what is not finite becomes None."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, list):
        return [shorten_numbers(value, digits) for value in values]
    if isinstance(values, float):
        return float(f"{values:.{digits}g}") if math.isfinite(values) else None
    return values
