"""From trained lanes to a result: tables in [E, S] order, epsilon* solved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from phase_jax.solver import estimate_epsilon_star
from phase_jax.sweep.result import LaneTable, SweepResult
from phase_jax.types import LaneStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.config import SweepConfig
    from phase_jax.sweep.execute import Clock, Final
    from phase_jax.training import EpochInfo, LaneState


def assemble_result(
    config: SweepConfig,
    states: LaneState,
    history: EpochInfo,
    final: Final,
    *,
    supremum: float,
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
      supremum: Largest value of the smallest train loss, infinite where not known.
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
            supremum=supremum,
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
        environment=environment,
        seconds=clock.finish(),
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
        evaluated_test_loss=evaluated(by_lane(final.example_losses).mean(axis=2).reshape(-1)),
        evaluated_test_accuracy=evaluated(final.accuracy),
        clean_test_loss=evaluated(by_lane(final.clean_example_losses).mean(axis=2).reshape(-1)),
        clean_test_accuracy=evaluated(final.clean_accuracy),
    )
