"""Where the transition shows: measures of what an attack changes, against epsilon / epsilon*."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import stats

from phase_jax.config_file import rebuild_config
from phase_jax.report.directory import RESULT_FILE
from phase_jax.report.document import convert_to_plain
from phase_jax.report.mean import Mean, average
from phase_jax.report.read import read_document
from phase_jax.sweep.overfitting import assess_overfitting
from phase_jax.sweep.stability import assess_stability
from phase_jax.types import InputError, LaneStatus

if TYPE_CHECKING:
    from jaxtyping import Float

    from phase_jax.sweep import SweepResult

MEASURES = {
    "train_loss_ratio": "adversarial train loss over the threshold (1 at ε*)",
    "clean_loss_rise": "clean test cross-entropy, rise above the clean model's",
    "clean_accuracy_drop": "clean test accuracy, drop below the clean model's",
    "distance": "parameters, distance from the clean model's, relative",
    "gap_growth": "generalisation gap, late epochs over reference epoch",
    "unstable": "share of lanes that overfit catastrophically",
    "barrier": "barrier in clean train loss on a curve to the clean model",
    "audit_rise": "adversarial train loss, rise under stronger attacks",
}
"""Name -> what it is, in a line."""
LEVELS = {"train_loss_ratio": 1.0, "gap_growth": 1.0}
"""Where measures have a level to compare with; others have zero."""


class FollowUps(NamedTuple):
    """Documents of what followed a run; None where there is none."""

    audit: dict[str, Any] | None = None
    connectivity: dict[str, Any] | None = None
    pictures: tuple[tuple[str, bytes], ...] = ()
    """Figures of the study of connectivity: what they show, and PNG files."""


NOTHING = FollowUps()
PICTURES = {
    "planes.png": "clean train loss on the plane through start, bend and end of a curve",
    "profiles.png": "clean train loss along curves and straight lines; barriers against ε",
}
"""Figures of a study of connectivity, and what they show."""


class Transition(NamedTuple):
    """All measures of one run.

    Attributes:
      epsilons: [E].
      ratios: [E] epsilon / epsilon*; NaN where epsilon* has no positive value.
      measures: Name, of `MEASURES` -> E means with intervals. Of what has not been done (an audit,
        a study of connectivity) there is none.
    """

    epsilons: Float[np.ndarray, "E"]
    ratios: Float[np.ndarray, "E"]
    measures: dict[str, tuple[Mean, ...]]

    @property
    def known(self) -> dict[str, tuple[Mean, ...]]:
        """The measures that have a value anywhere."""
        return {
            name: means
            for name, means in self.measures.items()
            if any(mean.value is not None for mean in means)
        }


def assess_transition(result: SweepResult, follow_ups: FollowUps = NOTHING) -> Transition:
    """Measure how far the models of every attack strength are from the clean ones.

    Args:
      result: The run.
      follow_ups: Its audit and its study of connectivity.

    Returns:
      Means over the seeds whose lanes ended well, with Student t intervals over seeds (barriers:
      over pairs, as the study gives them; rises of an audit: over images).
    """
    epsilons, level = result.epsilons, result.config.solver.confidence
    star = result.epsilon_star.value
    measures = {
        name: tuple(average(row, level) for row in values)
        for name, values in _measure_lanes(result).items()
    }
    measures["unstable"] = _count_unstable(result)
    if follow_ups.connectivity is not None:
        rows = follow_ups.connectivity["summaries"]
        means = {row["epsilon"]: _read_mean(row["barrier"]) for row in rows}
        measures["barrier"] = _align(means, epsilons)
    if follow_ups.audit is not None:
        rows = follow_ups.audit["rises"]
        means = {row["epsilon"]: _read_rise(row, level, len(result.seeds)) for row in rows}
        measures["audit_rise"] = _align(means, epsilons)
    return Transition(
        epsilons,
        epsilons / (star if star else np.nan),
        {name: measures[name] for name in MEASURES if name in measures},
    )


def list_transition(transition: Transition) -> list[dict[str, Any]]:
    """List every measure of every attack strength as a row; empty text for nothing."""
    rows = [
        {"epsilon": epsilon, "ratio": ratio, "measure": name, **means[e]._asdict()}
        for name, means in transition.measures.items()
        for e, (epsilon, ratio) in enumerate(
            zip(transition.epsilons, transition.ratios, strict=True)
        )
    ]
    return [
        {name: "" if value is None else value for name, value in row.items()}
        for row in convert_to_plain(rows)
    ]


def read_follow_ups(
    result: SweepResult, audit: str | None = None, connectivity: str | None = None
) -> FollowUps:
    """Read the documents of what followed a run.

    Args:
      result: The run.
      audit: Directory of an audit, or None.
      connectivity: Directory of a study of connectivity that starts at clean models, or None.

    Returns:
      The documents.

    Raises:
      InputError: A directory holds no such document, or one of another run.
    """
    given = {"audit": audit, "connectivity": connectivity}
    read = {
        kind: None if place is None else _read_follow_up(result, pathlib.Path(place), kind)
        for kind, place in given.items()
    }
    document = read["connectivity"]
    if document is not None and document["from_epsilon"] != 0:
        raise InputError(
            f"--connectivity: {str(connectivity)!r} starts at {document['from_epsilon']:.6g}; "
            "allowed: a study from clean models (--from-eps 0)"
        )
    pictures = ()
    if connectivity is not None:
        places = {pathlib.Path(connectivity, name): text for name, text in PICTURES.items()}
        pictures = tuple((t, place.read_bytes()) for place, t in places.items() if place.is_file())
    return FollowUps(**read, pictures=pictures)


def _measure_lanes(result: SweepResult) -> dict[str, Float[np.ndarray, "E S"]]:
    """Measure every lane; NaN for those that failed, or whose clean lane did."""
    lanes = result.lanes
    sound = lanes.status == LaneStatus.OK
    logged = result.config.solver.train_loss == "logged"
    train_loss = lanes.train_loss if logged else lanes.evaluated_train_loss
    losses, accuracies = lanes.clean_test_cross_entropy, lanes.clean_test_accuracy
    values = {
        "train_loss_ratio": train_loss / result.thresholds,
        "clean_loss_rise": losses - losses[0],
        "clean_accuracy_drop": accuracies[0] - accuracies,
        "gap_growth": assess_overfitting(result).final_ratios,
    }
    if result.clean_distances is not None:
        values["distance"] = result.clean_distances
    return {name: np.where(sound & sound[0], array, np.nan) for name, array in values.items()}


def _count_unstable(result: SweepResult) -> tuple[Mean, ...]:
    """Count lanes that overfit catastrophically, among those that did not diverge."""
    unstable = assess_stability(result).unstable
    trained = (result.lanes.status != LaneStatus.DIVERGED).sum(axis=1)
    return tuple(
        Mean(float(row.sum() / number) if number else None, None, None, int(number))
        for row, number in zip(unstable, trained, strict=True)
    )


def _read_follow_up(result: SweepResult, place: pathlib.Path, kind: str) -> dict[str, Any]:
    """Read one document and hold it to the run: same data, network and loss, same configuration."""
    if not (place / RESULT_FILE).is_file():
        raise InputError(
            f"--{kind}: {str(place)!r} holds no result; allowed: what `{kind}` wrote (--out)"
        )
    document = read_document(place / RESULT_FILE, kind, field=f"--{kind}")
    source, expected = document["source"], convert_to_plain(result.description)
    for name in ("data", "model", "objective"):
        if source[name] != expected[name]:
            raise InputError(
                f"--{kind}: {str(place)!r} is of other networks (its {name} differs); allowed: "
                "what followed this run"
            )
    config, found = result.config, rebuild_config(source["config"])
    if (found.training, found.attack, found.seed) != (config.training, config.attack, config.seed):
        raise InputError(
            f"--{kind}: {str(place)!r} is of a run of other settings; allowed: what followed this "
            "run"
        )
    return document


def _read_mean(fields: dict[str, Any]) -> Mean:
    return Mean(fields["value"], fields["low"], fields["high"], fields["num_pairs"])


def _read_rise(row: dict[str, Any], confidence: float, num_seeds: int) -> Mean:
    """Read the rise of the train loss in an audit; its error is over images."""
    rise, error = row["train_rise"], row["train_rise_error"]
    if rise is None:
        return Mean(None, None, None, 0)
    half = float(stats.norm.ppf(0.5 + confidence / 2)) * error
    return Mean(rise, max(rise - half, 0.0), rise + half, num_seeds)


def _align(means: dict[float, Mean], epsilons: Float[np.ndarray, "E"]) -> tuple[Mean, ...]:
    """Put means in the order of a run's attack strengths; what is not there is unknown."""
    found = []
    for epsilon in epsilons:
        near = [mean for key, mean in means.items() if np.isclose(key, epsilon, rtol=1e-5)]
        found.append(near[0] if near else Mean(None, None, None, 0))
    return tuple(found)
