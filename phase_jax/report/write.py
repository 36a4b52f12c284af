"""Write a result to its directory."""

from __future__ import annotations

import csv
import functools
import json
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from phase_jax.report.directory import PARAMETERS, RESULT_FILE, open_directory
from phase_jax.report.document import build_document
from phase_jax.storage.atomic import write_atomically

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure

    from phase_jax.sweep import SweepResult


def write_result(result: SweepResult, out: str | os.PathLike) -> pathlib.Path:
    """Write everything about a sweep into a directory.

    Files: `result.json` (written last: where it is, the rest is complete), `lanes.csv`,
    `history.npz` (per epoch, [E, S, T]), `examples.npz` (per test image), `parameters/` (the
    selected parameters, an orbax checkpoint with leaves [E, S, ...]), and the plots as PNG and
    SVG. Each appears under its name only when complete.

    Args:
      result: The sweep.
      out: The directory; made if needed. Files of an earlier run in it are replaced.

    Returns:
      Path of `result.json`.

    Raises:
      InterruptedRunError: The disk is full or the directory cannot be written to.
    """
    from phase_jax.report.plots import draw_learning_curves, draw_loss_curve

    out = pathlib.Path(out)
    open_directory(out)
    document = build_document(result)
    axes = {"epsilons": result.epsilons, "seeds": result.seeds}
    history = {**axes, **result.history}
    examples = {
        "clean_example_losses": result.clean_example_losses,
        "example_losses": result.example_losses,
    }
    if result.cross_entropy is not None:
        examples["clean_example_cross_entropies"] = result.cross_entropy.clean_example_losses
    write_atomically(out / "lanes.csv", lambda path: write_csv(path, document["lanes"]))
    write_atomically(out / "history.npz", lambda path: _write_arrays(path, history))
    write_atomically(out / "examples.npz", lambda path: _write_arrays(path, {**axes, **examples}))
    write_atomically(out / PARAMETERS, lambda path: _write_parameters(path, result))
    write_figure(draw_loss_curve(result), out / "loss_curve")
    write_figure(draw_learning_curves(result), out / "learning_curves")
    write_atomically(out / RESULT_FILE, lambda path: write_document(path, document))
    return out / RESULT_FILE


def write_csv(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Write rows that have the same fields, at least one."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _write_arrays(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(path, allow_pickle=False, **arrays)


def write_document(path: pathlib.Path, document: dict[str, Any]) -> None:
    """Write a JSON document of plain data."""
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def write_figure(figure: Figure, stem: pathlib.Path) -> None:
    """Write a figure as PNG and SVG, atomically, under the name `stem` with their suffixes."""
    from phase_jax.report.plots import save_figure

    for suffix in (".png", ".svg"):
        path = stem.with_suffix(suffix)
        write_atomically(path, functools.partial(save_figure, figure))


def _write_parameters(path: pathlib.Path, result: SweepResult) -> None:
    """Save selected parameters and state with orbax; read with `ocp.load`."""
    from orbax.checkpoint import v1 as ocp

    save = ocp.save if hasattr(ocp, "save") else ocp.save_pytree  # its name before orbax 0.12.8
    tree = {"params": result.params, "model_state": result.model_state}
    save(str(path.resolve()), tree)
