"""The table of attack strengths, in words: one row each, means over the seeds that ended well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phase_jax.report.wording import format_epsilon
from phase_jax.types import LaneStatus

if TYPE_CHECKING:
    import numpy as np

    from phase_jax.sweep import SweepResult


def tabulate_strengths(result: SweepResult) -> tuple[list[str], list[list[str]]]:
    """Make the header and rows of the table that shows a sweep's attack strengths."""
    lanes = result.lanes
    columns = {
        "train loss": (lanes.train_loss, "{:.4f}"),
        "test loss": (lanes.evaluated_test_loss, "{:.4f}"),
        "train CE": (lanes.train_cross_entropy, "{:.4f}"),
        "test acc.": (lanes.evaluated_test_accuracy, "{:.1%}"),
        "clean acc.": (lanes.clean_test_accuracy, "{:.1%}"),
        "epoch": (lanes.selected_epoch, "{:.0f}"),
    }
    if result.cross_entropy is None:
        del columns["train CE"]
    sound = lanes.status == LaneStatus.OK
    rows = [
        [
            format_epsilon(epsilon),
            *(_mean(values[e], sound[e], form) for values, form in columns.values()),
            f"{sound[e].sum()}/{len(sound[e])}",
        ]
        for e, epsilon in enumerate(result.epsilons)
    ]
    return ["ε", *columns, "lanes"], rows


def _mean(values: np.ndarray, sound: np.ndarray, form: str) -> str:
    return form.format(values[sound].mean()) if sound.any() else "-"
