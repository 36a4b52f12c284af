"""A sweep as rows, and as arrays with named axes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from phase_jax.tables import describe_arrays
from phase_jax.types import LaneStatus

if TYPE_CHECKING:
    from phase_jax.sweep.result import SweepResult
    from phase_jax.types import EpsilonStarEstimate

LANE = ("epsilon", "seed")


def list_lanes(result: SweepResult) -> list[dict[str, Any]]:
    """List lanes, one row each, seeds within attack strengths; the status is its name."""
    columns = {f.name: getattr(result.lanes, f.name) for f in dataclasses.fields(result.lanes)}
    status = columns.pop("status")
    return [
        {
            **head,
            "status": LaneStatus(int(status[place])).name,
            **{name: values[place].item() for name, values in columns.items()},
        }
        for place, head in _list_heads(result)
    ]


def list_history(result: SweepResult) -> list[dict[str, Any]]:
    """List lanes epoch by epoch, one row each; epochs are counted from 1. Empty without epochs."""
    num_epochs = min((values.shape[2] for values in result.history.values()), default=0)
    return [
        {
            **head,
            "epoch": t + 1,
            **{name: values[(*place, t)].item() for name, values in result.history.items()},
        }
        for place, head in _list_heads(result)
        for t in range(num_epochs)
    ]


def _list_heads(result: SweepResult) -> list[tuple[tuple[int, int], dict[str, Any]]]:
    """List the place [E, S] of every lane, and the columns that its rows begin with."""
    return [
        ((e, s), {"epsilon": float(epsilon), "seed": int(seed)})
        for e, epsilon in enumerate(result.epsilons)
        for s, seed in enumerate(result.seeds)
    ]


def describe_sweep(result: SweepResult) -> dict[str, Any]:
    """Describe all arrays of a sweep but its parameters, with named axes."""
    lanes = {
        f.name: (LANE, getattr(result.lanes, f.name)) for f in dataclasses.fields(result.lanes)
    }
    epochs = {
        f"history_{name}": ((*LANE, "epoch"), values) for name, values in result.history.items()
    }
    examples = {
        "example_losses": ((*LANE, "example"), result.example_losses),
        "clean_example_losses": (("seed", "example"), result.clean_example_losses),
    }
    if result.clean_distances is not None:
        examples["clean_distances"] = (LANE, result.clean_distances)
    seeds = {
        "threshold": (("seed",), result.thresholds),
        "epsilon_star": (("seed",), [solved.value for solved in result.epsilon_star.seeds]),
    }
    coords = {"epsilon": result.epsilons, "seed": result.seeds}
    if epochs:
        coords["epoch"] = np.arange(1, next(iter(result.history.values())).shape[2] + 1)
    attrs = describe_attributes(result.epsilon_star, result.config.attack.norm)
    return describe_arrays(coords, {**lanes, **epochs, **examples, **seeds}, attrs)


def describe_attributes(estimate: EpsilonStarEstimate, norm: str) -> dict[str, Any]:
    """Describe epsilon* over seeds, and what codes mean; NaN is what does not exist."""

    def number(value: float | None) -> float:
        return float("nan") if value is None else float(value)

    return {
        "epsilon_star": number(estimate.value),
        "epsilon_star_low": number(estimate.low),
        "epsilon_star_high": number(estimate.high),
        "epsilon_star_status": estimate.status.name,
        "norm": norm,
        "status_codes": ", ".join(f"{status.value} {status.name}" for status in LaneStatus),
    }
