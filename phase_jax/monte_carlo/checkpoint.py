"""What a Monte Carlo run saves, and continues from."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from phase_jax.distributed import run_once, share_arrays
from phase_jax.monte_carlo.statistics import Accumulator, Moments, Reservoir
from phase_jax.storage.checkpoint import CheckpointFile, Saved

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

KIND = "monte_carlo"
SCHEMA_VERSION = 2


class SavedRun(NamedTuple):
    """Everything a run needs to go on; it covers whole chunks only.

    A last, padded chunk is computed again when the run is extended, so that an extended run adds
    the same chunks in the same order as one that was long from the start.
    """

    batch_size: int
    """Replicates per chunk."""
    accumulator: Accumulator
    values: tuple[np.ndarray, ...]
    """[R, ...] outputs of the replicates done, one array per leaf; empty if they are not kept."""


class MonteCarloFile:
    """Where a run is saved, and the run found there.

    Attributes:
      path: The newest checkpoint.
      saved: What was found; None for a new run.
      notes: What the user should know about that.
    """

    def __init__(self, path: str | os.PathLike):
        """Read what is there.

        Raises:
          InputError: See `CheckpointFile`.
        """
        self.path = pathlib.Path(path)
        self._file: CheckpointFile | None = None  # of the process that writes
        self.notes = tuple(run_once(self._open))
        found = self._file.saved if self._file is not None else None
        arrays = share_arrays(None if found is None else found.arrays)
        self.saved = _unpack(arrays) if arrays else None

    def check_identity(self, identity: Mapping[str, Any]) -> None:
        """Make sure that what was found belongs to this run; see `CheckpointFile`."""
        run_once(lambda: self._file and self._file.check_identity(identity))

    def save(self, identity: Mapping[str, Any], run: SavedRun) -> None:
        """Save a run.

        Raises:
          InterruptedRunError: It cannot be written; the last good checkpoint is still there.
        """
        progress = f"{run.accumulator.num_done} replicates"
        if self._file is not None:
            self._file.save(Saved(dict(identity), progress, _pack(run)))

    def _open(self) -> tuple[str, ...]:
        """Read what is there; return notes about it."""
        self._file = CheckpointFile(self.path, kind=KIND, version=SCHEMA_VERSION)
        return self._file.notes


def _pack(run: SavedRun) -> dict[str, np.ndarray]:
    """Turn a run into named arrays."""
    accumulator = run.accumulator
    arrays = {
        "batch_size": np.asarray(run.batch_size),
        "num_done": np.asarray(accumulator.num_done),
        "hashes": accumulator.reservoir.hashes,
        "kept": accumulator.reservoir.values,
    }
    arrays |= {f"moments_{name}": v for name, v in accumulator.moments._asdict().items()}
    return arrays | {f"values_{leaf}": value for leaf, value in enumerate(run.values)}


def _unpack(arrays: Mapping[str, np.ndarray]) -> SavedRun:
    """Turn named arrays into a run."""
    moments = Moments(*(arrays[f"moments_{name}"] for name in Moments._fields))
    reservoir = Reservoir(arrays["hashes"], arrays["kept"])
    num_values = sum(name.startswith("values_") for name in arrays)
    return SavedRun(
        int(arrays["batch_size"]),
        Accumulator(int(arrays["num_done"]), moments, reservoir),
        tuple(arrays[f"values_{leaf}"] for leaf in range(num_values)),
    )
