"""Epsilon* and its interval on the scale of attack strengths, as HTML that needs no script."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from phase_jax.report.page.markup import show_epsilon, show_interval
from phase_jax.types import EpsilonStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phase_jax.types import EpsilonStarEstimate

NO_VALUE = {
    EpsilonStatus.UNDEFINED: "undefined",
    EpsilonStatus.BEYOND_GRID: "beyond the grid",
    EpsilonStatus.INFINITE: "infinite",
    EpsilonStatus.INSUFFICIENT: "not solvable",
    EpsilonStatus.NONFINITE: "not solvable",
}
KEY = (
    ('<i class="value" style="left:50%"></i>', "ε*"),
    ('<i class="band" style="left:0;width:100%"></i>', "interval"),
    ('<i class="seed" style="left:50%"></i>', "one seed’s ε*"),
    ('<i class="tick" style="left:50%"></i>', "trained"),
    ('<i class="target" style="left:50%"></i>', "target"),
    ('<i class="printed" style="left:50%"></i>', "printed in the paper"),
)


class ScaleRow(NamedTuple):
    """One line on the scale.

    Attributes:
      name: What it is, HTML.
      estimate: Epsilon* with its interval; None for a printed value.
      epsilons: Attack strengths that were trained.
      target: An attack strength to compare with.
      printed: Epsilon* as printed in the paper.
    """

    name: str
    estimate: EpsilonStarEstimate | None = None
    epsilons: Sequence[float] = ()
    target: float | None = None
    printed: float | None = None

    def largest(self) -> float:
        """Find the largest attack strength that the scale should hold."""
        found = [*self.epsilons, self.target or 0.0, self.printed or 0.0]
        if self.estimate is not None:
            found += [self.estimate.value or 0.0]
        return max(found)


def show_star(estimate: EpsilonStarEstimate) -> str:
    """Show the value, or why there is none, in a word or two."""
    if estimate.value is None:
        return NO_VALUE[estimate.status]
    return show_epsilon(estimate.value)


def show_scale(rows: Sequence[ScaleRow]) -> str:
    """Show epsilon* of every row on one scale from 0 to the largest attack strength."""
    end = max(row.largest() for row in rows) or 1.0
    tracks = [_draw_track(row, end) for row in rows]
    lines = "".join(
        f'<div class="scale-row"><div class="what"><b>{row.name}</b>{_say(row)}</div>'
        f"{track}</div>\n"
        for row, track in zip(rows, tracks, strict=True)
    )
    drawn = "".join(tracks)
    key = "".join(
        f'<span><span class="track" aria-hidden="true">{mark}</span>{name}</span> '
        for mark, name in KEY
        if mark.split('"')[1] in drawn
    )
    return (
        f"{lines}"
        f'<div class="scale-ends" aria-hidden="true"><div><span>0</span>{show_epsilon(end)}</div>'
        f'</div><p class="scale-key">{key}</p>'
    )


def _say(row: ScaleRow) -> str:
    """Say a row in words, for those who do not see the track."""
    if row.estimate is None:
        return f"printed {show_epsilon(row.printed)}" if row.printed else "prints no value"
    star, interval = show_star(row.estimate), show_interval(row.estimate)
    return f"ε* {star}" + (f", {interval}" if row.estimate.low is not None else "")


def _draw_track(row: ScaleRow, end: float) -> str:
    """Draw one row; places are shares of the scale."""

    def mark(kind: str, epsilon: float) -> str:
        return f'<i class="{kind}" style="left:{100 * epsilon / end:.2f}%"></i>'

    marks = [mark("tick", epsilon) for epsilon in row.epsilons]
    if (estimate := row.estimate) is not None:
        if estimate.low is not None and estimate.low < end:
            high = end if estimate.high is None else min(estimate.high, end)
            cut = " open" if estimate.high is None or estimate.high > end else ""
            start, width = 100 * estimate.low / end, 100 * (high - estimate.low) / end
            marks.append(f'<i class="band{cut}" style="left:{start:.2f}%;width:{width:.2f}%"></i>')
        found = [seed.value for seed in estimate.seeds if seed.status == EpsilonStatus.FOUND]
        marks += [mark("seed", float(value)) for value in found if value <= end]
        if estimate.value is not None:
            marks.append(mark("value", estimate.value))
    if row.target is not None:
        marks.append(mark("target", row.target))
    if row.printed is not None:
        marks.append(mark("printed", row.printed))
    return f'<div class="track" aria-hidden="true">{"".join(marks)}</div>'
