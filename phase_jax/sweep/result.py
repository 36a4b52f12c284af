"""What a sweep gives back."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from phase_jax.tables import build_dataframe, choose_rows
from phase_jax.types import LaneStatus

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from jaxtyping import Float, Int

    from phase_jax.config import SweepConfig
    from phase_jax.types import EpsilonStarEstimate


@dataclasses.dataclass(frozen=True)
class LaneTable:
    """One value a lane, as arrays [E, S]; NaN where a lane has none.

    `train_*` were logged during the selected epoch; `test_*` belong to the selection images after
    it. `evaluated_*` belong to the selected parameters on all training and all test images under
    the evaluation attack, `clean_test_*` to all test images without an attack. Each `*_loss` is the
    objective's own; `*_cross_entropy` is the plain one of the same images.
    """

    status: Int[np.ndarray, "E S"]
    selected_epoch: Int[np.ndarray, "E S"]
    train_loss: Float[np.ndarray, "E S"]
    train_accuracy: Float[np.ndarray, "E S"]
    test_loss: Float[np.ndarray, "E S"]
    test_accuracy: Float[np.ndarray, "E S"]
    evaluated_train_loss: Float[np.ndarray, "E S"]
    evaluated_train_accuracy: Float[np.ndarray, "E S"]
    evaluated_test_loss: Float[np.ndarray, "E S"]
    evaluated_test_accuracy: Float[np.ndarray, "E S"]
    clean_test_loss: Float[np.ndarray, "E S"]
    clean_test_accuracy: Float[np.ndarray, "E S"]
    train_cross_entropy: Float[np.ndarray, "E S"]
    test_cross_entropy: Float[np.ndarray, "E S"]
    evaluated_train_cross_entropy: Float[np.ndarray, "E S"]
    evaluated_test_cross_entropy: Float[np.ndarray, "E S"]
    clean_test_cross_entropy: Float[np.ndarray, "E S"]


@dataclasses.dataclass(frozen=True)
class LaneResults:
    """What lanes ended with, before anything is solved.

    Attributes:
      epsilons: [E] attack strengths, sorted.
      lanes: One value a lane.
      history: Per epoch, arrays [E, S, T], NaN where a lane was not trained in an epoch: the fields
        of `phase_jax.training.EpochInfo`.
      clean_example_losses: [E, S, N] loss of each lane's selected parameters on each test image.
      clean_example_cross_entropies: [E, S, N] likewise, plain cross-entropy.
      example_losses: [E, S, N] likewise, loss under the evaluation attack.
      params: Selected parameters, every leaf [E, S, ...].
      model_state: Selected state, likewise.
    """

    epsilons: Float[np.ndarray, "E"]
    lanes: LaneTable
    history: dict[str, Float[np.ndarray, "E S T"]]
    clean_example_losses: Float[np.ndarray, "E S N"]
    clean_example_cross_entropies: Float[np.ndarray, "E S N"]
    example_losses: Float[np.ndarray, "E S N"]
    params: Any
    model_state: Any


@dataclasses.dataclass(frozen=True)
class CrossEntropyReading:
    """Epsilon* of lanes trained with another loss, read off their plain cross-entropy.

    Attributes:
      clean_example_losses: [S, N] clean cross-entropy of each seed's clean model on test images;
        their means are the thresholds.
      epsilon_star: Solved from the cross-entropy of the train loss named in
        `config.solver.train_loss`.
    """

    clean_example_losses: Float[np.ndarray, "S N"]
    epsilon_star: EpsilonStarEstimate

    @property
    def thresholds(self) -> Float[np.ndarray, "S"]:
        """Clean test cross-entropy of each seed's clean model."""
        return self.clean_example_losses.mean(axis=1)


@dataclasses.dataclass(frozen=True)
class AdversarialExamples:
    """A few test images (N of them) under the evaluation attack, for people to look at.

    Attributes:
      images: [N, ...] clean, pixels in [0, 1].
      labels: [N].
      seeds: [E] seed of the lane shown: the first that is OK, -1 where none is.
      adversarial: [E, N, ...] the images attacked at each attack strength.
      probabilities: [E, N, K] of the attacked images, by the lane shown.
      clean_probabilities: [E, N, K] of the clean images, by the same lane.
    """

    images: Float[np.ndarray, "N ..."]
    labels: Int[np.ndarray, "N"]
    seeds: Int[np.ndarray, "E"]
    adversarial: Float[np.ndarray, "E N ..."]
    probabilities: Float[np.ndarray, "E N K"]
    clean_probabilities: Float[np.ndarray, "E N K"]


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """Result of a sweep.

    Attributes:
      config: The resolved configuration: every automatic choice filled in.
      epsilons: [E] attack strengths, sorted, zero first.
      seeds: [S] seed numbers.
      lanes: One value a lane.
      history: Per epoch, arrays [E, S, T]: the fields of `phase_jax.training.EpochInfo`.
      clean_example_losses: [S, N] clean loss of each seed's clean model on each test image; their
        means are the thresholds.
      example_losses: [E, S, N] loss of each lane's selected parameters on each test image under
        the evaluation attack.
      thresholds: [S] clean test loss of each seed's clean model.
      epsilon_star: Solved from the train loss named in `config.solver.train_loss`.
      epsilon_star_other: Solved from the other one.
      params: Selected parameters, every leaf [E, S, ...].
      model_state: Selected state, likewise.
      description: Names and fingerprints of data, network and objective.
      environment: Versions, device, source revision.
      seconds: Time spent: compiling, training, evaluating, total.
      cross_entropy: The same in plain cross-entropy, by which objectives can be compared; None
        where the objective is cross-entropy itself.
      notes: What happened on the way that a reader should know: a damaged checkpoint, say.
      adversarial: A few test images under attack; None for a run that kept none.
      clean_distances: [E, S] how far selected parameters lie from the clean lane's of the same
        seed, over the norm of the latter; None for a run that did not measure it.
    """

    config: SweepConfig
    epsilons: Float[np.ndarray, "E"]
    seeds: Int[np.ndarray, "S"]
    lanes: LaneTable
    history: dict[str, Float[np.ndarray, "E S T"]]
    clean_example_losses: Float[np.ndarray, "S N"]
    example_losses: Float[np.ndarray, "E S N"]
    thresholds: Float[np.ndarray, "S"]
    epsilon_star: EpsilonStarEstimate
    epsilon_star_other: EpsilonStarEstimate
    params: Any
    model_state: Any
    description: dict[str, Any]
    environment: dict[str, Any]
    seconds: dict[str, float]
    cross_entropy: CrossEntropyReading | None = None
    notes: tuple[str, ...] = ()
    adversarial: AdversarialExamples | None = None
    clean_distances: Float[np.ndarray, "E S"] | None = None

    @property
    def threshold(self) -> float:
        """Mean of the clean test loss over the seeds whose clean model is sound."""
        return self.average_thresholds(self.thresholds)

    def average_thresholds(self, thresholds: Float[np.ndarray, "S"]) -> float:
        """Average one value a seed over those whose clean lane is OK; NaN where none is.

        The threshold of a clean model that diverged or collapsed belongs to no epsilon*.
        """
        sound = thresholds[self.lanes.status[0] == LaneStatus.OK]
        return float(sound.mean()) if sound.size else float("nan")

    def to_dataframe(self, table: str = "lanes") -> pd.DataFrame:
        """Make a pandas data frame: the rows of `lanes.csv`, or the same lanes epoch by epoch.

        Args:
          table: `lanes`, or `history`.

        Returns:
          The frame; epsilon is a radius in pixel space [0, 1].

        Raises:
          InputError: There is no such table, or pandas is not installed.
        """
        from phase_jax.sweep.convert import list_history, list_lanes

        tables = {"lanes": lambda: list_lanes(self), "history": lambda: list_history(self)}
        return build_dataframe(choose_rows(table, tables))

    def to_dict(self) -> dict[str, Any]:
        """Make a plain dict of all arrays but the parameters, as `xarray.Dataset.from_dict` takes.

        Axes are `epsilon`, `seed`, `epoch` and `example`; what `history` holds begins with
        `history_`; `epsilon_star` is that of each seed, and over seeds in `attrs`.
        """
        from phase_jax.sweep.convert import describe_sweep

        return describe_sweep(self)
