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
) -> Callable[..., None]:
    """Make the function that reports progress: `notify(phase, epoch, train_losses [L])`."""
    num_epochs, num_seeds = config.training.num_epochs, config.num_seeds
    epsilons = np.asarray(config.epsilons)
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


def train_lanes(
    config: SweepConfig,
    lane: LaneFns,
    epsilons: jax.Array,
    keys: jax.Array,
    arrays: TrainData,
    clock: Clock,
    notify: Callable[..., None],
) -> tuple[LaneState, EpochInfo]:
    """Train all lanes, returning to the host after each chunk of epochs only."""
    width = config.lanes.width or 1
    notify("compile")
    init = _compile(map_lanes(lane.init, width=width), (keys,), clock)
    states = init(keys)
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
