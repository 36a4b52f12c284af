"""The result of a fine-tuning as a JSON document, and as rows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from phase_jax.report.document import (
    SCHEMA_VERSION,
    convert_to_plain,
    describe_estimate,
    describe_threshold,
)
from phase_jax.report.wording import describe_outcome
from phase_jax.types import LaneStatus

if TYPE_CHECKING:
    from phase_jax.finetune.result import Extrapolation, FineTuningResult

KIND = "fine_tuning"


def build_fine_tuning_document(result: FineTuningResult) -> dict[str, Any]:
    """Build the JSON document of a fine-tuning.

    Args:
      result: The fine-tuning.

    Returns:
      Plain data; numbers that do not exist are None.
    """
    first = next(iter(result.runs.values()))
    document = {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "verdict": describe_outcome(first),
        "cautions": result.cautions,
        "notes": result.notes,
        "epsilon_star": describe_estimate(result.epsilon_star, first.config.solver.train_loss),
        "threshold": describe_threshold(first, first.clean_example_losses),
        "extrapolations": [_describe_extrapolation(e, result) for e in result.extrapolations],
        "fits": {attack: fit._asdict() for attack, fit in result.fits.items()},
        "stability": {
            attack: dataclasses.asdict(stability) for attack, stability in result.stability.items()
        },
        "origin": result.origin,
        "gradients": result.gradients,
        "fine_tuning": dataclasses.asdict(result.fine_tuning),
        "config": dataclasses.asdict(result.config),
        **first.description,
        **first.environment,
        "seconds": result.seconds,
    }
    return convert_to_plain(document)


def list_points(result: FineTuningResult) -> list[dict[str, Any]]:
    """List the points that are extrapolated: one row an attack, attack strength and seed."""
    return [
        {
            "attack": attack,
            "epsilon": float(epsilon),
            "seed": int(seed),
            "status": LaneStatus(int(run.lanes.status[e, s])).name,
            "train_loss": float(run.lanes.train_loss[e, s]),
            "evaluated_train_loss": float(run.lanes.evaluated_train_loss[e, s]),
            "evaluated_test_loss": float(run.lanes.evaluated_test_loss[e, s]),
            "selected_epoch": int(run.lanes.selected_epoch[e, s]),
        }
        for attack, run in result.runs.items()
        for e, epsilon in enumerate(run.epsilons)
        for s, seed in enumerate(run.seeds)
    ]


def list_extrapolations(result: FineTuningResult) -> list[dict[str, Any]]:
    """List epsilon* by every attack and method, one row each."""
    return [
        {
            "name": extrapolation.name,
            "attack": extrapolation.attack,
            "method": extrapolation.method,
            "status": extrapolation.estimate.status.name,
            "epsilon_star": extrapolation.estimate.value,
            "low": extrapolation.estimate.low,
            "high": extrapolation.estimate.high,
            "points_low": extrapolation.points_low,
            "points_high": extrapolation.points_high,
        }
        for extrapolation in result.extrapolations
    ]


def _describe_extrapolation(
    extrapolation: Extrapolation, result: FineTuningResult
) -> dict[str, Any]:
    """Describe one extrapolation: its estimate, and what its points decide."""
    train_loss = result.config.solver.train_loss
    return {
        "name": extrapolation.name,
        "attack": extrapolation.attack,
        **describe_estimate(extrapolation.estimate, train_loss),
        "left_out": [
            {"epsilon": epsilon, "value": value} for epsilon, value in extrapolation.left_out
        ],
        "points_low": extrapolation.points_low,
        "points_high": extrapolation.points_high,
    }
