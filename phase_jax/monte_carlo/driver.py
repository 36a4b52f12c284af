"""The Monte Carlo driver: from a random experiment to statistics with standard errors."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.distributed import require_same
from phase_jax.monte_carlo.checkpoint import MonteCarloFile
from phase_jax.monte_carlo.execute import MonteCarloProgress, RunPlan, run_chunks
from phase_jax.monte_carlo.program import (
    PROBE_WIDTH,
    OutputLayout,
    compile_chunk,
    trace_chunk,
)
from phase_jax.monte_carlo.statistics import (
    RESERVOIR_BYTES,
    Accumulator,
    Summary,
    limit_num_kept,
    list_statistics,
    summarize,
)
from phase_jax.tables import build_dataframe
from phase_jax.types import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import pandas as pd
    from jaxtyping import PRNGKeyArray

MAX_REPLICATES = 2**32  # an index has 32 bits


@dataclasses.dataclass(frozen=True)
class MonteCarloResult:
    """Statistics of a Monte Carlo run.

    Attributes:
      summary: The pytree that `replicate_fn` returns, with a `Summary` in place of each array.
      levels: Quantile levels, in the order of the quantiles in `summary`.
      values: Outputs of every replicate: the same pytree of NumPy arrays [R, ...]; None unless
        asked for.
      num_replicates: R.
      num_kept: Replicates that quantiles rest on: all of them, or a uniform subsample.
      num_resumed: Replicates that came from the checkpoint.
      num_devices: Devices that shared each chunk.
      batch_size: Replicates per chunk. Equal ones give equal bits.
      compile_seconds: Time for checking, tracing and compiling.
      seconds: Time for running the replicates that were not resumed.
      notes: What happened on the way that a reader should know: a damaged checkpoint, say.
    """

    summary: Any
    levels: tuple[float, ...]
    values: Any
    num_replicates: int
    num_kept: int
    num_resumed: int
    num_devices: int
    batch_size: int
    compile_seconds: float
    seconds: float
    notes: tuple[str, ...] = ()

    def to_dataframe(self) -> pd.DataFrame:
        """Make a pandas data frame of the statistics: a row an output, or element of an array.

        Columns are `output` (its path in what `replicate_fn` returns, and the place in an array),
        the fields of `Summary`, and for each level q `quantile_q` and `quantile_q_standard_error`.

        Raises:
          InputError: pandas is not installed.
        """
        return build_dataframe(list_statistics(self.summary, self.levels))


def run_monte_carlo(
    replicate_fn: Callable[[PRNGKeyArray], Any],
    key: PRNGKeyArray,
    num_replicates: int,
    *,
    batch_size: int | None = None,
    memory_limit: int | None = None,
    quantiles: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
    num_kept: int = 16_384,
    keep_values: bool = False,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_seconds: float = 30.0,
    label: str = "",
    progress_fn: Callable[[MonteCarloProgress], object] | None = None,
    devices: Sequence[Any] | None = None,
) -> MonteCarloResult:
    """Estimate what a random experiment gives, with standard errors.

    Replicate i gets the key `jax.random.fold_in(key, i)`, so it depends neither on the number of
    replicates nor on the devices. Chunks of one width run in one compiled program; the last is
    padded. A run that was interrupted and resumed, or extended, equals an uninterrupted one bit
    for bit on the same machine. Values that are not finite are left out and counted, element by
    element. Memory does not grow with `num_replicates` unless `keep_values`.

    Quantiles are exact up to `num_kept` replicates. Beyond, they are those of a uniform subsample:
    the `num_kept` replicates whose indices have the smallest hashes. Their standard errors then
    reflect the subsample's size. All other statistics use every replicate.

    Args:
      replicate_fn: Function of one key that JAX can trace; returns a pytree of arrays of floats,
        integers or booleans (flags become 0 and 1, so that their mean is a share).
      key: One typed key, from `jax.random.key`.
      num_replicates: R, from 1 to 2^32.
      batch_size: Replicates per chunk, rounded up to a multiple of the number of devices. None:
        the checkpoint's, or as many as fit into `memory_limit`, in at least 16 chunks where these
        are not too small. The value decides bits, so a resumed run must have the same.
      memory_limit: Bytes per device for one chunk; None for 4 MiB on a CPU, a quarter of the
        memory elsewhere. Not used when `batch_size` is given or resumed.
      quantiles: Levels in [0, 1].
      num_kept: Replicates kept for quantiles, at least 2; fewer if they would take over 64 MiB.
      keep_values: Whether to return every replicate's outputs. The checkpoint then holds them too
        and is written anew, whole, each time.
      checkpoint: File to continue from, if it exists, and to save to; None for neither. Beside it
        the one before is kept, with `.previous` added to its name.
      checkpoint_seconds: Time between saves, at least 0 (after every chunk).
      label: What `replicate_fn` computes, in your words. A checkpoint with another label is
        refused: nothing else would notice that the function has changed.
      progress_fn: Called after every chunk.
      devices: Devices that share each chunk; None for all.

    Returns:
      Statistics of every output.

    Raises:
      InputError: An argument is wrong, or the checkpoint belongs to another run.
      InterruptedRunError: The checkpoint cannot be written.
    """
    begin = time.perf_counter()
    _check_counts(num_replicates, num_kept, batch_size, memory_limit)
    _check_key(key)
    _check_texts(label, checkpoint_seconds)
    levels = _check_levels(quantiles)
    devices = _check_devices(devices)
    file = None if checkpoint is None else MonteCarloFile(checkpoint)
    width = _settle_width(batch_size, file, len(devices))
    probe_width = min(PROBE_WIDTH, -(-num_replicates // len(devices))) * len(devices)
    program = trace_chunk(replicate_fn, key, width or probe_width, devices)
    capacity = limit_num_kept(num_kept, sum(program.layout.sizes))
    identity = _describe_identity(key, label, program.layout, capacity, keep_values)
    require_same(identity)
    if file is not None:
        _check_belongs(file, identity, num_replicates)
    program = program.compile() if width else compile_chunk(program, num_replicates, memory_limit)
    compile_seconds = time.perf_counter() - begin
    plan = RunPlan(
        program, num_replicates, capacity, bool(keep_values), identity, file, checkpoint_seconds
    )
    accumulator, values = run_chunks(plan, progress_fn)
    return MonteCarloResult(
        summary=_shape_summary(accumulator, levels, program.layout),
        levels=levels,
        values=program.layout.unflatten(values) if keep_values else None,
        num_replicates=num_replicates,
        num_kept=len(accumulator.reservoir.hashes),
        num_resumed=plan.num_resumed,
        num_devices=len(devices),
        batch_size=program.width,
        compile_seconds=compile_seconds,
        seconds=time.perf_counter() - begin - compile_seconds,
        notes=_gather_notes(file, capacity, min(num_kept, num_replicates)),
    )


def _shape_summary(accumulator: Accumulator, levels: tuple[float, ...], layout: OutputLayout):
    """Give statistics the shapes and the pytree of the outputs."""
    columns = [layout.split(field) for field in summarize(accumulator, levels)]
    return layout.unflatten([Summary(*fields) for fields in zip(*columns, strict=True)])


def _gather_notes(file: MonteCarloFile | None, capacity: int, wanted: int) -> tuple[str, ...]:
    """Gather what a reader of the result should know."""
    notes = file.notes if file is not None else ()
    if capacity < wanted:
        limit = RESERVOIR_BYTES // 2**20
        notes += (f"quantiles rest on {capacity} replicates: more would take over {limit} MiB",)
    return notes


def _check_counts(
    num_replicates: int, num_kept: int, batch_size: int | None, memory_limit: int | None
) -> None:
    """Refuse counts that are no integers, or outside their range."""
    counts = (
        ("num_replicates", num_replicates, 1, MAX_REPLICATES),
        ("num_kept", num_kept, 2, math.inf),
        ("batch_size", 1 if batch_size is None else batch_size, 1, MAX_REPLICATES),
        ("memory_limit", 1 if memory_limit is None else memory_limit, 1, math.inf),
    )
    for name, value, low, high in counts:
        is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not (is_integer and low <= value <= high):
            most = "" if high == math.inf else f" and at most {high}"
            raise InputError(f"{name} is {value!r}; allowed: an integer of at least {low}{most}")


def _check_key(key: Any) -> None:
    """Refuse what is not one typed key."""
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not typed or key.shape:
        what = f"{key.dtype}{list(key.shape)}" if isinstance(key, jax.Array) else repr(key)
        raise InputError(f"key is {what}; allowed: one typed key, such as jax.random.key(0)")


def _check_texts(label: str, checkpoint_seconds: float) -> None:
    """Refuse a label that is no text, and a time that is none."""
    if not isinstance(label, str):
        raise InputError(f"label is {label!r}; allowed: text")
    if not (isinstance(checkpoint_seconds, int | float) and checkpoint_seconds >= 0):
        raise InputError(f"checkpoint_seconds is {checkpoint_seconds!r}; allowed: at least 0")


def _check_levels(quantiles: Sequence[float]) -> tuple[float, ...]:
    """Return quantile levels as numbers; refuse what is outside [0, 1]."""
    try:
        levels = tuple(float(level) for level in quantiles)
    except (TypeError, ValueError):
        raise InputError(f"quantiles is {quantiles!r}; allowed: numbers in [0, 1]") from None
    for level in levels:
        if not 0 <= level <= 1:
            raise InputError(f"quantiles has {level!r}; allowed: numbers in [0, 1]")
    return levels


def _check_devices(devices: Sequence[Any] | None) -> list[Any]:
    """Return the devices to use; refuse none, and one named twice."""
    devices = jax.devices() if devices is None else list(devices)
    if not devices or len(set(devices)) < len(devices):
        raise InputError(f"devices is {devices!r}; allowed: one device or several different ones")
    return devices


def _settle_width(batch_size: int | None, file: MonteCarloFile | None, num_devices: int):
    """Return the width of a chunk if the user or the checkpoint decides it, else None."""
    width = None if batch_size is None else -(-int(batch_size) // num_devices) * num_devices
    if file is None or file.saved is None or not file.saved.accumulator.num_done:
        return width
    saved = file.saved.batch_size
    if saved % num_devices or width not in (None, saved):
        found = f"is {width}" if width else f"must be a multiple of {num_devices}, the devices,"
        raise InputError(
            f"checkpoint {str(file.path)!r}: batch_size is {saved} there but {found} in this run; "
            "give another file, or that batch size and a number of devices that divides it"
        )
    return saved


def _describe_identity(
    key: PRNGKeyArray, label: str, layout: OutputLayout, num_kept: int, keep_values: bool
) -> dict[str, Any]:
    """Describe what must be equal in two runs of which one continues the other."""
    leaves = zip(layout.paths, layout.dtypes, layout.shapes, strict=True)
    return {
        "label": label,
        "key": f"{jax.random.key_impl(key)} {np.asarray(jax.random.key_data(key)).tolist()}",
        "outputs": ", ".join(f"{path} {kind}{list(shape)}".strip() for path, kind, shape in leaves),
        "default float type": str(jnp.result_type(float)),
        "num_kept": num_kept,
        "keep_values": bool(keep_values),
    }


def _check_belongs(file: MonteCarloFile, identity: dict[str, Any], num_replicates: int) -> None:
    """Refuse a checkpoint of another run, or of more replicates than are asked for."""
    file.check_identity(identity)
    num_done = file.saved.accumulator.num_done if file.saved else 0
    if num_done > num_replicates:
        raise InputError(
            f"num_replicates is {num_replicates}, but checkpoint {str(file.path)!r} holds "
            f"{num_done}; allowed: at least {num_done}, or another file"
        )
