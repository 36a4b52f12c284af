"""Write a fine-tuning to its directory."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from phase_jax.config import FINE_TUNING_ATTACKS
from phase_jax.finetune.document import build_fine_tuning_document, list_points
from phase_jax.report.directory import PAGE_FILE, RESULT_FILE
from phase_jax.report.write import (
    write_csv,
    write_document,
    write_figure,
    write_result,
    write_set,
    write_text,
)

if TYPE_CHECKING:
    import os

    from phase_jax.finetune.result import FineTuningResult

FIGURES = {
    "fit": "train losses after fine-tuning, the line through them and ε* by every method",
    "schedule": "the learning rate of fine-tuning",
}
"""Figures, and what they show."""
FILES = frozenset(
    {
        RESULT_FILE,
        PAGE_FILE,
        "points.csv",
        *(f"{name}.{suffix}" for name in FIGURES for suffix in ("png", "svg")),
        *FINE_TUNING_ATTACKS,
    }
)


def write_fine_tuning(result: FineTuningResult, out: str | os.PathLike) -> pathlib.Path:
    """Write everything about a fine-tuning into a directory.

    Files, which appear together: `result.json`, `points.csv` (a row a lane), `fit` and `schedule`
    as PNG and SVG, `report.html`, and for every attack a directory with its lanes, as a sweep
    leaves it.

    Args:
      result: The fine-tuning.
      out: The directory; made if needed. Files of an earlier one in it are replaced.

    Returns:
      Path of `result.json`.

    Raises:
      InterruptedRunError: The disk is full or the directory cannot be written to.
    """
    from phase_jax.finetune.page import build_fine_tuning_page
    from phase_jax.finetune.plots import draw_fit, draw_schedule

    out = pathlib.Path(out)

    def write_files(draft: pathlib.Path) -> None:
        for attack, run in result.runs.items():
            write_result(run, draft / attack)
        write_csv(draft / "points.csv", list_points(result))
        write_figure(draw_fit(result), draft / "fit")
        write_figure(draw_schedule(result), draft / "schedule")
        write_text(draft / PAGE_FILE, build_fine_tuning_page(result, list_pictures(draft)))
        write_document(draft / RESULT_FILE, build_fine_tuning_document(result))

    write_set(out, write_files, FILES)
    return out / RESULT_FILE


def list_pictures(folder: pathlib.Path) -> list[tuple[str, bytes]]:
    """List the figures that are in a directory: what each shows, and its PNG file."""
    places = {folder / f"{name}.png": text for name, text in FIGURES.items()}
    return [(text, place.read_bytes()) for place, text in places.items() if place.is_file()]
