"""Several processes as one run: they join, agree, and leave directories to the first of them.

Every process runs the same program with its own devices. What keys and data decide is the same
everywhere. What a clock, a signal or a directory decides is told to all: the answer of process 0,
or the largest answer. With one process nothing here costs anything.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import re
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from phase_jax.types import InputError, InterruptedRunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Answer = TypeVar("Answer")

BLOCK = 2**20
"""Bytes told at a time: one compiled program tells anything, and devices hold no more."""
LOSS = re.compile("gloo|nccl|coordination service|connection|socket|peer", re.IGNORECASE)
"""How the errors read of programs that miss a process."""


def join_processes(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    lost_after: float = 60.0,
) -> None:
    """Make this process one of several; before JAX has looked at its devices.

    Args:
      coordinator: HOST:PORT of process 0, where the others find it; None, as for the other two,
        for what SLURM, Open MPI, Kubernetes or Cloud TPU say.
      num_processes: How many there are.
      process_id: Which one this is, from 0.
      lost_after: Seconds without a sign of life after which a process counts as lost.

    Raises:
      InputError: Nothing says who the others are, or their numbers of devices differ.
      InterruptedRunError: The others are not found.
    """
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from us
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            local_device_ids=[] if coordinator or _is_alone_on_node() else None,
            heartbeat_timeout_seconds=math.ceil(lost_after),
        )
    except (ValueError, TypeError):
        raise InputError(
            "--distributed: neither SLURM, Open MPI, Kubernetes nor a Cloud TPU says who the other "
            "processes are; give --coordinator, --num-processes and --process-id"
        ) from None
    except RuntimeError as error:
        raise InterruptedRunError(f"--distributed: no contact with the others: {error}") from None
    _meet()
    counts = np.bincount([device.process_index for device in jax.devices()])
    if len(set(counts)) > 1:
        raise share_failure(
            InputError(
                f"--distributed: the processes have {', '.join(map(str, counts))} devices; "
                "allowed: equal numbers (--cpu-devices)"
            )
        )


def is_writer() -> bool:
    """Return whether this process is the one that writes files and talks."""
    return jax.process_index() == 0


def agree(value: int | bool | None) -> int:
    """Return the largest value that any process has; None and False count as 0."""
    value = int(value or 0)
    if jax.process_count() == 1:
        return value
    return int(np.max(multihost_utils.process_allgather(np.int32(value))))


def share(value: Any, source: int = 0) -> Any:
    """Tell all processes the value that one of them has, plain data for JSON."""
    if jax.process_count() == 1:
        return value
    content = np.frombuffer(json.dumps(value).encode(), np.uint8)
    is_source = jax.process_index() == source
    size = multihost_utils.broadcast_one_to_all(np.int32(len(content)), is_source)
    return json.loads(_share_bytes(content, int(size), is_source).tobytes())


def share_arrays(arrays: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
    """Tell all processes the named arrays of process 0; what the others give does not matter."""
    if jax.process_count() == 1:
        return dict(arrays or {})
    described = {name: (array.dtype.str, array.shape) for name, array in (arrays or {}).items()}
    received = {}
    for name, (kind, shape) in share(described).items():
        dtype = np.dtype(kind)
        content = np.zeros(0, np.uint8)
        if is_writer() and arrays is not None:
            content = np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8)
        size = math.prod(shape) * dtype.itemsize
        received[name] = _share_bytes(content, size, is_writer()).view(dtype).reshape(shape)
    return received


def put_everywhere(tree: Any, sharding: NamedSharding) -> Any:
    """Bring a pytree of arrays that every process has to the devices of all."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_callback(leaf.shape, sharding, lambda at: leaf[at]), tree
    )


def gather_everywhere(tree: Any, mesh: Mesh) -> Any:
    """Bring a pytree of arrays on the devices of all processes to the host of each."""
    if jax.process_count() > 1:
        tree = jax.jit(_return, out_shardings=NamedSharding(mesh, PartitionSpec()))(tree)
    return jax.device_get(tree)


def run_once(fn: Callable[[], Answer]) -> Answer:
    """Let process 0 do something; all get its answer, plain data for JSON, or its refusal.

    Raises:
      InputError: Process 0 was refused.
      InterruptedRunError: Process 0 could not go on.
    """
    if jax.process_count() == 1:
        return fn()
    answer, failure = None, None
    if is_writer():
        try:
            answer = fn()
        except (InputError, InterruptedRunError) as error:
            failure = error
    text = None if failure is None else str(failure)
    answer, text, is_input = share([answer, text, isinstance(failure, InputError)])
    if text is None:
        return answer
    raise share_failure(failure or (InputError if is_input else InterruptedRunError)(text))


@contextlib.contextmanager
def open_once(context: contextlib.AbstractContextManager[pathlib.Path]) -> Iterator[pathlib.Path]:
    """Open a directory in process 0; the others learn its name.

    Raises:
      InputError: Process 0 was refused.
      InterruptedRunError: Process 0 could not go on, or a process was lost while this was open.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_explain_loss())
        yield pathlib.Path(run_once(lambda: str(stack.enter_context(context))))


def require_same(settings: Mapping[str, Any]) -> None:
    """Make sure that all processes were given the same.

    Raises:
      InputError: They were not; in all processes, with the fields that differ in the first of them.
    """
    if jax.process_count() == 1:
        return
    mine, expected = json.loads(json.dumps(settings)), share(settings)
    here = f"in process {jax.process_index()}"
    differing = [
        f"{field} is {mine.get(field)!r} {here} but {value!r} in process 0"
        for field, value in {**dict.fromkeys(mine), **expected}.items()
        if mine.get(field) != value
    ]
    (odd,) = np.nonzero(multihost_utils.process_allgather(np.bool_(bool(differing))))
    if odd.size:
        text = share(", ".join(differing), int(odd[0]))
        raise share_failure(InputError(f"{text}; allowed: equal settings, data and versions"))


def share_failure(error: Any) -> Any:
    """Mark an error that every process raises at this place: they leave together."""
    error.is_shared = True
    return error


def _meet() -> None:
    """Let the processes find one another, before any of them falls behind.

    On CPUs a group of devices that works together for the first time waits half a minute for its
    members, later as long as it takes.
    """
    mesh = Mesh(np.asarray(jax.devices()), ("all",))
    share(None)
    sharding = NamedSharding(mesh, PartitionSpec("all"))
    gather_everywhere(put_everywhere(np.zeros(mesh.size, np.float32), sharding), mesh)


def _return(tree: Any) -> Any:
    return tree


def _is_alone_on_node() -> bool:
    """Return whether this is its node's only SLURM task; JAX would give it one GPU of all."""
    num_nodes = os.environ.get("SLURM_STEP_NUM_NODES")
    return num_nodes is not None and num_nodes == os.environ.get("SLURM_NTASKS")


def _share_bytes(content: np.ndarray, size: int, is_source: bool) -> np.ndarray:
    """Tell all processes the bytes of one, block by block."""
    blocks = np.zeros((math.ceil(size / BLOCK), BLOCK), np.uint8)
    if is_source:
        blocks.reshape(-1)[:size] = content
    for block in blocks:
        block[:] = multihost_utils.broadcast_one_to_all(block, is_source)
    return blocks.reshape(-1)[:size]


@contextlib.contextmanager
def _explain_loss() -> Iterator[None]:
    """Turn the error of a program that missed a process into one line."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # JAX's own, by the kind of its status
        is_ours = isinstance(error, (InputError, InterruptedRunError))
        if is_ours or jax.process_count() == 1 or not LOSS.search(str(error)):
            raise
        raise InterruptedRunError(
            "another process of this run is gone; what was saved last is what can be resumed "
            f"({str(error).splitlines()[0]})"
        ) from None
