"""One call from a network and images to a verdict: is this attack strength past the transition?"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from phase_jax.adaptive.run import run_adaptive_sweep
from phase_jax.config import FineTuningConfig, SweepConfig
from phase_jax.finetune.plots import draw_fit
from phase_jax.finetune.run import ImportedModel, run_fine_tuning
from phase_jax.finetune.write import write_fine_tuning
from phase_jax.models import take_nnx
from phase_jax.report.plots import draw_loss_curve
from phase_jax.report.wording import describe_cautions, describe_outcome
from phase_jax.report.write import write_result
from phase_jax.types import Dataset, InputError, LaneStatus

if TYPE_CHECKING:
    import os
    import pathlib
    from collections.abc import Callable

    import pandas as pd
    from jaxtyping import Float
    from matplotlib.figure import Figure

    from phase_jax.adaptive.settings import AdaptiveConfig
    from phase_jax.finetune.result import FineTuningResult
    from phase_jax.sweep.execute import SweepProgress
    from phase_jax.sweep.result import SweepResult
    from phase_jax.types import EpsilonStarEstimate

FRACTIONS = (1 / 32, 1 / 16, 1 / 8)
"""Attack strengths to fine-tune at, in units of the one asked about: at 8/255 the paper's own."""


class Curve(NamedTuple):
    """Losses against the attack strength, means over the seeds whose lanes are sound."""

    epsilons: Float[np.ndarray, "E"]
    train_loss: Float[np.ndarray, "E"]
    test_loss: Float[np.ndarray, "E"]
    threshold: float
    """Clean test loss of the clean model."""


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found; prints as its verdict.

    Attributes:
      epsilon: The attack strength asked about.
      verdict: One sentence.
      cautions: What limits it, a sentence each.
      lanes: The trained or fine-tuned lanes, as a sweep's result.
      fine_tuning: Where the clean model was given; None for an adaptive sweep.
    """

    epsilon: float
    verdict: str
    cautions: tuple[str, ...]
    lanes: SweepResult
    fine_tuning: FineTuningResult | None

    def __str__(self) -> str:
        return "\n".join([self.verdict, *(f"caution: {text}" for text in self.cautions)])

    @property
    def epsilon_star(self) -> EpsilonStarEstimate:
        """The critical attack strength, with interval and status."""
        return (self.fine_tuning or self.lanes).epsilon_star

    @property
    def curve(self) -> Curve:
        """The losses that it was read off."""
        table = self.lanes.lanes
        sound = table.status == LaneStatus.OK

        def average(values: np.ndarray) -> np.ndarray:
            number = sound.sum(axis=1)
            total = np.where(sound, values, 0).sum(axis=1)
            return np.where(number > 0, total / np.maximum(number, 1), np.nan)

        return Curve(
            self.lanes.epsilons,
            average(table.train_loss),
            average(table.evaluated_test_loss),
            self.lanes.threshold,
        )

    def to_dataframe(self, table: str | None = None) -> pd.DataFrame:
        """Make a pandas data frame of what was trained: a row a lane, or another table of it.

        Args:
          table: One of `FineTuningResult.to_dataframe` where the clean model was given, else of
            `SweepResult.to_dataframe`; None for the first.

        Raises:
          InputError: There is no such table, or pandas is not installed.
        """
        found = self.fine_tuning or self.lanes
        return found.to_dataframe() if table is None else found.to_dataframe(table)

    def to_dict(self) -> dict[str, Any]:
        """Make a plain dict of the arrays of all lanes, as `SweepResult.to_dict`."""
        return self.lanes.to_dict()

    def plot(self) -> Figure:
        """Draw the loss curve with threshold and epsilon*, or the fine-tuned points with a line."""
        return draw_fit(self.fine_tuning) if self.fine_tuning else draw_loss_curve(self.lanes)

    def save(self, out: str | os.PathLike) -> pathlib.Path:
        """Write everything to a directory; return the path of its `result.json`."""
        if self.fine_tuning:
            return write_fine_tuning(self.fine_tuning, out)
        return write_result(self.lanes, out)


def diagnose(
    model: Any,
    train: tuple[Any, Any] | str,
    test: tuple[Any, Any] | None = None,
    *,
    epsilon: float = 8 / 255,
    norm: str = "linf",
    params: Any = None,
    model_state: Any = None,
    num_seeds: int = 3,
    config: SweepConfig | None = None,
    fine_tuning: FineTuningConfig | None = None,
    adaptive: AdaptiveConfig | None = None,
    progress_fn: Callable[[SweepProgress], None] | None = None,
) -> Diagnosis:
    """Find epsilon* of a network on given images, and place an attack strength against it.

    With a trained clean model the answer comes from fine-tuning it (Algorithm A.1 of the paper);
    without one, from an adaptive sweep, which trains at attack strengths around the crossing.

    Args:
      model: A Flax Linen module; a function of `nnx.Rngs`, or a class, that builds an NNX module;
        an NNX module, which counts as trained; a pair `(init, apply)` with `init(key) -> params`
        and `apply(params, x) -> logits`; or the name of a network (`config.ModelConfig`).
      train: Training images and labels: uint8, or floats in [0, 1]; or the name of a data set.
      test: Test images and labels; None with a name.
      epsilon: Attack radius in pixel space [0, 1], above 0.
      norm: Attack norm, `linf` or `l2`.
      params: Parameters of a trained clean model of this network.
      model_state: Its other variables, such as BatchNorm statistics (`{"batch_stats": ...}`).
      num_seeds: Repetitions of every attack strength.
      config: Everything else; its target, seeds and norm are replaced, its grid is not used.
      fine_tuning: How to fine-tune; by default at 1/32, 1/16 and 1/8 of `epsilon`.
      adaptive: When an adaptive sweep stops, and how many attack strengths a round adds.
      progress_fn: As in `run_sweep`.

    Returns:
      The diagnosis.

    Raises:
      InputError: An argument is not allowed, or parameters don't fit the network.

    References:
      Definition of epsilon* after Theorem 2; Algorithm A.1.
    """
    if not epsilon > 0:
        raise InputError(f"epsilon: {epsilon} is not allowed; allowed: a radius above 0")
    config = _settle_config(config or SweepConfig(), model, train, epsilon, norm, num_seeds)
    dataset = _settle_data(train, test)
    clean = None
    if isinstance(model, nnx.Module):
        model, own_params, own_state = take_nnx(model)
        clean = ImportedModel(own_params, own_state)
    if params is not None:
        clean = ImportedModel(params, {} if model_state is None else model_state)
    if isinstance(model, str):
        model = None
    if clean is None:
        result = run_adaptive_sweep(
            config, adaptive, model=model, data=dataset, progress_fn=progress_fn
        ).result
        cautions = tuple(describe_cautions(result))
        return Diagnosis(epsilon, describe_outcome(result), cautions, result, None)
    grid = tuple(share * epsilon for share in FRACTIONS)
    tuned = run_fine_tuning(
        config,
        fine_tuning or FineTuningConfig(epsilon_grid=grid, attacks=(config.attack.name,)),
        clean=jax.tree.map(np.asarray, clean),
        model=model,
        data=dataset,
        progress_fn=progress_fn,
    )
    lanes = dataclasses.replace(
        next(iter(tuned.runs.values())), epsilon_star=tuned.epsilon_star, config=config
    )
    return Diagnosis(epsilon, describe_outcome(lanes), tuned.cautions, lanes, tuned)


def _settle_config(
    config: SweepConfig, model: Any, train: Any, epsilon: float, norm: str, num_seeds: int
) -> SweepConfig:
    """Put the arguments into the configuration."""
    named = {"model": model, "data": train}
    groups = {
        group: dataclasses.replace(getattr(config, group), name=name)
        for group, name in named.items()
        if isinstance(name, str)
    }
    return dataclasses.replace(
        config,
        target_epsilon=epsilon,
        num_seeds=num_seeds,
        attack=dataclasses.replace(config.attack, norm=norm),
        **groups,
    )


def _settle_data(train: Any, test: Any) -> Dataset | None:
    """Make a data set of arrays; None for a named one."""
    if isinstance(train, str):
        if test is not None:
            raise InputError("test: arrays are not allowed beside a named data set; allowed: None")
        return None
    for name, pair in (("train", train), ("test", test)):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InputError(f"{name}: allowed: a pair (images, labels), or for train a name")
    images, labels, test_images, test_labels = map(np.asarray, (*train, *test))
    return Dataset(images, labels, test_images, test_labels)
