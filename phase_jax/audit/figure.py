"""The figure of an audit: losses before and after, and how far they rise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from phase_jax.audit.write import list_rises
from phase_jax.report.plots import STAR, STYLE, TEST, THRESHOLD, TRAIN
from phase_jax.report.wording import format_epsilon

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from phase_jax.audit.result import AuditResult

SPLITS = (("train", TRAIN, "o"), ("test", TEST, "s"))
SCALE = 255.0


def draw_rises(result: AuditResult) -> Figure:
    """Draw losses under the run's attack and the worst of the audit, with epsilon*, and rises."""
    rows = list_rises(result)
    columns = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
    epsilons = SCALE * columns["epsilon"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.0, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2, sharex=True)
        for split, colour, marker in SPLITS:
            form = {"color": colour, "marker": marker, "markersize": 4}
            left.plot(epsilons, columns[f"{split}_loss"], label=f"{split} loss, run's attack",
                      **form)  # fmt: skip
            left.plot(epsilons, columns[f"{split}_worst"], linestyle="--", fillstyle="none",
                      label=f"{split} loss, worst of the audit", **form)  # fmt: skip
            right.errorbar(
                epsilons,
                columns[f"{split}_rise"],
                2 * columns[f"{split}_rise_error"],
                label=split,
                capsize=2,
                **form,
            )
        _draw_stars(left, result)
        left.set_title("Loss on the images attacked", loc="left", fontsize=10)
        left.set_ylabel("loss (mean over seeds)")
        right.set_title("Rise under the audit (± 2 standard errors)", loc="left", fontsize=10)
        right.set_ylabel("rise of the loss")
        right.axhline(0, color=THRESHOLD, linewidth=0.8)
        for axes in (left, right):
            axes.set_xlabel("attack strength ε (units of 1/255)")
        right.legend(loc="best")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return figure


def _draw_stars(axes: Axes, result: AuditResult) -> None:
    """Draw epsilon* of the run with its interval, and that of the audit."""
    before, after = result.epsilon_star, result.epsilon_star_audited
    if before.value is not None:
        if before.low is not None and before.high is not None:
            axes.axvspan(SCALE * before.low, SCALE * before.high, color=STAR, alpha=0.15, lw=0)
        axes.axvline(SCALE * before.value, color=STAR,
                     label=f"ε* of the run, {format_epsilon(before.value)}")  # fmt: skip
    if after.value is not None:
        axes.axvline(SCALE * after.value, color=STAR, linestyle="--",
                     label=f"ε* of the audit, {format_epsilon(after.value)}")  # fmt: skip
    axes.set_xlim(0, 1.04 * SCALE * float(result.epsilons[-1]) or None)
