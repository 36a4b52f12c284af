"""The result as a JSON document (schema in `schema/result-v1.json`)."""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from phase_jax.report.overfitting import describe_overfitting, describe_stability
from phase_jax.report.wording import compare_target, describe_cautions, describe_outcome
from phase_jax.sweep.convert import list_lanes
from phase_jax.types import EpsilonStar, EpsilonStarEstimate, LaneStatus

if TYPE_CHECKING:
    from phase_jax.sweep import SweepResult

SCHEMA_VERSION = 1


def build_document(result: SweepResult) -> dict[str, Any]:
    """Build the JSON document of a sweep.

    Args:
      result: The sweep.

    Returns:
      Plain data; numbers that do not exist are None, never NaN or infinite.
    """
    target = None
    if result.config.target_epsilon is not None:
        largest = float(result.epsilons[-1])
        target = compare_target(
            result.config.target_epsilon, result.epsilon_star, largest
        )._asdict()
    chosen = result.config.solver.train_loss
    other = "evaluated" if chosen == "logged" else "logged"
    document = {
        "schema_version": SCHEMA_VERSION,
        "kind": "sweep",
        "verdict": describe_outcome(result),
        "cautions": describe_cautions(result),
        "notes": list(result.notes),
        "epsilon_star": describe_estimate(result.epsilon_star, chosen),
        "epsilon_star_other": describe_estimate(result.epsilon_star_other, other),
        "threshold": describe_threshold(result, result.clean_example_losses),
        "cross_entropy": _describe_cross_entropy(result),
        "target": target,
        "overfitting": describe_overfitting(result),
        "catastrophic_overfitting": describe_stability(result),
        "lanes": list_lanes(result),
        "config": dataclasses.asdict(result.config),
        **result.description,
        **result.environment,
        "seconds": result.seconds,
    }
    return convert_to_plain(document)


def describe_estimate(estimate: EpsilonStarEstimate, train_loss: str) -> dict[str, Any]:
    """Describe an estimate and the train loss, `logged` or `evaluated`, that it is solved from."""
    fields = {f.name: getattr(estimate, f.name) for f in dataclasses.fields(estimate)}
    return {**fields, "train_loss": train_loss}


def describe_threshold(result: SweepResult, clean_example_losses: np.ndarray) -> dict[str, Any]:
    """Describe the clean test loss [S, N]: each seed's; mean and test-set error of sound ones."""
    per_seed = clean_example_losses.mean(axis=1)
    sound = result.lanes.status[0] == LaneStatus.OK
    return {
        "value": result.average_thresholds(per_seed),
        "per_seed": per_seed,
        "test_set_standard_error": _test_set_error(clean_example_losses[sound]),
    }


def _describe_cross_entropy(result: SweepResult) -> dict[str, Any] | None:
    """Describe the reading in plain cross-entropy; None where it is the only one."""
    if result.cross_entropy is None:
        return None
    reading, train_loss = result.cross_entropy, result.config.solver.train_loss
    return {
        "epsilon_star": describe_estimate(reading.epsilon_star, train_loss),
        "threshold": describe_threshold(result, reading.clean_example_losses),
    }


def _test_set_error(clean_example_losses: np.ndarray) -> float:
    """Compute the standard error, from the finite test set, of the mean clean test loss."""
    if not len(clean_example_losses) or clean_example_losses.shape[1] < 2:
        return math.nan
    per_image = clean_example_losses.mean(axis=0)
    return float(per_image.std(ddof=1) / math.sqrt(len(per_image)))


def convert_to_plain(value: Any) -> Any:
    """Turn arrays, enums and tuples into plain data for JSON; what is not finite becomes None."""
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, EpsilonStar):
        return convert_to_plain(value._asdict())
    if isinstance(value, dict):
        return {str(key): convert_to_plain(item) for key, item in value.items()}
    if hasattr(value, "__array__"):
        return convert_to_plain(np.asarray(value).tolist())
    if isinstance(value, (list, tuple)):
        return [convert_to_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
