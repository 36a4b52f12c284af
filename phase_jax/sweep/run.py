"""Run a sweep: data and network in, lanes trained and evaluated, epsilon* solved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from phase_jax.environment import describe_environment
from phase_jax.sweep.assemble import solve_lanes, tabulate_lanes
from phase_jax.sweep.execute import (
    Clock,
    Final,
    Start,
    SweepProgress,
    evaluate_lanes,
    make_notifier,
    start_lanes,
    train_lanes,
)
from phase_jax.sweep.setup import lay_out_lanes, prepare_sweep
from phase_jax.training import EpochInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from phase_jax.config import SweepConfig
    from phase_jax.losses import Objective
    from phase_jax.models import Model
    from phase_jax.sweep.result import LaneResults, SweepResult
    from phase_jax.sweep.setup import PreparedSweep
    from phase_jax.types import Dataset


def run_sweep(
    config: SweepConfig,
    *,
    model: Model | Any = None,
    data: Dataset | None = None,
    objective: str | Objective | Callable[..., Any] | None = None,
    progress_fn: Callable[[SweepProgress], None] | None = None,
) -> SweepResult:
    """Train every attack strength and seed as lanes of one program; solve for epsilon*.

    Args:
      config: What to run. Attack strengths are radii in pixel space [0, 1].
      model: The user's own network in place of the named one: a `Model` or a Flax Linen module.
      data: The user's own images in place of the named data set.
      objective: The user's own loss `(logits [B, K], labels [B]) -> [B]`, or an `Objective`, in
        place of the named one.
      progress_fn: Called at the start of each phase and after each chunk of epochs.

    Returns:
      The result; `phase_jax.report.write_result` writes it to a directory.

    Raises:
      InputError: A field of the configuration, or an argument, is not allowed.
    """
    clock = Clock()
    sweep = prepare_sweep(config, model=model, data=data, objective=objective)
    environment = describe_environment()
    results = run_lanes(sweep, sweep.config.epsilons, clock, progress_fn=progress_fn)
    return solve_lanes(sweep, results, environment, clock)


def run_lanes(
    sweep: PreparedSweep,
    epsilons: Sequence[float],
    clock: Clock,
    *,
    starts: LaneResults | None = None,
    train: bool = True,
    progress_fn: Callable[[SweepProgress], None] | None = None,
) -> LaneResults:
    """Train and evaluate every seed at given attack strengths, as lanes of one program.

    Args:
      sweep: What to train; its own grid is not used.
      epsilons: Attack strengths, sorted; radii in pixel space [0, 1].
      clock: Takes the seconds spent.
      starts: Lanes at one attack strength, whose parameters every lane of the same seed begins at;
        by default every seed's initialisation.
      train: Whether to train at all; lanes that are only evaluated have one epoch of history, which
        holds their evaluation, train loss included.
      progress_fn: As in `run_sweep`.

    Returns:
      What the lanes ended with.
    """
    config, lane = sweep.config, sweep.lane
    strengths = np.asarray(epsilons)
    notify = make_notifier(
        config,
        progress_fn,
        clock,
        num_train=len(sweep.arrays.train_labels),
        epsilons=strengths,
    )
    arrays, tests = jax.device_put((sweep.arrays, sweep.tests))
    lane_epsilons, keys = lay_out_lanes(config, strengths)
    start = None
    if starts is not None:
        start = Start(*_repeat_seeds((starts.params, starts.model_state), len(strengths)))
    notify("compile")
    states, history = start_lanes(config, lane, keys, start, clock), None
    if train:
        states, history = train_lanes(config, lane, states, lane_epsilons, arrays, clock, notify)
    final = evaluate_lanes(config, lane, states, lane_epsilons, arrays, tests, clock, notify)
    if history is None:
        states = states._replace(selected_epoch=states.selected_epoch + 1)
        history = _describe_as_epoch(final)
    return tabulate_lanes(strengths, states, history, final)


def _repeat_seeds(tree: Any, num_epsilons: int) -> Any:
    """Give the lanes of every attack strength the leaves [1, S, ...] of their seeds: [L, ...]."""
    return jax.tree.map(lambda leaf: np.concatenate([leaf[0]] * num_epsilons), tree)


def _describe_as_epoch(final: Final) -> EpochInfo:
    """Describe an evaluation as the one epoch of lanes that were not trained, [L, 1]."""
    return EpochInfo(
        train_loss=final.train_loss[:, None],
        train_accuracy=final.train_accuracy[:, None],
        test_loss=final.example_losses.mean(axis=1)[:, None],
        test_accuracy=final.accuracy[:, None],
        train_cross_entropy=final.train_cross_entropy[:, None],
        test_cross_entropy=final.cross_entropy[:, None],
    )
