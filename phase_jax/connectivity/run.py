"""Connect pairs of networks of a run: train their curves, measure curves and planes."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from phase_jax.connectivity.measure import CurveData, Images, Measures
from phase_jax.connectivity.pairs import choose_pairs
from phase_jax.connectivity.phases import Study, survey_pairs, train_curves
from phase_jax.connectivity.result import ConnectivityResult, summarise_pairs
from phase_jax.connectivity.settings import ConnectivitySettings, validate_settings
from phase_jax.connectivity.train import Ends
from phase_jax.environment import describe_environment
from phase_jax.sweep.lanes import choose_lane_width
from phase_jax.sweep.reopen import reopen_data, reopen_model, take_lane
from phase_jax.sweep.setup import split_selection

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.config import SweepConfig
    from phase_jax.connectivity.pairs import Pair
    from phase_jax.sweep.checkpoint import CheckpointPlan
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
    checkpoint: CheckpointPlan | None = None,
    stop_fn: Callable[[], int | None] | None = None,
    note_fn: Callable[[str], object] | None = None,
) -> ConnectivityResult:
    """Connect pairs of networks of a run by curves of low loss; every pair is a lane.

    Args:
      result: The run, as from `run_sweep` or `load_run`.
      settings: Which pairs, which curve, where it is measured.
      model: The user's own network, where the run had one.
      data: The user's own images, where the run had such.
      data_dir: Directory with prepared data, where they have moved since the run.
      progress_fn: Called with a line of text at the start of each phase.
      checkpoint: Where to save, and to go on from if something is there; the measuring adds
        `-measure` to the name. Nothing is removed at the end.
      stop_fn: As in `run_sweep`; also asked after every chunk of networks measured.
      note_fn: As in `run_sweep`.

    Returns:
      The result.

    Raises:
      InputError: A setting is not allowed, or data or network are not the run's, or the
        checkpoint belongs to another study.
      InterruptedRunError: The checkpoint cannot be written.
      StoppedRunError: `stop_fn` asked for it.
    """
    settings = validate_settings(settings or ConnectivitySettings())
    begin, notes = time.perf_counter(), []

    def note(text: str) -> None:
        notes.append(text)
        if note_fn is not None:
            note_fn(text)

    pairs, cautions = choose_pairs(result, settings)
    dataset = reopen_data(result, data, data_dir=data_dir)
    network = reopen_model(result, dataset, model)
    settings, config = _resolve(result, settings)
    study = Study(
        config=config,
        settings=settings,
        network=network,
        pixel_scale=dataset.pixel_scale,
        data=_choose_images(result, dataset, settings),
        ends=_stack_ends(result, pairs),
        num_pairs=len(pairs),
        environment=describe_environment(),
        description=result.description,
        saving={"plan": checkpoint, "stop_fn": stop_fn, "note_fn": note},
        notify=progress_fn or (lambda text: None),
    )
    bends, losses = train_curves(study)
    trained = time.perf_counter()
    parts, grid, anchors = survey_pairs(study, bends)
    end = time.perf_counter()
    return _assemble(
        result,
        settings,
        pairs,
        cautions,
        training_losses=losses,
        bends=bends,
        parts=parts,
        grid=grid,
        anchor_places=anchors,
        environment=study.environment,
        seconds={"train": trained - begin, "measure": end - trained, "total": end - begin},
        notes=tuple(notes),
    )


def _resolve(
    result: SweepResult, settings: ConnectivitySettings
) -> tuple[ConnectivitySettings, SweepConfig]:
    """Fill in every automatic choice; return the run's configuration with the curves' training."""
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
    return settings, dataclasses.replace(result.config, training=training)


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


def _stack_ends(result: SweepResult, pairs: tuple[Pair, ...]) -> Ends:
    """Stack parameters at start and end of every pair, and the state at its end."""

    def stack(tree: Any, side: int) -> Any:
        e, s = np.array([pair[side] for pair in pairs]).T
        return jax.tree.map(lambda leaf: np.asarray(leaf)[e, s], tree)

    return Ends(stack(result.params, 0), stack(result.params, 1), stack(result.model_state, 0))


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
        **parts,
        **values,
    )
