"""An audit as files: JSON, one figure."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

from phase_jax.audit.result import is_outside
from phase_jax.audit.settings import FILES
from phase_jax.report.directory import RESULT_FILE
from phase_jax.report.document import convert_to_plain, describe_estimate
from phase_jax.report.wording import format_epsilon, format_interval
from phase_jax.report.write import write_document, write_figure, write_set
from phase_jax.types import LaneStatus

if TYPE_CHECKING:
    import os

    from phase_jax.audit.result import AuditResult
    from phase_jax.types import EpsilonStarEstimate

SCHEMA_VERSION = 1
KIND = "audit"


def write_audit(result: AuditResult, out: str | os.PathLike) -> pathlib.Path:
    """Write `result.json` (last) and the figure `rises` as PNG and SVG.

    Args:
      result: The audit.
      out: The directory; made if needed. Files of an earlier audit in it are replaced.

    Returns:
      Path of `result.json`.

    Raises:
      InterruptedRunError: The disk is full or the directory cannot be written to.
    """
    from phase_jax.audit.figure import draw_rises

    out = pathlib.Path(out)

    def write_files(draft: pathlib.Path) -> None:
        write_figure(draw_rises(result), draft / "rises")
        write_document(draft / RESULT_FILE, build_document(result))

    write_set(out, write_files, FILES)
    return out / RESULT_FILE


def build_document(result: AuditResult) -> dict[str, Any]:
    """Build the JSON document: verdict, both epsilon*, one entry an attack strength and a lane."""
    return convert_to_plain(
        {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "verdict": describe_verdict(result),
            "moves_beyond_interval": is_outside(result.epsilon_star_audited, result.epsilon_star),
            "epsilon_star": describe_estimate(result.epsilon_star, "evaluated"),
            "epsilon_star_audited": describe_estimate(result.epsilon_star_audited, "evaluated"),
            "rises": list_rises(result),
            "lanes": _list_lanes(result),
            "settings": dataclasses.asdict(result.settings),
            "source": result.source,
            **result.environment,
            "seconds": result.seconds,
        }
    )


def list_rises(result: AuditResult) -> list[dict[str, Any]]:
    """List, for every attack strength, losses and accuracies before and after; seeds averaged."""
    columns: dict[str, Any] = {"epsilon": result.epsilons}
    for name, split in (("train", result.train), ("test", result.test)):
        rise, error = split.measure_rise()
        own, worst = split.measure_accuracies()
        columns |= {
            f"{name}_loss": split.average_seeds(split.average()[:, :, 0]),
            f"{name}_worst": split.average_seeds(split.take_worst()),
            f"{name}_rise": rise,
            f"{name}_rise_error": error,
            f"{name}_accuracy": own,
            f"{name}_accuracy_worst": worst,
        }
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def describe_verdict(result: AuditResult) -> str:
    """Say in one sentence how far epsilon* moves."""
    before, after = result.epsilon_star, result.epsilon_star_audited
    if is_outside(after, before):
        return (
            "the run's evaluation attack is too weak: under the attacks of the audit epsilon* "
            "from the evaluated train loss moves by more than its interval, from "
            f"{_write_estimate(before)} to {_write_estimate(after)}"
        )
    return (
        f"epsilon* from the evaluated train loss moves from {_write_estimate(before)} to "
        f"{_write_estimate(after)}: within its interval"
    )


def _list_lanes(result: AuditResult) -> list[dict[str, Any]]:
    """List the mean loss of every lane under every attack, and under the worst for each image."""
    splits = {"train_losses": result.train, "test_losses": result.test}
    means = {name: split.average() for name, split in splits.items()}
    worst = {name: split.take_worst() for name, split in splits.items()}
    return [
        {
            "epsilon": epsilon,
            "seed": seed,
            "status": LaneStatus(int(result.status[e, s])),
            **{
                name: dict(zip(result.attacks, means[name][e, s], strict=True))
                | {"worst of all": worst[name][e, s]}
                for name in splits
            },
        }
        for e, epsilon in enumerate(result.epsilons)
        for s, seed in enumerate(result.seeds)
    ]


def _write_estimate(estimate: EpsilonStarEstimate) -> str:
    if estimate.value is None:
        return estimate.status.name
    return f"{format_epsilon(estimate.value)} ({format_interval(estimate)})"
