"""What a study is, what it is given, and what it returns."""

from __future__ import annotations

import dataclasses
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from phase_jax.distributed import run_once
from phase_jax.monte_carlo import run_monte_carlo
from phase_jax.simulate.directory import CHECKPOINTS
from phase_jax.tables import build_dataframe

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Sequence

    import pandas as pd
    from jaxtyping import PRNGKeyArray
    from matplotlib.figure import Figure

    from phase_jax.monte_carlo import MonteCarloProgress, MonteCarloResult


class StudyResult(NamedTuple):
    """What a study found."""

    rows: list[dict[str, Any]]
    """A tidy table, for STUDY.csv; rows may have different columns."""
    summary: dict[str, Any]
    """The study's own settings and its main numbers, for STUDY.json."""
    findings: list[str]
    """Plain sentences with numbers and their uncertainty."""
    figures: dict[str, Figure]
    """Written to NAME.png and NAME.svg."""

    def to_dataframe(self) -> pd.DataFrame:
        """Make a pandas data frame of the table.

        Raises:
          InputError: pandas is not installed.
        """
        return build_dataframe(self.rows)


class Study(NamedTuple):
    """A study."""

    name: str
    title: str
    """One line, with the paper's figure or theorem."""
    run: Callable[[StudyContext], StudyResult]
    seconds: tuple[float, float]
    """Time on two CPU cores: by default, and with --full."""
    unresolved: str = ""
    """What float32 does not resolve: the first finding of a run in float32."""


@dataclasses.dataclass(frozen=True)
class StudyContext:
    """What a study is given.

    Attributes:
      out: Directory of the results; checkpoints are kept in a directory inside.
      study: Name of the study.
      full: Whether the numbers are those of --full.
      replicates: What --replicates says; None for the study's own numbers.
      seed: Decides every random number of the study.
      dtype: Floating-point type of the data, `float64` or `float32`.
      progress_fn: Called with the name of a simulation and its progress after every chunk.
    """

    out: pathlib.Path
    study: str = "study"
    full: bool = False
    replicates: int | None = None
    seed: int = 0
    dtype: Any = jnp.float64
    progress_fn: Callable[[str, MonteCarloProgress], object] | None = None

    def count(self, default: int, full: int) -> int:
        """Choose a number of replicates: --replicates, else `full` or `default`."""
        if self.replicates is not None:
            return self.replicates
        return full if self.full else default

    def make_key(self, name: str) -> PRNGKeyArray:
        """Make the key of one simulation, from the seed, the study and the simulation's name."""
        mark = zlib.crc32(f"{self.study}/{name}".encode())
        return jax.random.fold_in(jax.random.key(self.seed), mark)

    def simulate(
        self,
        name: str,
        replicate_fn: Callable[[PRNGKeyArray], Any],
        num_replicates: int,
        *,
        batch_size: int | None = None,
        keep_values: bool = False,
        quantiles: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
        label: str = "",
    ) -> MonteCarloResult:
        """Run one Monte Carlo simulation of the study; an interrupted one goes on.

        Args:
          name: Names the simulation within the study: its random numbers and its checkpoint.
          replicate_fn: See `run_monte_carlo`.
          num_replicates: R.
          batch_size: Replicates per chunk; None for as many as memory suggests.
          keep_values: Whether to return every replicate's outputs.
          quantiles: Levels in [0, 1].
          label: Settings that `replicate_fn` closes over; a checkpoint with others is refused.

        Returns:
          Statistics of every output.

        Raises:
          InputError: An argument is wrong.
          InterruptedRunError: The checkpoint cannot be written.
        """
        folder = self.out / CHECKPOINTS
        run_once(lambda: folder.mkdir(parents=True, exist_ok=True))
        show = self.progress_fn
        return run_monte_carlo(
            replicate_fn,
            self.make_key(name),
            num_replicates,
            batch_size=batch_size,
            keep_values=keep_values,
            quantiles=quantiles,
            checkpoint=folder / f"{name}.npz",
            label=f"{self.study}, {name}, {jnp.dtype(self.dtype).name}, {label}",
            progress_fn=None if show is None else lambda progress: show(name, progress),
        )
