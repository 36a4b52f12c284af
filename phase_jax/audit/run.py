"""Attack the networks of a run again, harder: PGD with many steps, restarts and step lengths."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.attacks import make_attack
from phase_jax.audit.result import Attacked, AuditResult
from phase_jax.audit.settings import STEP_FACTORS, AuditSettings, validate_settings
from phase_jax.compilation import choose_compiler_options
from phase_jax.environment import describe_environment
from phase_jax.solver import estimate_epsilon_star
from phase_jax.sweep.lanes import choose_lane_width, map_lanes
from phase_jax.sweep.reopen import (
    find_lane,
    reopen_data,
    reopen_model,
    reopen_objective,
    take_lane,
)
from phase_jax.sweep.setup import count_classes, split_selection
from phase_jax.training.evaluate import make_evaluate
from phase_jax.training.lane import make_evaluation_attack
from phase_jax.types import LaneStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.config import SweepConfig
    from phase_jax.losses import Objective
    from phase_jax.models import Model
    from phase_jax.sweep.result import SweepResult
    from phase_jax.types import Dataset, EpsilonStarEstimate


def run_audit(
    result: SweepResult,
    settings: AuditSettings | None = None,
    *,
    model: Any = None,
    data: Dataset | None = None,
    objective: Any = None,
    data_dir: str | None = None,
    progress_fn: Callable[[str], None] | None = None,
) -> AuditResult:
    """Attack networks of a run with PGD of many steps and restarts, at three step lengths.

    Args:
      result: The run, as from `run_sweep` or `load_run`.
      settings: Which networks, and how hard.
      model: The user's own network, where the run had one.
      data: The user's own images, where the run had such.
      objective: The user's own loss, where the run had one.
      data_dir: Directory with prepared data, where they have moved since the run.
      progress_fn: Called with a line of text before the attacks begin.

    Returns:
      The result.

    Raises:
      InputError: A setting is not allowed, or data, network or objective are not the run's.
    """
    settings = validate_settings(settings or AuditSettings())
    begin = time.perf_counter()
    wanted = result.epsilons if settings.audited_epsilons is None else settings.audited_epsilons
    places = sorted({find_lane(result, float(epsilon), field="--eps") for epsilon in wanted})
    dataset = reopen_data(result, data, data_dir=data_dir)
    network = reopen_model(result, dataset, model)
    chosen = reopen_objective(result, objective)
    train_set, _ = split_selection(result.config, dataset)
    images = _choose_images(settings, train_set, dataset)
    attack_lane = make_attack_lane(
        network, chosen, result.config, settings, pixel_scale=dataset.pixel_scale
    )
    if progress_fn is not None:
        progress_fn(_describe_plan(result, settings, len(places), [len(y) for _, y in images]))
    train, test = _attack_lanes(result, places, attack_lane, settings, images)
    curve = _keep_sound(result)
    audited = curve.copy()
    audited[places] += train.take_worst() - train.average()[:, :, 0]
    solve = _make_solve(result, chosen, count_classes(train_set))
    return AuditResult(
        settings=settings,
        epsilons=result.epsilons[places],
        seeds=result.seeds,
        attacks=("the run's", *(_name_attack(settings, factor) for factor in STEP_FACTORS)),
        status=result.lanes.status[places],
        train=train,
        test=test,
        epsilon_star=solve(curve),
        epsilon_star_audited=solve(audited),
        source={**result.description, "config": dataclasses.asdict(result.config)},
        environment=describe_environment(),
        seconds=time.perf_counter() - begin,
    )


def _describe_plan(
    result: SweepResult, settings: AuditSettings, num_epsilons: int, num_images: list[int]
) -> str:
    """Say what is about to be attacked, and what it costs."""
    num_networks, own = num_epsilons * len(result.seeds), result.config.evaluation
    steps = len(STEP_FACTORS) * settings.num_steps * settings.num_restarts
    steps += own.num_steps * own.num_restarts
    return (
        f"attacking {num_epsilons} x {len(result.seeds)} networks on {num_images[0]:,} training "
        f"and {num_images[1]:,} test images: {num_networks * sum(num_images) * steps / 1e6:.3g} "
        "million example gradients"
    )


def make_attack_lane(
    model: Model,
    objective: Objective,
    config: SweepConfig,
    settings: AuditSettings,
    *,
    pixel_scale: float,
) -> Callable[..., Any]:
    """Make a pure function that attacks one network with every attack of an audit.

    Args:
      model: The network.
      objective: Its loss is reported.
      config: Of the run: its evaluation attack comes first.
      settings: Steps and restarts of the others.
      pixel_scale: Stored value that stands for 1.0.

    Returns:
      `attack(params, state, epsilon, key, *splits) -> one (losses [A, N], correct [A, N]) a split`,
      each split being (images, labels).
    """

    def evaluate(attack: Any, *arguments: Any) -> tuple[jax.Array, jax.Array]:
        evaluation = make_evaluate(
            model,
            objective,
            attack,
            batch_size=config.evaluation.batch_size,
            pixel_scale=pixel_scale,
        )(*arguments)
        return evaluation.loss, evaluation.correct

    def attack_lane(params: Any, state: Any, epsilon: Any, key: Any, *splits: Any) -> Any:
        def attack_split(images: Any, labels: Any, key: Any) -> tuple[jax.Array, jax.Array]:
            arguments = (params, state, images, labels, key, epsilon)
            own = evaluate(make_evaluation_attack(config), *arguments)
            harder = jax.lax.map(
                lambda factor: evaluate(_make_attack(config, settings, factor), *arguments),
                jnp.asarray(STEP_FACTORS, jnp.float32),
            )
            return jax.tree.map(lambda one, more: jnp.concatenate([one[None], more]), own, harder)

        keys = jax.random.split(key, len(splits))
        return tuple(
            attack_split(images, labels, key)
            for (images, labels), key in zip(splits, keys, strict=True)
        )

    return attack_lane


def _make_attack(config: SweepConfig, settings: AuditSettings, factor: Any) -> Any:
    """Make one attack of an audit; the factor on its step length may be traced."""
    return make_attack(
        "pgd",
        norm=config.attack.norm,
        num_steps=settings.num_steps,
        step_length=factor * 2.5 / settings.num_steps,
        num_restarts=settings.num_restarts,
    )


def _name_attack(settings: AuditSettings, factor: float) -> str:
    return f"PGD-{settings.num_steps} x {settings.num_restarts}, step x {factor:g}"


def _choose_images(
    settings: AuditSettings, train_set: Dataset, dataset: Dataset
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Choose training and test images at random, without repetition."""
    rng = np.random.default_rng(settings.seed)
    chosen = []
    for images, labels in (
        (train_set.train_images, train_set.train_labels),
        (dataset.test_images, dataset.test_labels),
    ):
        places = np.sort(rng.permutation(len(labels))[: settings.num_images])
        chosen.append((images[places], labels[places]))
    return tuple(chosen)


def _attack_lanes(
    result: SweepResult,
    places: list[int],
    attack_lane: Callable[..., Any],
    settings: AuditSettings,
    images: tuple[tuple[np.ndarray, np.ndarray], ...],
) -> tuple[Attacked, Attacked]:
    """Attack all lanes of some attack strengths in one program."""
    shape = (len(places), len(result.seeds))
    num_lanes = shape[0] * shape[1]

    def as_lanes(leaf: np.ndarray) -> np.ndarray:
        return leaf[places].reshape(num_lanes, *leaf.shape[2:])

    params, state = jax.tree.map(as_lanes, (result.params, result.model_state))
    epsilons = jnp.repeat(jnp.asarray(result.epsilons[places], jnp.float32), shape[1])
    # A seed meets the same random starts at every attack strength.
    keys = jnp.tile(jax.random.split(jax.random.key(settings.seed), shape[1]), shape[0])
    width = choose_lane_width(num_lanes, take_lane(result.params, 0, 0), jax.default_backend())
    run = jax.jit(
        map_lanes(attack_lane, width=width, num_shared=len(images)),
        compiler_options=choose_compiler_options(jax.default_backend()),
    )
    splits = jax.device_get(run(params, state, epsilons, keys, *jax.device_put(images)))
    sound = result.lanes.status[places] == LaneStatus.OK
    train, test = (
        Attacked(*(field.reshape(*shape, *field.shape[1:]) for field in split), sound=sound)
        for split in splits
    )
    return train, test


def _keep_sound(result: SweepResult) -> np.ndarray:
    """Take the evaluated train loss [E, S], NaN for lanes that failed."""
    counts = result.lanes.status == LaneStatus.OK
    return np.where(counts, result.lanes.evaluated_train_loss, np.nan)


def _make_solve(
    result: SweepResult, objective: Objective, frequencies: np.ndarray
) -> Callable[[np.ndarray], EpsilonStarEstimate]:
    """Make the solve of a curve [E, S] as the run did it; the threshold knows no attack."""
    solver = result.config.solver
    supremum = np.inf if objective.supremum_fn is None else objective.supremum_fn(frequencies)

    def solve(curve: np.ndarray) -> EpsilonStarEstimate:
        return estimate_epsilon_star(
            result.epsilons,
            curve.T,
            result.clean_example_losses,
            method=solver.method,
            confidence=solver.confidence,
            num_resamples=solver.num_resamples,
            seed=result.config.seed,
            supremum=supremum,
        )

    return solve
