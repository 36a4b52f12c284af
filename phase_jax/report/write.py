"""Write a result to its directory."""

from __future__ import annotations

import csv
import functools
import json
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from phase_jax.report.directory import (
    ADVERSARIAL_FILE,
    PAGE_FILE,
    PARAMETERS,
    RESULT_FILE,
    RUN_FILES,
    is_checkpoint,
)
from phase_jax.report.document import build_document
from phase_jax.report.overfitting import list_gaps
from phase_jax.report.parameters import write_parameters
from phase_jax.report.transition import assess_transition, list_transition
from phase_jax.storage.atomic import explain_failures, replace_files

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from phase_jax.report.transition import Transition
    from phase_jax.sweep import SweepResult


def write_result(result: SweepResult, out: str | os.PathLike) -> pathlib.Path:
    """Write everything about a sweep into a directory.

    Files: `result.json` (written last: where it is, the rest is complete), `lanes.csv`,
    `history.npz` (per epoch, [E, S, T]), `examples.npz` (per test image), `adversarial.npz` (a few
    test images under attack), `parameters/` (the selected parameters, an orbax checkpoint with
    leaves [E, S, ...]), `overfitting.csv` (the generalisation gap of every lane and epoch),
    `transition.csv` (how far models are from the clean ones), the plots as PNG and SVG, and
    `report.html`, the page that shows all of it. They appear together, when all are complete.

    Args:
      result: The sweep.
      out: The directory; made if needed. Files of an earlier run in it are replaced or, with the
        checkpoints, removed.

    Returns:
      Path of `result.json`.

    Raises:
      InterruptedRunError: The disk is full or the directory cannot be written to.
    """
    from phase_jax.report.page import build_page
    from phase_jax.report.plots import draw_learning_curves, draw_loss_curve
    from phase_jax.report.transition_plots import draw_overfitting

    out = pathlib.Path(out)
    document = build_document(result)
    axes = {"epsilons": result.epsilons, "seeds": result.seeds}
    examples = {
        "clean_example_losses": result.clean_example_losses,
        "example_losses": result.example_losses,
    }
    if result.clean_distances is not None:
        examples["clean_distances"] = result.clean_distances
    if result.cross_entropy is not None:
        examples["clean_example_cross_entropies"] = result.cross_entropy.clean_example_losses

    def write_files(draft: pathlib.Path) -> None:
        write_csv(draft / "lanes.csv", document["lanes"])
        _write_arrays(draft / "history.npz", {**axes, **result.history})
        _write_arrays(draft / "examples.npz", {**axes, **examples})
        if result.adversarial is not None:
            pictures = {"epsilons": result.epsilons, **vars(result.adversarial)}
            _write_arrays(draft / ADVERSARIAL_FILE, pictures)
        write_parameters(draft / PARAMETERS, result)
        write_figure(draw_loss_curve(result), draft / "loss_curve")
        write_figure(draw_learning_curves(result), draft / "learning_curves")
        write_csv(draft / "overfitting.csv", list_gaps(result))
        write_figure(draw_overfitting(result), draft / "overfitting")
        for name, write_fn in list_transition_files(assess_transition(result)).items():
            write_fn(draft / name)
        write_text(draft / PAGE_FILE, build_page(result))
        write_document(draft / RESULT_FILE, document)

    write_set(out, write_files, RUN_FILES)
    return out / RESULT_FILE


def write_set(
    out: pathlib.Path, write_fn: Callable[[pathlib.Path], None], files: frozenset[str]
) -> None:
    """Write the files of a run, the document last; its checkpoints, and what is old, go.

    Args:
      out: The directory; made if needed.
      write_fn: Writes the files into the directory that it is given.
      files: Names that such a run may write.

    Raises:
      InterruptedRunError: The disk is full or the directory cannot be written to; what is there
        stays as it is.
    """
    with explain_failures(out, "results are not written"):
        out.mkdir(parents=True, exist_ok=True)
    replace_files(
        out,
        write_fn,
        last=RESULT_FILE,
        is_replaced=lambda name: name in files or is_checkpoint(name),
    )


def list_transition_files(transition: Transition) -> dict[str, Callable[[pathlib.Path], None]]:
    """List the files of the summary around epsilon*: name -> what writes it to a path."""
    from phase_jax.report.plots import save_figure
    from phase_jax.report.transition_plots import draw_transition

    figure = draw_transition(transition)
    save = functools.partial(save_figure, figure)
    rows = list_transition(transition)
    return {
        "transition.csv": lambda path: write_csv(path, rows),
        "transition.png": save,
        "transition.svg": save,
    }


def write_csv(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Write rows; what a row lacks, or is None, is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)


def _write_arrays(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(path, allow_pickle=False, **arrays)


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a text in UTF-8."""
    path.write_text(text, encoding="utf-8")


def write_document(path: pathlib.Path, document: dict[str, Any]) -> None:
    """Write a JSON document of plain data."""
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_text(path, text)


def write_figure(figure: Figure, stem: pathlib.Path) -> None:
    """Write a figure as PNG and SVG, under the name `stem` with their suffixes."""
    from phase_jax.report.plots import save_figure

    for suffix in (".png", ".svg"):
        save_figure(figure, stem.with_suffix(suffix))
