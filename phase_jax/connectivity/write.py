"""A study of connectivity as files: JSON, one row a network, figures."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.connectivity.curve import WEIGH_FNS, weigh_line
from phase_jax.connectivity.settings import FILES
from phase_jax.report.directory import RESULT_FILE
from phase_jax.report.document import convert_to_plain
from phase_jax.report.mean import Mean, format_mean
from phase_jax.report.wording import format_epsilon
from phase_jax.report.write import write_csv, write_document, write_figure, write_set

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from jaxtyping import Float

    from phase_jax.connectivity.measure import Measures
    from phase_jax.connectivity.result import ConnectivityResult

SCHEMA_VERSION = 1


def write_connectivity(result: ConnectivityResult, out: str | os.PathLike) -> pathlib.Path:
    """Write `result.json` (last), `points.csv` (one row a network) and two figures.

    Args:
      result: The study.
      out: The directory; made if needed. Files of an earlier study in it are replaced.

    Returns:
      Path of `result.json`.

    Raises:
      InterruptedRunError: The disk is full or the directory cannot be written to.
    """
    from phase_jax.connectivity.figure import draw_planes, draw_profiles

    out = pathlib.Path(out)

    def write_files(draft: pathlib.Path) -> None:
        write_csv(draft / "points.csv", convert_to_plain(list_points(result)))
        write_figure(draw_planes(result), draft / "planes")
        write_figure(draw_profiles(result), draft / "profiles")
        write_document(draft / RESULT_FILE, build_document(result))

    write_set(out, write_files, FILES)
    return out / RESULT_FILE


def build_document(result: ConnectivityResult) -> dict[str, Any]:
    """Build the JSON document: findings, one summary an attack strength, one entry a pair."""
    pairs = [
        {
            "epsilon": epsilon,
            "from_seed": seeds[0],
            "to_seed": seeds[1],
            "sound": result.sound[i],
            "start_loss": result.curve.train_loss[i, 0],
            "end_loss": result.curve.train_loss[i, -1],
            "highest_loss": result.curve.train_loss[i].max(),
            "last_training_loss": result.training_losses[i, -1],
            "places": dict(zip(("start", "bend", "end"), result.anchor_places[i], strict=True)),
        }
        for i, (epsilon, seeds) in enumerate(zip(result.epsilons, result.seeds, strict=True))
    ]
    summaries = [
        {
            name: _describe_mean(value) if isinstance(value, Mean) else value
            for name, value in summary._asdict().items()
        }
        for summary in result.summaries
    ]
    return convert_to_plain(
        {
            "schema_version": SCHEMA_VERSION,
            "kind": "connectivity",
            "findings": describe_findings(result),
            "cautions": result.cautions,
            "notes": result.notes,
            "from_epsilon": result.from_epsilon,
            "summaries": summaries,
            "pairs": pairs,
            "settings": dataclasses.asdict(result.settings),
            "source": result.source,
            **result.environment,
            "seconds": result.seconds,
        }
    )


def list_points(result: ConnectivityResult) -> list[dict[str, Any]]:
    """List every network measured, pair by pair: curve, straight line, plane, the three anchors."""
    rows = []
    for i, (epsilon, seeds) in enumerate(zip(result.epsilons, result.seeds, strict=True)):
        pair = {"epsilon": epsilon, "from_seed": seeds[0], "to_seed": seeds[1]}
        grid = np.stack(np.meshgrid(*result.grid[i], indexing="ij"), axis=-1).reshape(-1, 2)
        for kind, places, measures in (
            ("curve", place_curve(result, i), result.curve),
            ("line", place_curve(result, i, weigh_line), result.line),
            ("plane", grid, result.plane),
            ("anchor", result.anchor_places[i], result.anchors),
        ):
            points = result.points if kind in ("curve", "line") else [None] * len(places)
            fields = _take_pair(measures, i)
            for j, (t, place) in enumerate(zip(points, places, strict=True)):
                values = {name: field[j] for name, field in fields.items()}
                rows.append({**pair, "kind": kind, "t": t, "u": place[0], "v": place[1], **values})
    return rows


def place_curve(
    result: ConnectivityResult, i: int, weigh: Callable[..., Any] | None = None
) -> Float[np.ndarray, "T 2"]:
    """Place the points of a pair's curve, or of the form `weigh`, in its plane."""
    weights = jax.vmap(weigh or WEIGH_FNS[result.settings.curve])(jnp.asarray(result.points))
    return np.asarray(weights) @ result.anchor_places[i]


def describe_findings(result: ConnectivityResult) -> list[str]:
    """Say what was found, one sentence an attack strength."""
    start = format_epsilon(result.from_epsilon)
    return [
        f"epsilon {start} to {format_epsilon(summary.epsilon)}: barrier "
        f"{format_mean(summary.barrier)} on the trained curve, "
        f"{format_mean(summary.line_barrier)} on the straight line; clean train loss "
        f"{format_mean(summary.start_loss, interval=False)} at the start, "
        f"{format_mean(summary.end_loss, interval=False)} at the end"
        for summary in result.summaries
    ]


def _describe_mean(mean: Mean) -> dict[str, Any]:
    return {"value": mean.value, "low": mean.low, "high": mean.high, "num_pairs": mean.number}


def _take_pair(measures: Measures, i: int) -> dict[str, np.ndarray]:
    """Take one pair's networks as one axis."""
    return {name: np.asarray(field)[i].ravel() for name, field in measures._asdict().items()}
