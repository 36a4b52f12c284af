"""Compile and run the lanes of a sweep, with a clock and progress reports."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.sweep.lanes import map_lanes

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.config import SweepConfig
    from phase_jax.training import EpochInfo, LaneFns, LaneState, TrainData


class SweepProgress(NamedTuple):
    """What `progress_fn` hears: when a phase begins, and after every chunk of epochs."""

    phase: str  # "compile", "train", "evaluate"
    num_lanes: int
    epoch: int
    num_epochs: int
    examples_per_second: float  # training examples of all lanes together
    seconds_left: float
    epsilons: np.ndarray  # [E]
    train_losses: np.ndarray  # [E] mean over seeds, latest epoch


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
) -> Callable[..., None]:
    """Make the function that reports progress: `notify(phase, epoch, train_losses [L])`.

    Args:
      config: Resolved configuration.
      progress_fn: Who hears of it, if anybody.
      clock: Seconds spent so far.
      num_train: Training images.
      epsilons: [E] of the lanes that are trained.
    """
    num_epochs, num_seeds = config.training.num_epochs, config.num_seeds
    num_lanes = len(epsilons) * num_seeds

    def notify(phase: str, epoch: int = 0, train_losses: np.ndarray | None = None) -> None:
        if progress_fn is None:
            return
        per_epoch = clock.seconds["train"] / epoch if epoch else math.nan
        means = np.full(len(epsilons), np.nan)
        if train_losses is not None:
            means = train_losses.reshape(len(epsilons), num_seeds).mean(axis=1)
        progress_fn(
            SweepProgress(
                phase=phase,
                num_lanes=num_lanes,
                epoch=epoch,
                num_epochs=num_epochs,
                examples_per_second=num_lanes * num_train / per_epoch,
                seconds_left=per_epoch * (num_epochs - epoch),
                epsilons=epsilons,
                train_losses=means,
            )
        )

    return notify


def _compile(fn: Callable[..., Any], arguments: tuple, clock: Clock, **options: Any) -> Any:
    since = time.perf_counter()
    compiled = jax.jit(fn, **options).lower(*arguments).compile()
    clock.add("compile", since)
    return compiled


def start_lanes(
    config: SweepConfig, lane: LaneFns, keys: jax.Array, starts: Start | None, clock: Clock
) -> LaneState:
    """Initialise lanes from their keys [L], or let them begin at given parameters.

    A lane that begins at given parameters draws other batches and noise than the training that may
    have led there.
    """
    states = _compile(map_lanes(lane.init, width=config.lanes.width or 1), (keys,), clock)(keys)
    if starts is None:
        return states
    params, model_state = jax.device_put(tuple(starts))
    return states._replace(
        key=jax.vmap(lambda key: jax.random.fold_in(key, 3))(keys),
        params=params,
        model_state=model_state,
        # The two are donated: no array may stand in a state twice.
        selected_params=jax.tree.map(jnp.copy, params),
        selected_model_state=jax.tree.map(jnp.copy, model_state),
    )


def train_lanes(
    config: SweepConfig,
    lane: LaneFns,
    states: LaneState,
    epsilons: jax.Array,
    arrays: TrainData,
    clock: Clock,
    notify: Callable[..., None],
) -> tuple[LaneState, EpochInfo]:
    """Train all lanes, returning to the host after each chunk of epochs only.

    Args:
      config: Resolved configuration.
      lane: Functions of one lane.
      states: Lanes before their first epoch; used up.
      epsilons: [L] radii.
      arrays: Images and labels.
      clock: Takes the seconds spent.
      notify: Hears of every chunk.

    Returns:
      The lanes after their last epoch, and what every epoch reported, [L, T].
    """
    width = config.lanes.width or 1
    programs: dict[int, Any] = {}
    infos: list[EpochInfo] = []
    done, num_epochs = 0, config.training.num_epochs
    while done < num_epochs:
        length = min(config.lanes.epochs_per_chunk or 1, num_epochs - done)
        if length not in programs:
            run = map_lanes(
                lambda state, epsilon, data, length=length: lane.run_epochs(
                    state, epsilon, data, length
                ),
                width=width,
                num_shared=1,
            )
            programs[length] = _compile(run, (states, epsilons, arrays), clock, donate_argnums=0)
        since = time.perf_counter()
        states, info = programs[length](states, epsilons, arrays)
        infos.append(jax.device_get(info))
        clock.add("train", since)
        done += length
        notify("train", done, infos[-1].train_loss[:, -1])
    return states, jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *infos)


def evaluate_lanes(
    config: SweepConfig,
    lane: LaneFns,
    states: LaneState,
    epsilons: jax.Array,
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
        epsilons,
        arrays,
        tests,
    )
    width = config.lanes.width or 1
    run = _compile(map_lanes(evaluate, width=width, num_shared=2), arguments, clock)
    since = time.perf_counter()
    final = jax.device_get(run(*arguments))
    clock.add("evaluate", since)
    return final
