"""Add attack strengths and seeds to a finished run: only the new lanes are trained."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from phase_jax.sweep.assemble import join_lanes, join_seeds, take_lanes
from phase_jax.sweep.checkpoint import describe_identity
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.config import SweepConfig
    from phase_jax.sweep.result import LaneResults, SweepResult
    from phase_jax.sweep.setup import PreparedSweep

GROWING_FIELDS = ("epsilon_grid", "num_seeds")


def widen_config(config: SweepConfig, earlier: SweepResult) -> SweepConfig:
    """Put the lanes of a finished run and those asked for into one configuration.

    Args:
      config: Asks for attack strengths and a number of seeds, those of the run included or not.
      earlier: The finished run.

    Returns:
      The configuration of the run with all lanes, at the chunk width of the finished one.

    Raises:
      InputError: There are fewer seeds than the run has, or nothing is new.
    """
    before = earlier.config
    if config.num_seeds < before.num_seeds:
        raise InputError(
            f"--seeds: {config.num_seeds} is less than the run has; allowed: {before.num_seeds} or "
            "more"
        )
    epsilons = tuple(sorted({*config.epsilons, *before.epsilons}))
    if epsilons == before.epsilons and config.num_seeds == before.num_seeds:
        raise InputError(
            "--extend: nothing is new; give attack strengths (--eps-grid) that the run lacks, or "
            f"more --seeds than {before.num_seeds}"
        )
    lanes = config.lanes
    if lanes.width is None:
        lanes = dataclasses.replace(lanes, width=before.lanes.width)
    return dataclasses.replace(config, epsilon_grid=epsilons, lanes=lanes)


def extend_lanes(
    sweep: PreparedSweep,
    earlier: SweepResult,
    run_fn: Callable[[str, np.ndarray, np.ndarray], LaneResults],
) -> LaneResults:
    """Train what a finished run lacks, and put all lanes together.

    Args:
      sweep: With the widened configuration.
      earlier: The finished run.
      run_fn: `run_fn(part, epsilons, seeds)` trains every one of the seeds at every one of the
        attack strengths; `part` is a name for what it saves.

    Returns:
      The lanes of the widened configuration.

    Raises:
      InputError: The run had other settings than the attack strengths and seeds.
    """
    _check_settings(sweep, earlier)
    config = sweep.config
    lanes = take_lanes(earlier)
    more_seeds = np.arange(earlier.config.num_seeds, config.num_seeds)
    if len(more_seeds):
        lanes = join_seeds([lanes, run_fn("seeds", lanes.epsilons, more_seeds)])
    more_epsilons = np.setdiff1d(config.epsilons, lanes.epsilons)
    if len(more_epsilons):
        more = run_fn("epsilons", more_epsilons, np.arange(config.num_seeds))
        lanes = join_lanes([lanes, more])
    return lanes


def _check_settings(sweep: PreparedSweep, earlier: SweepResult) -> None:
    """Refuse to mix lanes of different settings."""
    found = describe_identity(earlier.config, earlier.description)
    wanted = describe_identity(sweep.config, sweep.description)
    differing = [
        f"{field} is {found.get(field)!r} there but {value!r} here"
        for field, value in wanted.items()
        if field not in GROWING_FIELDS and found.get(field) != value
    ]
    if differing:
        raise InputError(
            f"--out: {', '.join(differing)}; allowed: the settings of the finished run"
        )
