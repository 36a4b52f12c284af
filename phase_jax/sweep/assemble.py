"""From trained lanes to a result: tables in [E, S] order, epsilon* solved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from phase_jax.losses import compute_entropy, cross_entropy
from phase_jax.solver import estimate_epsilon_star
from phase_jax.sweep.result import CrossEntropyReading, LaneTable, SweepResult
from phase_jax.types import LaneStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.config import SweepConfig
    from phase_jax.losses import Objective
    from phase_jax.sweep.execute import Clock, Final
    from phase_jax.training import EpochInfo, LaneState
    from phase_jax.types import EpsilonStarEstimate


def assemble_result(
    config: SweepConfig,
    states: LaneState,
    history: EpochInfo,
    final: Final,
    *,
    objective: Objective,
    frequencies: np.ndarray,
    description: dict[str, Any],
    environment: dict[str, Any],
    clock: Clock,
) -> SweepResult:
    """Bring everything into [E, S] order and solve for epsilon*.

    Args:
      config: Resolved configuration.
      states: Lanes after training.
      history: Per epoch, [L, T].
      final: Evaluation of the selected parameters.
      objective: What the lanes were trained with.
      frequencies: [K], of the classes among the training images.
      description: Names and fingerprints.
      environment: Versions, device, source revision.
      clock: Seconds spent so far.

    Returns:
      The result.
    """
    shape = (len(config.epsilons), config.num_seeds)

    def by_lane(values: Any) -> np.ndarray:
        values = np.asarray(values)
        return values.reshape(*shape, *values.shape[1:])

    lanes = _tabulate(by_lane, states, history, final)
    counts = lanes.status == LaneStatus.OK

    def keep_sound(values: Any) -> np.ndarray:
        """Take the clean lanes' values [S, N], NaN for those that failed."""
        return np.where(counts[0][:, None], by_lane(values)[0], np.nan)

    def solve(train_loss: str, quantity: str, clean_losses: np.ndarray) -> EpsilonStarEstimate:
        prefix = "" if train_loss == "logged" else "evaluated_"
        curve = np.where(counts, getattr(lanes, f"{prefix}train_{quantity}"), np.nan)
        find_fn = objective.supremum_fn if quantity == "loss" else compute_entropy
        supremum = np.inf if find_fn is None else find_fn(frequencies)
        return _solve(config, curve, clean_losses, supremum)

    chosen = config.solver.train_loss
    other = "evaluated" if chosen == "logged" else "logged"
    clean_example_losses = keep_sound(final.clean_example_losses)
    plain = None
    if objective.train_loss is not cross_entropy:
        clean = keep_sound(final.clean_example_cross_entropies)
        plain = CrossEntropyReading(clean, solve(chosen, "cross_entropy", clean))
    return SweepResult(
        config=config,
        epsilons=np.asarray(config.epsilons),
        seeds=np.arange(config.num_seeds),
        lanes=lanes,
        history={name: by_lane(values) for name, values in history._asdict().items()},
        clean_example_losses=clean_example_losses,
        example_losses=by_lane(final.example_losses),
        thresholds=clean_example_losses.mean(axis=1),
        epsilon_star=solve(chosen, "loss", clean_example_losses),
        epsilon_star_other=solve(other, "loss", clean_example_losses),
        params=jax.tree.map(by_lane, jax.device_get(states.selected_params)),
        model_state=jax.tree.map(by_lane, jax.device_get(states.selected_model_state)),
        description=description,
        environment=environment,
        seconds=clock.finish(),
        cross_entropy=plain,
    )


def _solve(
    config: SweepConfig, curve: np.ndarray, clean_example_losses: np.ndarray, supremum: float
) -> EpsilonStarEstimate:
    """Solve train losses [E, S] against the clean losses [S, N] of test images."""
    return estimate_epsilon_star(
        np.asarray(config.epsilons),
        curve.T,
        clean_example_losses,
        method=config.solver.method,
        confidence=config.solver.confidence,
        num_resamples=config.solver.num_resamples,
        seed=config.seed,
        supremum=supremum,
    )


def _tabulate(
    by_lane: Callable[[Any], np.ndarray], states: LaneState, history: EpochInfo, final: Final
) -> LaneTable:
    """Collect one value a lane; a lane without a selected epoch has NaN."""
    selected = by_lane(states.selected_epoch)
    place = np.maximum(selected - 1, 0)[..., None]

    def at_selected(values: Any) -> np.ndarray:
        chosen = np.take_along_axis(by_lane(values), place, axis=2)[..., 0]
        return np.where(selected > 0, chosen, np.nan)

    def evaluated(values: Any) -> np.ndarray:
        return np.where(selected > 0, by_lane(values), np.nan)

    def averaged(values: Any) -> np.ndarray:
        return np.where(selected > 0, by_lane(values).mean(axis=2), np.nan)

    status = np.where(
        by_lane(final.num_predicted_classes) == 1, LaneStatus.COLLAPSED, LaneStatus.OK
    )
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
        evaluated_test_loss=averaged(final.example_losses),
        evaluated_test_accuracy=evaluated(final.accuracy),
        clean_test_loss=averaged(final.clean_example_losses),
        clean_test_accuracy=evaluated(final.clean_accuracy),
        train_cross_entropy=at_selected(history.train_cross_entropy),
        test_cross_entropy=at_selected(history.test_cross_entropy),
        evaluated_train_cross_entropy=evaluated(final.train_cross_entropy),
        evaluated_test_cross_entropy=evaluated(final.cross_entropy),
        clean_test_cross_entropy=averaged(final.clean_example_cross_entropies),
    )
