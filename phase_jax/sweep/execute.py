"""Compile and run the lanes of a sweep, with a clock and progress reports."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.compilation import choose_compiler_options
from phase_jax.sweep.checkpoint import Training
from phase_jax.training import EpochInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.config import SweepConfig
    from phase_jax.sweep.lanes import LaneLayout
    from phase_jax.training import LaneFns, LaneState, TrainData


class SweepProgress(NamedTuple):
    """What `progress_fn` hears: when a phase begins, after every chunk of epochs, when it saved."""

    phase: str  # "compile", "resume", "train", "save", "evaluate"
    num_lanes: int
    epoch: int
    num_epochs: int
    examples_per_second: float  # training examples of all lanes together
    seconds_left: float
    epsilons: np.ndarray  # [E]
    seeds: np.ndarray  # [S]
    epochs: EpochInfo | None = None  # [E, S, t] of the chunk that a report of "train" is of

    @property
    def train_losses(self) -> np.ndarray:
        """Mean over seeds in the latest epoch, [E]; NaN before the first."""
        if self.epochs is None:
            return np.full(len(self.epsilons), np.nan)
        return np.asarray(self.epochs.train_loss)[:, :, -1].mean(axis=1)


class Start(NamedTuple):
    """Where lanes begin: what another training left."""

    params: Any  # leaves [L, ...]
    model_state: Any  # likewise


class Final(NamedTuple):
    """What a lane's selected parameters achieve on everything."""

    train_loss: Any  # the objective's own, as all losses
    train_cross_entropy: Any
    train_accuracy: Any
    example_losses: Any  # [N]
    cross_entropy: Any
    accuracy: Any
    clean_example_losses: Any  # [N]
    clean_example_cross_entropies: Any  # [N]
    clean_accuracy: Any
    num_predicted_classes: Any


class Clock:
    """Adds up the seconds spent in each phase."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.seconds = {"compile": 0.0, "train": 0.0, "evaluate": 0.0}

    def add(self, phase: str, since: float) -> None:
        """Add the seconds since a moment to a phase."""
        self.seconds[phase] += time.perf_counter() - since

    def finish(self) -> dict[str, float]:
        """Return the seconds of every phase and the total."""
        return {**self.seconds, "total": time.perf_counter() - self.start}


def make_notifier(
    config: SweepConfig,
    progress_fn: Callable[[SweepProgress], None] | None,
    clock: Clock,
    *,
    num_train: int,
    epsilons: np.ndarray,
    seeds: np.ndarray,
) -> Callable[..., None]:
    """Make the function that reports progress: `notify(phase, epoch, num_run, info [L, t])`.

    `num_run` of the epochs were run by this process; the others came from a checkpoint.

    Args:
      config: Resolved configuration.
      progress_fn: Who hears of it, if anybody.
      clock: Seconds spent so far.
      num_train: Training images.
      epsilons: [E] of the lanes that are trained.
      seeds: [S], likewise.
    """
    num_epochs = config.training.num_epochs
    num_lanes = len(epsilons) * len(seeds)

    def notify(phase: str, epoch: int = 0, num_run: int = 0, info: EpochInfo | None = None) -> None:
        if progress_fn is None:
            return
        per_epoch = clock.seconds["train"] / num_run if num_run else math.nan
        shape = (len(epsilons), len(seeds), -1)
        progress_fn(
            SweepProgress(
                phase=phase,
                num_lanes=num_lanes,
                epoch=epoch,
                num_epochs=num_epochs,
                examples_per_second=num_lanes * num_train / per_epoch,
                seconds_left=per_epoch * (num_epochs - epoch),
                epsilons=epsilons,
                seeds=seeds,
                epochs=jax.tree.map(lambda values: np.asarray(values).reshape(shape), info),
            )
        )

    return notify


def _compile(fn: Callable[..., Any], arguments: tuple, clock: Clock, **options: Any) -> Any:
    since = time.perf_counter()
    compiler_options = choose_compiler_options(jax.default_backend())
    program = jax.jit(fn, compiler_options=compiler_options, **options)
    compiled = program.lower(*arguments).compile()
    clock.add("compile", since)
    return compiled


def start_lanes(
    lane: LaneFns, layout: LaneLayout, keys: jax.Array, start: Start | None, clock: Clock
) -> Training:
    """Initialise lanes from their keys [L], or let them begin at given parameters.

    A lane that begins at given parameters draws other batches and noise than the training that may
    have led there.
    """
    spread_keys = layout.spread(keys)
    states = _compile(layout.map(lane.init), (spread_keys,), clock)(spread_keys)
    nothing = np.zeros((layout.num_lanes, 0), np.float32)
    history = EpochInfo(*[nothing] * len(EpochInfo._fields))
    if start is None:
        return Training(states, history)
    params, model_state = layout.spread(tuple(start))
    states = states._replace(
        key=layout.spread(jax.vmap(lambda key: jax.random.fold_in(key, 3))(keys)),
        params=params,
        model_state=model_state,
        # The two are donated: no array may stand in a state twice.
        selected_params=jax.tree.map(jnp.copy, params),
        selected_model_state=jax.tree.map(jnp.copy, model_state),
    )
    return Training(states, history)


def train_lanes(
    config: SweepConfig,
    lane: LaneFns,
    layout: LaneLayout,
    training: Training,
    epsilons: np.ndarray,
    arrays: TrainData,
    clock: Clock,
    notify: Callable[..., None],
    close_chunk: Callable[..., None] | None,
) -> Training:
    """Train lanes to their last epoch, returning to the host after each chunk of epochs only.

    Args:
      config: Resolved configuration.
      lane: Functions of one lane.
      layout: How lanes lie on the devices.
      training: Lanes on the devices, before their first epoch or after any other; used up.
      epsilons: [L] radii.
      arrays: Images and labels, on the devices.
      clock: Takes the seconds spent.
      notify: Hears of every chunk.
      close_chunk: Called after every chunk with the layout, the lanes, the number of epochs of the
        whole training and `notify`; saves, or raises to stop.

    Returns:
      The lanes after their last epoch.
    """
    shared = (layout.spread(epsilons), arrays)
    programs: dict[int, Any] = {}
    first, num_epochs = training.num_epochs, config.training.num_epochs
    while training.num_epochs < num_epochs:
        length = min(config.lanes.epochs_per_chunk, num_epochs - training.num_epochs)
        if length not in programs:
            run = layout.map(
                lambda state, epsilon, data, length=length: lane.run_epochs(
                    state, epsilon, data, length
                ),
                num_shared=1,
            )
            programs[length] = _compile(run, (training.states, *shared), clock, donate_argnums=0)
        since = time.perf_counter()
        states, info = programs[length](training.states, *shared)
        info = layout.collect(info)
        clock.add("train", since)
        history = jax.tree.map(
            lambda before, new: np.concatenate([before, new], axis=1), training.history, info
        )
        training = Training(states, history)
        done = training.num_epochs
        notify("train", done, done - first, info)
        if close_chunk is not None:
            close_chunk(layout, training, num_epochs, notify)
    return training


def evaluate_lanes(
    config: SweepConfig,
    lane: LaneFns,
    layout: LaneLayout,
    states: LaneState,
    epsilons: np.ndarray,
    arrays: TrainData,
    tests: tuple[jax.Array, jax.Array],
    clock: Clock,
    notify: Callable[..., None],
) -> Final:
    """Evaluate every lane's selected parameters on all training and all test images."""

    def evaluate(key, params, state, epsilon, data, test):
        train_key, test_key = jax.random.split(jax.random.fold_in(key, 2))
        train = lane.evaluate(
            params, state, data.train_images, data.train_labels, train_key, epsilon
        )
        images, labels = test
        result = lane.evaluate(params, state, images, labels, test_key, epsilon)
        predictions = result.clean_prediction
        return Final(
            train_loss=train.loss.mean(),
            train_cross_entropy=train.cross_entropy.mean(),
            train_accuracy=train.correct.mean(dtype=jnp.float32),
            example_losses=result.loss,
            cross_entropy=result.cross_entropy.mean(),
            accuracy=result.correct.mean(dtype=jnp.float32),
            clean_example_losses=result.clean_loss,
            clean_example_cross_entropies=result.clean_cross_entropy,
            clean_accuracy=(predictions == labels).mean(dtype=jnp.float32),
            num_predicted_classes=1 + (jnp.diff(jnp.sort(predictions)) > 0).sum(),
        )

    notify("evaluate", config.training.num_epochs)
    arguments = (
        states.key,
        states.selected_params,
        states.selected_model_state,
        layout.spread(epsilons),
        arrays,
        tests,
    )
    run = _compile(layout.map(evaluate, num_shared=2), arguments, clock)
    since = time.perf_counter()
    final = layout.collect(run(*arguments))
    clock.add("evaluate", since)
    return final
