"""Run a sweep: data and network in, lanes trained and evaluated, epsilon* solved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from phase_jax.environment import describe_environment
from phase_jax.sweep.assemble import solve_lanes, tabulate_lanes
from phase_jax.sweep.checkpoint import (
    CheckpointPlan,
    SweepFile,
    describe_identity,
    describe_origin,
)
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
from phase_jax.sweep.extend import extend_lanes, widen_config
from phase_jax.sweep.lanes import lay_out
from phase_jax.sweep.setup import order_lanes, prepare_sweep
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
    checkpoint: CheckpointPlan | None = None,
    stop_fn: Callable[[], int | None] | None = None,
    note_fn: Callable[[str], object] | None = None,
    earlier: SweepResult | None = None,
) -> SweepResult:
    """Train every attack strength and seed as lanes of one program; solve for epsilon*.

    Lanes are shared among all devices. A run that was stopped and goes on from its checkpoint gives
    the bits of an undisturbed one, on the same kind of device.

    Args:
      config: What to run. Attack strengths are radii in pixel space [0, 1].
      model: The user's own network in place of the named one: a `Model` or a Flax Linen module.
      data: The user's own images in place of the named data set.
      objective: The user's own loss `(logits [B, K], labels [B]) -> [B]`, or an `Objective`, in
        place of the named one.
      progress_fn: Called at the start of each phase and after each chunk of epochs.
      checkpoint: Where to save, and to go on from if something is there; None for neither. It is
        not removed at the end.
      stop_fn: Asked after each chunk of epochs; a signal's number makes the run save and stop.
      note_fn: Hears, a line each, what is unusual: a damaged checkpoint, say. The result has these
        lines as its `notes`.
      earlier: A finished run (see `load_run`) to add lanes to: the result has its attack strengths
        and seeds and those of `config`, and only what is new is trained. It equals, bit for bit, a
        run of the same lane width that had them all from the start.

    Returns:
      The result; `phase_jax.report.write_result` writes it to a directory.

    Raises:
      InputError: A field of the configuration, or an argument, is not allowed, or the checkpoint
        belongs to another run.
      InterruptedRunError: The checkpoint cannot be written.
      StoppedRunError: `stop_fn` asked for it.
    """
    clock = Clock()
    if earlier is not None:
        config = widen_config(config, earlier)
    sweep = prepare_sweep(config, model=model, data=data, objective=objective)
    environment = describe_environment()
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        if note_fn is not None:
            note_fn(text)

    def run(part: str, epsilons: np.ndarray, seeds: np.ndarray) -> LaneResults:
        lanes = {"epsilons": epsilons.tolist(), "seeds": seeds.tolist()}
        file = SweepFile(
            None if checkpoint is None else checkpoint.name_part(part),
            {**describe_identity(sweep.config, sweep.description), "lanes": lanes},
            describe_origin(environment),
            stop_fn=stop_fn,
            note_fn=note,
        )
        return run_lanes(sweep, epsilons, clock, seeds=seeds, file=file, progress_fn=progress_fn)

    if earlier is None:
        epsilons, seeds = np.asarray(sweep.config.epsilons), np.arange(sweep.config.num_seeds)
        results = run("", epsilons, seeds)
    else:
        results = extend_lanes(sweep, earlier, run)
    return solve_lanes(sweep, results, environment, clock, notes=tuple(notes))


def run_lanes(
    sweep: PreparedSweep,
    epsilons: Sequence[float] | np.ndarray,
    clock: Clock,
    *,
    seeds: Sequence[int] | np.ndarray | None = None,
    starts: Start | None = None,
    train: bool = True,
    file: SweepFile | None = None,
    progress_fn: Callable[[SweepProgress], None] | None = None,
) -> LaneResults:
    """Train and evaluate every seed at given attack strengths, as lanes of one program.

    Args:
      sweep: What to train; its own grid is not used.
      epsilons: Attack strengths, sorted; radii in pixel space [0, 1].
      clock: Takes the seconds spent.
      seeds: Numbers of the seeds; by default all of the configuration's.
      starts: Where each seed begins, whatever its attack strength, leaves [S, ...]; by default at
        its initialisation.
      train: Whether to train at all; lanes that are only evaluated have one epoch of history, which
        holds their evaluation, train loss included.
      file: Where to save, and to go on from.
      progress_fn: As in `run_sweep`.

    Returns:
      What the lanes ended with.
    """
    config, lane = sweep.config, sweep.lane
    strengths = np.asarray(epsilons)
    numbers = np.arange(config.num_seeds) if seeds is None else np.asarray(seeds)
    notify = make_notifier(
        config,
        progress_fn,
        clock,
        num_train=len(sweep.arrays.train_labels),
        epsilons=strengths,
        seeds=numbers,
    )
    lane_epsilons, keys = order_lanes(config, strengths, numbers)
    layout = lay_out(len(keys), config.lanes.width or 1, config.lanes.data_devices)
    arrays, tests = layout.share((sweep.arrays, sweep.tests))
    if starts is not None:
        starts = jax.tree.map(lambda leaf: np.concatenate([leaf] * len(strengths)), starts)
    notify("compile")
    training = start_lanes(lane, layout, keys, starts, clock)
    if file is not None:
        training = file.restore(layout, training)
    if training.num_epochs:
        notify("resume", training.num_epochs)
    if train:
        close_chunk = None if file is None else file.close_chunk
        training = train_lanes(
            config, lane, layout, training, lane_epsilons, arrays, clock, notify, close_chunk
        )
    states, history = training
    final = evaluate_lanes(
        config, lane, layout, states, lane_epsilons, arrays, tests, clock, notify
    )
    ended = layout.collect(
        states._replace(key=None, params=None, model_state=None, optimizer_state=None)
    )
    if not train:
        ended = ended._replace(selected_epoch=ended.selected_epoch + 1)
        history = _describe_as_epoch(final)
    return tabulate_lanes(strengths, ended, history, final)


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
