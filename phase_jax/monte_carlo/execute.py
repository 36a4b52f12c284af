"""The loop over chunks: dispatch, fetch, accumulate, save."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import time
from typing import TYPE_CHECKING

import jax
import numpy as np
import threadpoolctl

from phase_jax.monte_carlo.checkpoint import MonteCarloFile, SavedRun
from phase_jax.monte_carlo.statistics import Accumulator, absorb, start_accumulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from phase_jax.monte_carlo.program import ChunkProgram


@dataclasses.dataclass(frozen=True)
class MonteCarloProgress:
    """How far a run is; passed to `progress_fn` after every chunk.

    Attributes:
      num_done: Replicates done, resumed ones included.
      num_replicates: R, replicates asked for.
      num_resumed: Replicates that came from the checkpoint.
      batch_size: Replicates per chunk.
      seconds: Time since the first chunk of this call started; compilation is not in it.
    """

    num_done: int
    num_replicates: int
    num_resumed: int
    batch_size: int
    seconds: float

    @property
    def seconds_left(self) -> float:
        """Time that the rest will take at the rate so far."""
        rate = (self.num_done - self.num_resumed) / max(self.seconds, 1e-9)
        return (self.num_replicates - self.num_done) / max(rate, 1e-9)


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """What the loop over chunks needs to know.

    Attributes:
      program: The compiled chunk.
      num_replicates: R.
      num_kept: Size of the reservoir.
      keep_values: Whether every replicate's outputs are kept.
      identity: What a checkpoint says about whose it is.
      file: Where checkpoints go, and the run to go on from; None for neither.
      checkpoint_seconds: Time between saves.
    """

    program: ChunkProgram
    num_replicates: int
    num_kept: int
    keep_values: bool
    identity: dict[str, Any]
    file: MonteCarloFile | None
    checkpoint_seconds: float

    @property
    def num_resumed(self) -> int:
        """Replicates that the checkpoint holds."""
        saved = self.file.saved if self.file else None
        return saved.accumulator.num_done if saved else 0

    def save(self, accumulator: Accumulator, values: list[np.ndarray]) -> None:
        """Write a checkpoint of the replicates done so far, whole chunks of them.

        Raises:
          InterruptedRunError: It cannot be written.
        """
        if self.file is not None:
            kept = tuple(value[: accumulator.num_done] for value in values)
            self.file.save(self.identity, SavedRun(self.program.width, accumulator, kept))


def run_chunks(
    plan: RunPlan, progress_fn: Callable[[MonteCarloProgress], object] | None
) -> tuple[Accumulator, list[np.ndarray]]:
    """Run the replicates that are missing, in order, and save on the way.

    Args:
      plan: The run.
      progress_fn: Called after every chunk.

    Returns:
      The accumulator over all replicates, and the kept outputs [R, ...], one array per leaf (none
      unless they are kept).

    Raises:
      InterruptedRunError: A checkpoint cannot be written.
    """
    whole, values = _restore(plan)  # `whole` covers whole chunks: what a checkpoint may hold
    latest, num_saved = whole, whole.num_done
    begin = last_save = time.perf_counter()
    try:
        for leaves in _fetch_chunks(plan):
            for kept, leaf in zip(values, leaves, strict=plan.keep_values):
                kept[latest.num_done : latest.num_done + len(leaf)] = leaf
            rows = plan.program.layout.flatten(leaves)
            latest = absorb(latest, rows, plan.num_kept)
            if len(rows) == plan.program.width:
                whole = latest
            now = time.perf_counter()
            if now - last_save >= plan.checkpoint_seconds and whole.num_done > num_saved:
                plan.save(whole, values)
                last_save, num_saved = time.perf_counter(), whole.num_done
            if progress_fn is not None:
                progress_fn(_describe_progress(plan, latest.num_done, now - begin))
    except KeyboardInterrupt:
        if whole.num_done > num_saved:
            plan.save(whole, values)
        raise
    if whole.num_done > num_saved or not plan.num_resumed:
        plan.save(whole, values)
    return latest, values


def _describe_progress(plan: RunPlan, num_done: int, seconds: float) -> MonteCarloProgress:
    """Put together what `progress_fn` is told."""
    return MonteCarloProgress(
        num_done, plan.num_replicates, plan.num_resumed, plan.program.width, seconds
    )


def _restore(plan: RunPlan) -> tuple[Accumulator, list[np.ndarray]]:
    """Return the state to start from, and arrays for the outputs of all replicates."""
    layout = plan.program.layout
    saved = plan.file.saved if plan.file else None
    values = []
    if plan.keep_values:
        kinds = zip(layout.shapes, layout.dtypes, strict=True)
        values = [np.empty((plan.num_replicates, *shape), dtype) for shape, dtype in kinds]
    if saved is None:
        return start_accumulator(sum(layout.sizes)), values
    for value, kept in zip(values, saved.values, strict=plan.keep_values):
        value[: len(kept)] = kept
    return saved.accumulator, values


def _fetch_chunks(plan: RunPlan) -> Iterator[list[np.ndarray]]:
    """Yield the outputs of each chunk that is missing, in order, without the padding.

    Several chunks are under way at once, each in a thread of its own: on a CPU one thread's
    programs run one after the other, elsewhere the device works on while the host merges.
    """

    def run(start: int) -> list[np.ndarray]:
        outputs = plan.program.dispatch(start)
        return jax.device_get(jax.tree_util.tree_leaves(outputs))

    # Chunks fill the cores already. On a busy machine threads of the BLAS below LAPACK wait for one
    # another, spinning: solves with 150 features took 270 times as long.
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        yield from _run_side_by_side(run, plan)


def _run_side_by_side(
    run: Callable[[int], list[np.ndarray]], plan: RunPlan
) -> Iterator[list[np.ndarray]]:
    """Keep as many chunks under way as the program can bear; yield their outputs in order."""
    num_threads = plan.program.count_threads()
    starts = collections.deque(range(plan.num_resumed, plan.num_replicates, plan.program.width))
    pending = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(num_threads)
    try:
        while starts or pending:
            while starts and len(pending) <= num_threads:
                start = starts.popleft()
                pending.append((start, pool.submit(run, start)))
            start, future = pending.popleft()
            yield [leaf[: plan.num_replicates - start] for leaf in future.result()]
    finally:
        pool.shutdown(cancel_futures=True)
