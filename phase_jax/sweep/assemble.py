"""From trained lanes to a result: tables in [E, S] order, epsilon* solved."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from phase_jax.losses import compute_entropy, cross_entropy
from phase_jax.solver import estimate_epsilon_star
from phase_jax.sweep.distance import measure_distances
from phase_jax.sweep.examples import attack_examples
from phase_jax.sweep.result import CrossEntropyReading, LaneResults, LaneTable, SweepResult
from phase_jax.types import LaneStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from phase_jax.config import SweepConfig
    from phase_jax.sweep.execute import Clock, Final
    from phase_jax.sweep.setup import PreparedSweep
    from phase_jax.training import EpochInfo, LaneState
    from phase_jax.types import EpsilonStarEstimate


def tabulate_lanes(
    epsilons: np.ndarray, states: LaneState, history: EpochInfo, final: Final
) -> LaneResults:
    """Bring lanes into [E, S] order.

    Args:
      epsilons: [E] their attack strengths.
      states: Lanes after training, L = E x S, on the host; what they ended with suffices.
      history: Per epoch, [L, T].
      final: Evaluation of the selected parameters.

    Returns:
      What they ended with.
    """

    def by_lane(values: Any) -> np.ndarray:
        values = np.asarray(values)
        return values.reshape(len(epsilons), -1, *values.shape[1:])

    return LaneResults(
        epsilons=epsilons,
        lanes=_tabulate(by_lane, states, history, final),
        history={name: by_lane(values) for name, values in history._asdict().items()},
        clean_example_losses=by_lane(final.clean_example_losses),
        clean_example_cross_entropies=by_lane(final.clean_example_cross_entropies),
        example_losses=by_lane(final.example_losses),
        params=jax.tree.map(by_lane, states.selected_params),
        model_state=jax.tree.map(by_lane, states.selected_model_state),
    )


def join_lanes(parts: Sequence[LaneResults]) -> LaneResults:
    """Put lanes of the same seeds at different attack strengths into one table, sorted.

    Histories of different lengths are filled up with NaN.
    """
    order = np.argsort(np.concatenate([part.epsilons for part in parts]), kind="stable")
    longest = max(part.history["train_loss"].shape[2] for part in parts)

    def fill(name: str, values: Any) -> Any:
        """Bring everything to equal lengths; the rest of a history is not a number."""
        if name != "history":
            return values
        return {
            field: np.pad(
                array, ((0, 0), (0, 0), (0, longest - array.shape[2])), constant_values=np.nan
            )
            for field, array in values.items()
        }

    trees = [
        {name: fill(name, values) for name, values in _as_tree(part).items()} for part in parts
    ]
    return _from_tree(jax.tree.map(lambda *leaves: _concatenate(leaves)[order], *trees))


def join_seeds(parts: Sequence[LaneResults]) -> LaneResults:
    """Put lanes of different seeds at the same attack strengths side by side, in this order."""
    trees = [_as_tree(part) for part in parts]
    for tree in trees:
        del tree["epsilons"]
    joined = jax.tree.map(lambda *leaves: _concatenate(leaves, axis=1), *trees)
    return _from_tree({**joined, "epsilons": parts[0].epsilons})


def _as_tree(lanes: LaneResults) -> dict[str, Any]:
    tree = {field.name: getattr(lanes, field.name) for field in dataclasses.fields(lanes)}
    return {**tree, "lanes": vars(lanes.lanes)}


def _from_tree(tree: dict[str, Any]) -> LaneResults:
    return LaneResults(**{**tree, "lanes": LaneTable(**tree["lanes"])})


def _concatenate(leaves: Sequence[np.ndarray], axis: int = 0) -> np.ndarray:
    """Concatenate; the last has the type (what was read from a file may have a wider one)."""
    return np.concatenate([leaf.astype(leaves[-1].dtype) for leaf in leaves], axis=axis)


def take_lanes(
    result: SweepResult, num_epsilons: int | None = None, num_seeds: int | None = None
) -> LaneResults:
    """Take the lanes out of a result: all, or the first attack strengths and seeds.

    A result has clean losses of the clean lanes only; those of the others are not a number.
    """

    def first(array: np.ndarray) -> np.ndarray:
        return array[:num_epsilons, :num_seeds]

    def fill(clean: np.ndarray) -> np.ndarray:
        filled = np.full_like(first(result.example_losses), np.nan)
        filled[0] = clean[:num_seeds]
        return filled

    plain = result.cross_entropy
    losses = result.clean_example_losses
    cross_entropies = losses if plain is None else plain.clean_example_losses
    return LaneResults(
        epsilons=result.epsilons[:num_epsilons],
        lanes=LaneTable(**{name: first(values) for name, values in vars(result.lanes).items()}),
        history={name: first(values) for name, values in result.history.items()},
        clean_example_losses=fill(losses),
        clean_example_cross_entropies=fill(cross_entropies),
        example_losses=first(result.example_losses),
        params=jax.tree.map(first, result.params),
        model_state=jax.tree.map(first, result.model_state),
    )


def take_clean_lanes(result: SweepResult, num_seeds: int) -> LaneResults:
    """Take the clean lanes (epsilon = 0) of the first seeds out of a result."""
    return take_lanes(result, 1, num_seeds)


def solve_lanes(
    sweep: PreparedSweep,
    results: LaneResults,
    environment: dict[str, Any],
    clock: Clock,
    *,
    notes: tuple[str, ...] = (),
) -> SweepResult:
    """Solve for epsilon*, and attack a few test images to be looked at.

    Args:
      sweep: Configuration, objective, names; its grid is that of the lanes.
      results: Lanes at every attack strength, clean ones first.
      environment: Versions, device, source revision.
      clock: Seconds spent so far.
      notes: What happened on the way.

    Returns:
      The result.
    """
    config, objective, lanes = sweep.config, sweep.objective, results.lanes
    counts = lanes.status == LaneStatus.OK

    def keep_sound(values: np.ndarray) -> np.ndarray:
        """Take the clean lanes' values [S, N], NaN for those that failed."""
        return np.where(counts[0][:, None], values[0], np.nan)

    def solve(train_loss: str, quantity: str, clean_losses: np.ndarray) -> EpsilonStarEstimate:
        prefix = "" if train_loss == "logged" else "evaluated_"
        curve = np.where(counts, getattr(lanes, f"{prefix}train_{quantity}"), np.nan)
        find_fn = objective.supremum_fn if quantity == "loss" else compute_entropy
        supremum = np.inf if find_fn is None else find_fn(sweep.frequencies)
        return _solve(config, curve, clean_losses, supremum)

    chosen = config.solver.train_loss
    other = "evaluated" if chosen == "logged" else "logged"
    clean_example_losses = keep_sound(results.clean_example_losses)
    plain = None
    if objective.train_loss is not cross_entropy:
        clean = keep_sound(results.clean_example_cross_entropies)
        plain = CrossEntropyReading(clean, solve(chosen, "cross_entropy", clean))
    adversarial = attack_examples(sweep, results, clock)
    return SweepResult(
        config=config,
        epsilons=results.epsilons,
        seeds=np.arange(config.num_seeds),
        lanes=lanes,
        history=results.history,
        clean_example_losses=clean_example_losses,
        example_losses=results.example_losses,
        thresholds=clean_example_losses.mean(axis=1),
        epsilon_star=solve(chosen, "loss", clean_example_losses),
        epsilon_star_other=solve(other, "loss", clean_example_losses),
        params=results.params,
        model_state=results.model_state,
        description=sweep.description,
        environment=environment,
        seconds=clock.finish(),
        cross_entropy=plain,
        notes=notes,
        adversarial=adversarial,
        clean_distances=measure_distances(results.params),
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
