"""What a study of connectivity gives back: losses on curves and planes, barriers with intervals."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from phase_jax.report.mean import Mean, average

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from phase_jax.connectivity.measure import Measures
    from phase_jax.connectivity.settings import ConnectivitySettings


class Summary(NamedTuple):
    """All pairs whose curves end at one attack strength; losses are clean train losses."""

    epsilon: float
    barrier: Mean
    """Of the trained curve: max over t of L(phi(t)) - (1 - t) L_0 - t L_1."""
    test_barrier: Mean
    """The same in the clean test loss."""
    line_barrier: Mean
    """Of the straight line between the ends."""
    start_loss: Mean
    end_loss: Mean
    highest_loss: Mean
    """Largest loss on the curve, ends included."""


@dataclasses.dataclass(frozen=True)
class ConnectivityResult:
    """Curves between networks of a run, and what lies around them; lanes L are pairs.

    Attributes:
      settings: What was asked for, automatic choices filled in.
      from_epsilon: Attack strength of the networks at the start.
      epsilons: [L] attack strengths of the networks at the end.
      seeds: [L, 2] seeds of start and end.
      points: [T] the t of points on the curve and on the line, 0 to 1.
      training_losses: Mean cross-entropy over a random point of the curve, [L, epochs].
      curve: Along the trained curve, fields [L, T].
      line: Along the straight line between the ends, fields [L, T].
      plane: On the plane through start, bend and end, fields [L, G, G], the first axis along u.
      anchors: At start, bend and end, as points of the plane; fields [L, 3].
      grid: [L, 2, G] coordinates along u and v of the plane's points, in units of distance.
      anchor_places: [L, 3, 2] coordinates of start, bend and end.
      bends: Parameters of the trained bends, every leaf [L, ...].
      sound: [L] whether every loss on the curve is finite.
      summaries: One an attack strength.
      cautions: What to know before reading the numbers.
      source: Where the networks come from: data, network, objective, configuration.
      environment: Versions, device, source revision.
      seconds: Time spent: training, measuring, total.
      notes: What happened on the way that a reader should know: an interruption, say.
    """

    settings: ConnectivitySettings
    from_epsilon: float
    epsilons: Float[np.ndarray, "L"]
    seeds: Int[np.ndarray, "L 2"]
    points: Float[np.ndarray, "T"]
    training_losses: Float[np.ndarray, "L T"]
    curve: Measures
    line: Measures
    plane: Measures
    anchors: Measures
    grid: Float[np.ndarray, "L 2 G"]
    anchor_places: Float[np.ndarray, "L 3 2"]
    bends: Any
    sound: Bool[np.ndarray, "L"]
    summaries: tuple[Summary, ...]
    cautions: tuple[str, ...]
    source: dict[str, Any]
    environment: dict[str, Any]
    seconds: dict[str, float]
    notes: tuple[str, ...] = ()


def measure_barriers(
    points: Float[np.ndarray, "T"], losses: Float[np.ndarray, "... T"]
) -> Float[np.ndarray, "..."]:
    """Measure how far losses on a curve rise above the line between the losses of its ends.

    Args:
      points: The t of each loss, from 0 to 1, both included.
      losses: Along the curve.

    Returns:
      max over t of L(t) - (1 - t) L(0) - t L(1): at least 0, NaN where a loss is.
    """
    straight = (1 - points) * losses[..., :1] + points * losses[..., -1:]
    return (losses - straight).max(axis=-1)


def summarise_pairs(
    epsilons: Float[np.ndarray, "L"],
    points: Float[np.ndarray, "T"],
    curve: Measures,
    line: Measures,
    confidence: float,
) -> tuple[Summary, ...]:
    """Summarise the pairs of every attack strength.

    Args:
      epsilons: Of the end of each pair.
      points: The t of points on curves.
      curve: Along the trained curves, fields [L, T].
      line: Along the straight lines, fields [L, T].
      confidence: Nominal coverage of the intervals.

    Returns:
      One summary an attack strength, in order.
    """
    losses = np.asarray(curve.train_loss)
    values = {
        "barrier": measure_barriers(points, losses),
        "test_barrier": measure_barriers(points, np.asarray(curve.test_loss)),
        "line_barrier": measure_barriers(points, np.asarray(line.train_loss)),
        "start_loss": losses[:, 0],
        "end_loss": losses[:, -1],
        "highest_loss": losses.max(axis=1),
    }
    return tuple(
        Summary(
            float(epsilon),
            **{
                name: average(value[epsilons == epsilon], confidence, floor=0.0)
                for name, value in values.items()
            },
        )
        for epsilon in np.unique(epsilons)
    )
