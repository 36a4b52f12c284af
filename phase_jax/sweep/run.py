"""Run a sweep: data and network in, lanes trained and evaluated, epsilon* solved."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.config import SweepConfig, validate_config
from phase_jax.data import fingerprint_dataset, hold_out_validation, load_dataset
from phase_jax.losses import build_objective
from phase_jax.models import Model, build_model, fingerprint_parameters, wrap_linen
from phase_jax.models.build import resolve_conv_form
from phase_jax.solver import estimate_epsilon_star
from phase_jax.sweep.environment import describe_environment
from phase_jax.sweep.lanes import choose_lane_width, map_lanes
from phase_jax.sweep.result import LaneTable, SweepResult
from phase_jax.training import EpochInfo, LaneState, TrainData, make_lane_fns
from phase_jax.types import Dataset, InputError, LaneStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.losses import Objective
    from phase_jax.training import LaneFns

NUM_RETURNS = 20
ALLOWED_MODEL = "a Model, or a Flax Linen module"


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


class _Final(NamedTuple):
    """What a lane's selected parameters achieve on everything."""

    train_loss: Any
    train_accuracy: Any
    example_losses: Any  # [N]
    accuracy: Any
    clean_example_losses: Any  # [N]
    clean_accuracy: Any
    num_predicted_classes: Any


class _Clock:
    """Adds up the seconds spent in each phase."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.seconds = {"compile": 0.0, "train": 0.0, "evaluate": 0.0}

    def add(self, phase: str, since: float) -> None:
        self.seconds[phase] += time.perf_counter() - since

    def finish(self) -> dict[str, float]:
        return {**self.seconds, "total": time.perf_counter() - self.start}


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
    validate_config(config)
    clock = _Clock()
    dataset = _prepare_data(config, data)
    train_set, selection = _split_selection(config, dataset)
    objective = build_objective(config.training.objective if objective is None else objective)
    network = _prepare_model(config, dataset, model)
    config, params_shape = _resolve(config, dataset, network, train_set)
    lane = make_lane_fns(
        config,
        network,
        objective,
        num_train=len(train_set.train_labels),
        pixel_scale=dataset.pixel_scale,
    )
    arrays = jax.device_put(TrainData(train_set.train_images, train_set.train_labels, *selection))
    tests = jax.device_put((dataset.test_images, dataset.test_labels))
    epsilons, keys = _lay_out_lanes(config)
    notify = _make_notifier(config, progress_fn, clock, num_train=len(train_set.train_labels))
    states, history = _train_lanes(config, lane, epsilons, keys, arrays, clock, notify)
    final = _evaluate_lanes(config, lane, states, epsilons, arrays, tests, clock, notify)
    return _assemble(
        config,
        states,
        history,
        final,
        description={
            "data": {
                "name": dataset.name,
                "num_train": len(train_set.train_labels),
                "num_test": len(dataset.test_labels),
                "num_selection": len(selection[1]),
                "num_classes": dataset.num_classes,
                "input_shape": list(dataset.input_shape),
                "sha256": fingerprint_dataset(dataset),
            },
            "model": {"name": network.name, **fingerprint_parameters(params_shape)},
            "objective": objective.name,
        },
        clock=clock,
    )


def _prepare_data(config: SweepConfig, data: Dataset | None) -> Dataset:
    if data is None:
        return load_dataset(
            config.data.name,
            data_dir=config.data.data_dir,
            num_train=config.data.num_train,
            num_test=config.data.num_test,
            seed=config.seed,
        )
    if not isinstance(data, Dataset):
        raise InputError(f"data: {type(data).__name__} is not allowed; allowed: a Dataset")
    return data


def _split_selection(
    config: SweepConfig, dataset: Dataset
) -> tuple[Dataset, tuple[np.ndarray, np.ndarray]]:
    """Decide which images train and which choose the epoch."""
    if config.data.selection == "validation":
        train_set, images, labels = hold_out_validation(
            dataset, config.data.num_selection, seed=config.seed
        )
    else:
        order = np.random.default_rng(config.seed).permutation(len(dataset.test_labels))
        places = np.sort(order[: config.data.num_selection])
        train_set = dataset
        images, labels = dataset.test_images[places], dataset.test_labels[places]
    num_train = len(train_set.train_labels)
    if config.training.batch_size > num_train:
        raise InputError(
            f"--batch-size: {config.training.batch_size} is larger than the {num_train} training "
            f"images; allowed: 1 to {num_train}"
        )
    return train_set, (images, labels)


def _prepare_model(config: SweepConfig, dataset: Dataset, model: Any) -> Model:
    if isinstance(model, Model):
        return model
    if model is not None:
        if not hasattr(model, "apply") or not hasattr(model, "init"):
            raise InputError(
                f"model: {type(model).__name__} is not allowed; allowed: {ALLOWED_MODEL}"
            )
        return wrap_linen(model, dataset.input_shape)
    options: dict[str, Any] = {"widths": config.model.widths}
    if config.model.name != "mlp":
        options = {"hidden": config.model.hidden, "conv_form": config.model.conv_form}
    return build_model(
        config.model.name,
        num_classes=dataset.num_classes,
        input_shape=dataset.input_shape,
        **options,
    )


def _resolve(
    config: SweepConfig, dataset: Dataset, network: Model, train_set: Dataset
) -> tuple[SweepConfig, Any]:
    """Fill in every automatic choice and check that the network fits the data."""
    params_shape, state_shape = jax.eval_shape(network.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((2, *dataset.input_shape), jnp.float32)
    logits, _ = jax.eval_shape(
        lambda params, state, x: network.apply(params, state, x, train=False),
        params_shape,
        state_shape,
        image,
    )
    if logits.shape != (2, dataset.num_classes):
        raise InputError(
            f"model: gives logits of shape {list(logits.shape)} for 2 images; allowed: "
            f"[2, {dataset.num_classes}], one logit a class"
        )
    num_epochs = config.training.num_epochs
    num_lanes = len(config.epsilons) * config.num_seeds
    lanes = config.lanes
    if lanes.width is None:
        width = choose_lane_width(num_lanes, params_shape, jax.default_backend())
        lanes = dataclasses.replace(lanes, width=width)
    if lanes.epochs_per_chunk is None:
        longest = math.ceil(num_epochs / NUM_RETURNS)
        chunk = max(c for c in range(1, longest + 1) if num_epochs % c == 0)
        lanes = dataclasses.replace(lanes, epochs_per_chunk=chunk)
    form = resolve_conv_form(config.model.conv_form)
    config = dataclasses.replace(
        config,
        epsilon_grid=config.epsilons,
        lanes=lanes,
        data=dataclasses.replace(
            config.data, name=dataset.name, num_train=len(train_set.train_labels)
        ),
        model=dataclasses.replace(config.model, conv_form=form),
        attack=dataclasses.replace(config.attack, step_size=config.attack.step_length()),
    )
    return config, params_shape


def _lay_out_lanes(config: SweepConfig) -> tuple[jax.Array, jax.Array]:
    """Order lanes as (E, S); a seed has the same key at every attack strength."""
    seed_keys = jax.vmap(lambda s: jax.random.fold_in(jax.random.key(config.seed), s))(
        jnp.arange(config.num_seeds)
    )
    epsilons = jnp.asarray(config.epsilons, jnp.float32)
    keys = jnp.tile(seed_keys, len(config.epsilons))
    return jnp.repeat(epsilons, config.num_seeds), keys


def _make_notifier(
    config: SweepConfig,
    progress_fn: Callable[[SweepProgress], None] | None,
    clock: _Clock,
    *,
    num_train: int,
) -> Callable[..., None]:
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


def _compile(fn: Callable[..., Any], arguments: tuple, clock: _Clock, **options: Any) -> Any:
    since = time.perf_counter()
    compiled = jax.jit(fn, **options).lower(*arguments).compile()
    clock.add("compile", since)
    return compiled


def _train_lanes(
    config: SweepConfig,
    lane: LaneFns,
    epsilons: jax.Array,
    keys: jax.Array,
    arrays: TrainData,
    clock: _Clock,
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


def _evaluate_lanes(
    config: SweepConfig,
    lane: LaneFns,
    states: LaneState,
    epsilons: jax.Array,
    arrays: TrainData,
    tests: tuple[jax.Array, jax.Array],
    clock: _Clock,
    notify: Callable[..., None],
) -> _Final:
    """Evaluate every lane's selected parameters on all training and all test images."""

    def evaluate(key, params, state, epsilon, data, test):
        train_key, test_key = jax.random.split(jax.random.fold_in(key, 2))
        train = lane.evaluate(
            params, state, data.train_images, data.train_labels, train_key, epsilon
        )
        images, labels = test
        result = lane.evaluate(params, state, images, labels, test_key, epsilon)
        predictions = result.clean_prediction
        return _Final(
            train_loss=train.loss.mean(),
            train_accuracy=train.correct.mean(dtype=jnp.float32),
            example_losses=result.loss,
            accuracy=result.correct.mean(dtype=jnp.float32),
            clean_example_losses=result.clean_loss,
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


def _assemble(
    config: SweepConfig,
    states: LaneState,
    history: EpochInfo,
    final: _Final,
    *,
    description: dict[str, Any],
    clock: _Clock,
) -> SweepResult:
    """Bring everything into [E, S] order and solve for epsilon*."""
    shape = (len(config.epsilons), config.num_seeds)

    def by_lane(values: Any) -> np.ndarray:
        values = np.asarray(values)
        return values.reshape(*shape, *values.shape[1:])

    lanes = _tabulate(by_lane, states, history, final)
    counts = lanes.status == LaneStatus.OK
    clean_example_losses = by_lane(final.clean_example_losses)[0]
    clean_example_losses = np.where(counts[0][:, None], clean_example_losses, np.nan)
    epsilons = np.asarray(config.epsilons)
    curves = {"logged": lanes.train_loss, "evaluated": lanes.evaluated_train_loss}
    estimates = {
        name: estimate_epsilon_star(
            epsilons,
            np.where(counts, curve, np.nan).T,
            clean_example_losses,
            method=config.solver.method,
            confidence=config.solver.confidence,
            num_resamples=config.solver.num_resamples,
            seed=config.seed,
        )
        for name, curve in curves.items()
    }
    chosen = config.solver.train_loss
    other = "evaluated" if chosen == "logged" else "logged"
    return SweepResult(
        config=config,
        epsilons=epsilons,
        seeds=np.arange(config.num_seeds),
        lanes=lanes,
        history={name: by_lane(values) for name, values in history._asdict().items()},
        clean_example_losses=clean_example_losses,
        example_losses=by_lane(final.example_losses),
        thresholds=clean_example_losses.mean(axis=1),
        epsilon_star=estimates[chosen],
        epsilon_star_other=estimates[other],
        params=jax.tree.map(by_lane, jax.device_get(states.selected_params)),
        model_state=jax.tree.map(by_lane, jax.device_get(states.selected_model_state)),
        description=description,
        environment=describe_environment(),
        seconds=clock.finish(),
    )


def _tabulate(
    by_lane: Callable[[Any], np.ndarray], states: LaneState, history: EpochInfo, final: _Final
) -> LaneTable:
    """Collect one value a lane; a lane without a selected epoch has NaN."""
    selected = by_lane(states.selected_epoch)
    place = np.maximum(selected - 1, 0)[..., None]

    def at_selected(values: Any) -> np.ndarray:
        chosen = np.take_along_axis(by_lane(values), place, axis=2)[..., 0]
        return np.where(selected > 0, chosen, np.nan)

    def evaluated(values: Any) -> np.ndarray:
        return np.where(selected > 0, by_lane(values), np.nan)

    status = np.where(by_lane(final.num_predicted_classes) == 1, LaneStatus.COLLAPSED, LaneStatus.OK)
    status = np.where(by_lane(states.diverged), LaneStatus.DIVERGED, status)
    return LaneTable(
        status=status,
        selected_epoch=selected,
        train_loss=at_selected(history.train_loss),
        train_accuracy=at_selected(history.train_accuracy),
        test_loss=at_selected(history.test_loss),
        test_accuracy=at_selected(history.test_accuracy),
        evaluated_train_loss=evaluated(final.train_loss),
        evaluated_train_accuracy=evaluated(final.train_accuracy),
        evaluated_test_loss=evaluated(by_lane(final.example_losses).mean(axis=2).reshape(-1)),
        evaluated_test_accuracy=evaluated(final.accuracy),
        clean_test_loss=evaluated(by_lane(final.clean_example_losses).mean(axis=2).reshape(-1)),
        clean_test_accuracy=evaluated(final.clean_accuracy),
    )
