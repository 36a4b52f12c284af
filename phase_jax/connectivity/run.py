"""Connect pairs of networks of a run: train their curves, measure curves and planes."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.connectivity.curve import WEIGH_FNS, Networks, weigh_line
from phase_jax.connectivity.measure import CurveData, Images, Measures, make_measure_network
from phase_jax.connectivity.pairs import choose_pairs
from phase_jax.connectivity.plane import build_plane, lay_out_grid, weigh_place
from phase_jax.connectivity.result import ConnectivityResult, summarise_pairs
from phase_jax.connectivity.settings import ConnectivitySettings, validate_settings
from phase_jax.connectivity.train import make_train_curve
from phase_jax.environment import describe_environment
from phase_jax.sweep.lanes import choose_lane_width, map_lanes
from phase_jax.sweep.reopen import reopen_data, reopen_model, take_lane
from phase_jax.sweep.setup import split_selection

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.config import TrainingConfig
    from phase_jax.connectivity.pairs import Pair
    from phase_jax.models import Model
    from phase_jax.sweep.result import SweepResult
    from phase_jax.types import Dataset

MAX_WIDTH = 8
"""Networks measured at once where nothing else is asked for: each holds its own activations."""
SGD_RATE = 0.015
"""Learning rate of a curve whose ends were not trained by SGD: Garipov et al.'s for VGG."""


def run_connectivity(
    result: SweepResult,
    settings: ConnectivitySettings | None = None,
    *,
    model: Any = None,
    data: Dataset | None = None,
    data_dir: str | None = None,
    progress_fn: Callable[[str], None] | None = None,
) -> ConnectivityResult:
    """Connect pairs of networks of a run by curves of low loss; every pair is a lane.

    Args:
      result: The run, as from `run_sweep` or `load_run`.
      settings: Which pairs, which curve, where it is measured.
      model: The user's own network, where the run had one.
      data: The user's own images, where the run had such.
      data_dir: Directory with prepared data, where they have moved since the run.
      progress_fn: Called with a line of text at the start of each phase.

    Returns:
      The result.

    Raises:
      InputError: A setting is not allowed, or data or network are not the run's.
    """
    settings = validate_settings(settings or ConnectivitySettings())
    notify = progress_fn or (lambda text: None)
    begin = time.perf_counter()
    pairs, cautions = choose_pairs(result, settings)
    dataset = reopen_data(result, data, data_dir=data_dir)
    network = reopen_model(result, dataset, model)
    settings, training = _resolve(result, settings)
    arrays = jax.device_put(_choose_images(result, dataset, settings))
    starts, ends = (_stack_lanes(result, [pair[i] for pair in pairs]) for i in (0, 1))
    notify(f"training {len(pairs)} curves of {training.num_epochs} epochs")
    train = make_train_curve(
        network, training, curve=settings.curve, pixel_scale=dataset.pixel_scale
    )
    keys = jax.random.split(jax.random.key(settings.seed), len(pairs))
    width = choose_lane_width(len(pairs), take_lane(result.params, 0, 0), jax.default_backend())
    bends, training_losses = jax.jit(map_lanes(train, width=width, num_shared=2))(
        keys, starts[0], ends[0], starts[1], *arrays.train
    )
    training_losses = np.asarray(training_losses)
    trained = time.perf_counter()
    measure_pair, groups = make_measure_pair(
        network,
        settings,
        batch_size=result.config.evaluation.batch_size,
        pixel_scale=dataset.pixel_scale,
    )
    num_networks = sum(math.prod(shape) for shape in groups.values())
    notify(f"measuring {len(pairs)} x {num_networks} networks")
    measured, grid, places = jax.device_get(
        jax.jit(map_lanes(measure_pair, width=1, num_shared=1))(
            starts[0], bends, ends[0], starts[1], arrays
        )
    )
    return _assemble(
        result,
        settings,
        pairs,
        cautions,
        training_losses=training_losses,
        bends=jax.device_get(bends),
        parts=_split(measured, groups),
        grid=grid,
        anchor_places=places,
        seconds={
            "train": trained - begin,
            "measure": time.perf_counter() - trained,
            "total": time.perf_counter() - begin,
        },
    )


def make_measure_pair(
    model: Model, settings: ConnectivitySettings, *, batch_size: int, pixel_scale: float
) -> tuple[Callable[..., Any], dict[str, tuple[int, ...]]]:
    """Make a pure function that measures everything around one pair.

    Args:
      model: The network.
      settings: Resolved.
      batch_size: Images measured at once.
      pixel_scale: Stored value that stands for 1.0.

    Returns:
      `measure(start, bend, end, state, data) -> (Measures, grid [2, G], anchors [3, 2])`, whose
      measures have one leading axis over all networks, and how that axis falls into groups: name
      -> shape.
    """
    size = settings.grid_size
    shapes = {
        "curve": (settings.num_points,),
        "line": (settings.num_points,),
        "plane": (size, size),
        "anchors": (3,),
    }
    measure_network = make_measure_network(model, batch_size=batch_size, pixel_scale=pixel_scale)
    measure_all = map_lanes(measure_network, width=settings.width or 1, num_shared=3)
    points = jnp.linspace(0, 1, settings.num_points)

    def measure(start: Any, bend: Any, end: Any, state: Any, data: CurveData):
        networks = Networks(start, bend, end)
        plane = build_plane(networks)
        along, up = lay_out_grid(plane, size, settings.margin)
        places = jnp.stack(jnp.meshgrid(along, up, indexing="ij"), axis=-1).reshape(-1, 2)
        places = jnp.concatenate([places, plane.anchors])
        weights = [
            jax.vmap(WEIGH_FNS[settings.curve])(points),
            jax.vmap(weigh_line)(points),
            jax.vmap(lambda place: weigh_place(plane, place))(places),
        ]
        measures = measure_all(jnp.concatenate(weights), networks, state, data)
        return measures, jnp.stack([along, up]), plane.anchors

    return measure, shapes


def _resolve(
    result: SweepResult, settings: ConnectivitySettings
) -> tuple[ConnectivitySettings, TrainingConfig]:
    """Fill in every automatic choice."""
    run = result.config.training
    seeds = settings.seeds or tuple(int(seed) for seed in result.seeds)
    params = take_lane(result.params, 0, 0)
    default_rate = run.learning_rate if run.optimizer == "sgd" else SGD_RATE
    settings = dataclasses.replace(
        settings,
        to_epsilons=settings.to_epsilons or tuple(float(e) for e in result.epsilons),
        seeds=seeds,
        pairing=settings.pairing or ("other" if len(seeds) > 1 else "same"),
        num_epochs=settings.num_epochs or run.num_epochs,
        learning_rate=settings.learning_rate or default_rate,
        width=settings.width or choose_lane_width(MAX_WIDTH, params, jax.default_backend()),
    )
    training = dataclasses.replace(
        run, num_epochs=settings.num_epochs, learning_rate=settings.learning_rate
    )
    return settings, training


def _choose_images(
    result: SweepResult, dataset: Dataset, settings: ConnectivitySettings
) -> CurveData:
    """Take the run's training images, and those to measure on."""
    train_set, _ = split_selection(result.config, dataset)
    train = Images(train_set.train_images, train_set.train_labels)
    test = Images(dataset.test_images, dataset.test_labels)
    rng = np.random.default_rng(settings.seed)

    def choose(images: Images) -> Images:
        order = rng.permutation(len(images.labels))
        places = np.sort(order[: settings.num_images])
        return Images(images.images[places], images.labels[places])

    return CurveData(train, choose(train), choose(test))


def _stack_lanes(result: SweepResult, lanes: list[tuple[int, int]]) -> tuple[Any, Any]:
    """Stack parameters and state of lanes, given by their places on E and S."""
    e, s = (jnp.asarray(places) for places in zip(*lanes, strict=True))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[e, s], (result.params, result.model_state))


def _split(measured: Measures, groups: dict[str, tuple[int, ...]]) -> dict[str, Measures]:
    """Cut the axis over networks [L, ...] into groups of their own shapes."""
    parts, first = {}, 0
    for name, shape in groups.items():
        last = first + math.prod(shape)
        parts[name] = Measures(
            *(field[:, first:last].reshape(-1, *shape) for field in map(np.asarray, measured))
        )
        first = last
    return parts


def _assemble(
    result: SweepResult,
    settings: ConnectivitySettings,
    pairs: tuple[Pair, ...],
    cautions: tuple[str, ...],
    *,
    parts: dict[str, Measures],
    **values: Any,
) -> ConnectivityResult:
    """Put everything together and say what failed."""
    epsilons = np.array([result.epsilons[pair.end[0]] for pair in pairs])
    seeds = np.array([[result.seeds[s] for _, s in pair] for pair in pairs])
    points = np.linspace(0, 1, settings.num_points)
    sound = np.asarray(np.isfinite(parts["curve"].train_loss).all(axis=1))
    for epsilon, (first, second) in zip(epsilons[~sound], seeds[~sound], strict=True):
        cautions += (f"diverged: the curve from seed {first} to {epsilon:.6g}, seed {second}",)
    return ConnectivityResult(
        settings=settings,
        from_epsilon=float(result.epsilons[pairs[0].start[0]]),
        epsilons=epsilons,
        seeds=seeds,
        points=points,
        sound=sound,
        summaries=summarise_pairs(
            epsilons, points, parts["curve"], parts["line"], settings.confidence
        ),
        cautions=cautions,
        source={**result.description, "config": dataclasses.asdict(result.config)},
        environment=describe_environment(),
        **parts,
        **values,
    )
