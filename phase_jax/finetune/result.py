"""What fine-tuning gives back."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

from phase_jax.tables import build_dataframe, choose_rows

if TYPE_CHECKING:
    import pandas as pd

    from phase_jax.config import FineTuningConfig, SweepConfig
    from phase_jax.sweep.result import SweepResult
    from phase_jax.sweep.stability import Stability
    from phase_jax.types import EpsilonStarEstimate


class LinearFit(NamedTuple):
    """Least-squares line through the mean train losses, epsilon = 0 included (Figure A.1)."""

    slope: float
    """Loss per unit of attack strength (pixels in [0, 1])."""
    intercept: float
    r_squared: float
    largest_residual: float
    """Largest distance of a point from the line, as a share of the rise of the points."""


@dataclasses.dataclass(frozen=True)
class Extrapolation:
    """Epsilon* from fine-tuned losses by one method (a column of Table 4).

    Attributes:
      name: `pgd_1`, `pgd_3`, `fgm_isotonic`, ...: the attack, and the number of points of the line
        or the method.
      attack: Attack of fine-tuning.
      method: Solver method: `line`, `regression`, `isotonic`, `monotone_spline`.
      estimate: Epsilon* with its interval from seeds and test images.
      left_out: Each fine-tuned attack strength, and the value without it (None without a value);
        empty where only one was fine-tuned.
      points_low: Smallest of the values with and without each point, None without a value.
      points_high: Largest of them.
    """

    name: str
    attack: str
    method: str
    estimate: EpsilonStarEstimate
    left_out: tuple[tuple[float, float | None], ...]
    points_low: float | None
    points_high: float | None


@dataclasses.dataclass(frozen=True)
class FineTuningResult:
    """Result of a fine-tuning.

    Attributes:
      config: Network, data, clean training: as given.
      fine_tuning: What was fine-tuned.
      origin: Where the clean model comes from: `kind` (`trained`, `run` or `imported`) and `place`.
      runs: Attack -> its lanes, the clean ones (epsilon = 0) first; their selected epoch is 0, and
        their history empty: they were not fine-tuned. `epsilon_star` is that of the regression.
      extrapolations: One for every attack and method.
      fits: Attack -> straight line through the points.
      stability: Attack -> lanes that overfit catastrophically.
      cautions: What a reader must know, in words.
      gradients: Stage (`clean` and the attacks) -> example gradients taken in it.
      seconds: Stage -> seconds spent in it.
      notes: What happened on the way that a reader should know: an interruption, say.
    """

    config: SweepConfig
    fine_tuning: FineTuningConfig
    origin: dict[str, Any]
    runs: dict[str, SweepResult]
    extrapolations: tuple[Extrapolation, ...]
    fits: dict[str, LinearFit]
    stability: dict[str, Stability]
    cautions: tuple[str, ...]
    gradients: dict[str, int]
    seconds: dict[str, float]
    notes: tuple[str, ...] = ()

    @property
    def epsilon_star(self) -> EpsilonStarEstimate:
        """The first attack's regression: the paper's choice."""
        return next(e.estimate for e in self.extrapolations if e.method == "regression")

    def to_dataframe(self, table: str = "points") -> pd.DataFrame:
        """Make a pandas data frame: the rows of `points.csv`, or epsilon* by every method.

        Args:
          table: `points`, or `extrapolations`.

        Returns:
          The frame; epsilon is a radius in pixel space [0, 1].

        Raises:
          InputError: There is no such table, or pandas is not installed.
        """
        from phase_jax.finetune.document import list_extrapolations, list_points

        tables = {
            "points": lambda: list_points(self),
            "extrapolations": lambda: list_extrapolations(self),
        }
        return build_dataframe(choose_rows(table, tables))

    def to_dict(self) -> dict[str, Any]:
        """Make a plain dict of the first attack's arrays, as `SweepResult.to_dict`.

        `epsilon_star` in `attrs` is the regression's; for another attack take
        `runs[attack].to_dict()`.
        """
        return next(iter(self.runs.values())).to_dict()
