"""The one compiled program of a Monte Carlo run: a chunk of replicates of fixed width."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from phase_jax.distributed import put_everywhere, share
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float, PRNGKeyArray

AXIS = "R"
PROBE_WIDTH = 16  # replicates per device in the program whose memory is looked at
FALLBACK_WIDTH = 64  # per device, where a backend does not tell a program's memory
SHORTEST_CHUNK = 1024  # per device; not less for the sake of more chunks
SHORTEST_CHUNK_CPU = 64
LONGEST_CHUNK = 65_536  # per device
MIN_CHUNKS = 16  # so that there is progress to see and to save
CPU_MEMORY = 4 * 2**20  # larger chunks fall out of a CPU's caches
MAX_THREADS = 16
# A CPU's LAPACK routine that is handed a batch. Two programs with such in them, at the same time,
# wait for each other for ever when XLA's pool has two threads (jaxlib 0.10.2, every time).
BATCHED_LAPACK = re.compile(r'custom_call_target="lapack_(?!.*num_batch_dims="0")')
UNKNOWN_MEMORY = 2**30


@dataclasses.dataclass(frozen=True)
class OutputLayout:
    """How the outputs of one replicate lie in a row of M numbers.

    Attributes:
      structure: The pytree without its leaves.
      paths: Name of each leaf.
      shapes: Shape of each leaf, without the axis of replicates.
      dtypes: Type of each leaf as NumPy keeps it.
    """

    structure: Any
    paths: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[np.dtype, ...]

    @property
    def sizes(self) -> list[int]:
        """Number of elements of each leaf."""
        return [int(np.prod(shape, dtype=np.int64)) for shape in self.shapes]

    def flatten(self, leaves: Sequence[np.ndarray]) -> Float[np.ndarray, "R M"]:
        """Put leaves [R, ...] side by side as float64; flags become 0 and 1."""
        rows = [np.asarray(leaf, np.float64).reshape(len(leaf), -1) for leaf in leaves]
        return np.concatenate(rows, axis=1)

    def split(self, row: np.ndarray) -> list[Any]:
        """Cut [..., M] into one array [..., *shape] per leaf; a lone number is a NumPy scalar."""
        parts = np.split(row, np.cumsum(self.sizes)[:-1], axis=-1)
        pairs = zip(parts, self.shapes, strict=True)
        return [part.reshape((*row.shape[:-1], *shape))[()] for part, shape in pairs]

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """Put one object per leaf into the pytree's structure."""
        return jax.tree_util.tree_unflatten(self.structure, leaves)


@dataclasses.dataclass(frozen=True)
class ChunkProgram:
    """A traced, or traced and compiled, chunk.

    Attributes:
      chunk_fn: From replicate indices [R] and a key to outputs [R, ...]; jitted.
      key: The run's key, on every device.
      sharding: Where replicate indices go.
      width: Replicates per chunk, a multiple of the number of devices.
      traced: The program before compilation.
      layout: What one replicate returns.
      compiled: The program; None before `compile`.
    """

    chunk_fn: Any
    key: PRNGKeyArray
    sharding: NamedSharding
    width: int
    traced: Any
    layout: OutputLayout
    compiled: Any = None

    def compile(self) -> ChunkProgram:
        """Return the same chunk, compiled."""
        return dataclasses.replace(self, compiled=self.traced.lower().compile())

    def count_threads(self) -> int:
        """Count the chunks to have under way at once: one a core on a CPU, where that is safe."""
        if jax.process_count() > 1:
            return 1  # all processes must start their programs in one order
        if next(iter(self.sharding.device_set)).platform != "cpu":
            return 2
        if BATCHED_LAPACK.search(self.compiled.as_text()):
            return 1
        known = hasattr(os, "sched_getaffinity")  # the cores this process may use: not on macOS
        num_cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
        return max(1, min(MAX_THREADS, num_cores // len(self.sharding.device_set)))

    def dispatch(self, start: int) -> Any:
        """Start the replicates from index `start`; return their outputs, still on the devices.

        Indices beyond the last replicate are computed like any other: who fetches drops them.
        """
        indices = np.arange(start, start + self.width, dtype=np.uint64).astype(np.uint32)
        return self.compiled(put_everywhere(indices, self.sharding), self.key)


def trace_chunk(
    replicate_fn: Callable[[PRNGKeyArray], Any],
    key: PRNGKeyArray,
    width: int,
    devices: Sequence[Any],
) -> ChunkProgram:
    """Trace one chunk of replicates; nothing is compiled.

    Each device maps over its own part of the indices. With `shard_map` a `while_loop` in
    `replicate_fn` ends when that device's replicates have ended; a sharded `vmap` would ask all
    devices at each step.

    Raises:
      InputError: `replicate_fn` returns something else than a pytree of real arrays.
    """
    mesh = Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))
    over_devices, on_each = PartitionSpec(AXIS), PartitionSpec()

    def run_replicate(index, key):
        outputs = replicate_fn(jax.random.fold_in(key, index))
        _check_outputs(outputs)
        return outputs

    chunk_fn = jax.shard_map(
        jax.vmap(run_replicate, in_axes=(0, None)),
        mesh=mesh,
        in_specs=(over_devices, on_each),
        out_specs=over_devices,
        check_vma=False,
    )
    key = put_everywhere(key, NamedSharding(mesh, on_each))
    if jax.process_count() > 1:  # every process wants all outputs
        program = jax.jit(chunk_fn, out_shardings=NamedSharding(mesh, on_each))
    else:
        program = jax.jit(chunk_fn)
    return _trace(program, key, NamedSharding(mesh, over_devices), width)


def compile_chunk(
    program: ChunkProgram, num_replicates: int, memory_limit: int | None
) -> ChunkProgram:
    """Compile a chunk as wide as memory allows.

    Args:
      program: Traced chunk of at most `num_replicates` replicates; it is compiled to see its
        memory, and kept if its width is the right one.
      num_replicates: R.
      memory_limit: See `choose_width`.
    """
    program = program.compile()
    width = share(choose_width(program, num_replicates, memory_limit))
    if width == program.width:
        return program
    return _trace(program.chunk_fn, program.key, program.sharding, width).compile()


def _trace(chunk_fn: Any, key: PRNGKeyArray, sharding: NamedSharding, width: int) -> ChunkProgram:
    """Trace a jitted chunk at one width."""
    indices = jax.ShapeDtypeStruct((width,), jnp.uint32, sharding=sharding)
    traced = chunk_fn.trace(indices, key)
    return ChunkProgram(chunk_fn, key, sharding, width, traced, _describe_layout(traced.out_info))


def choose_width(probe: ChunkProgram, num_replicates: int, memory_limit: int | None) -> int:
    """Choose the width of a chunk from the memory that a narrower program needs.

    Args:
      probe: Compiled program of at most `num_replicates` replicates.
      num_replicates: R; chunks are not wider, and of about equal width.
      memory_limit: Bytes per device for temporaries and the outputs of two chunks; None for
        4 MiB on a CPU, a quarter of the memory elsewhere.

    Returns:
      A multiple of the number of devices.
    """
    devices = list(probe.sharding.addressable_devices)
    num_devices = len(probe.sharding.device_set)
    needed = _measure_bytes(probe.compiled)
    if memory_limit is None:
        memory_limit = _default_memory_limit(devices[0])
    fitting = FALLBACK_WIDTH
    if needed:
        fitting = max(1, memory_limit * (probe.width // num_devices) // needed)
    shortest = SHORTEST_CHUNK_CPU if devices[0].platform == "cpu" else SHORTEST_CHUNK
    load = -(-num_replicates // num_devices)
    widest = min(fitting, LONGEST_CHUNK, max(shortest, -(-load // MIN_CHUNKS)))
    num_chunks = -(-load // widest)
    return -(-load // num_chunks) * num_devices


def _measure_bytes(compiled: Any) -> int:
    """Measure a program's bytes per device: temporaries, and outputs of two chunks; 0 unknown."""
    try:
        memory = compiled.memory_analysis()
        return int(memory.temp_size_in_bytes) + 2 * int(memory.output_size_in_bytes)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return 0  # not every backend has this


def _default_memory_limit(device: Any) -> int:
    """Return the bytes that one chunk may take on a device when the user does not say."""
    if device.platform == "cpu":
        return CPU_MEMORY
    try:
        return int((device.memory_stats() or {})["bytes_limit"]) // 4
    except (KeyError, NotImplementedError, RuntimeError):
        return UNKNOWN_MEMORY


def _check_outputs(outputs: Any) -> None:
    """Refuse, while tracing, outputs that have no mean."""
    leaves = jax.tree_util.tree_leaves_with_path(outputs)
    allowed = "allowed: a pytree of arrays of floats, integers or booleans"
    if not sum(int(np.size(leaf)) for _, leaf in leaves):
        raise InputError(f"replicate_fn returns no numbers; {allowed}")
    for path, leaf in leaves:
        kind = getattr(leaf, "dtype", None)
        if kind is None:
            kind = np.asarray(leaf).dtype
        real = [jnp.floating, jnp.integer, jnp.bool_]
        if not any(jnp.issubdtype(kind, allowed_kind) for allowed_kind in real):
            name = f"output {jax.tree_util.keystr(path)}" if path else "output"
            raise InputError(f"replicate_fn: {name} has type {kind}; {allowed}")


def _describe_layout(outputs: Any) -> OutputLayout:
    """Describe one replicate's outputs, given those of a chunk."""
    leaves, structure = jax.tree_util.tree_flatten(outputs)
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(outputs)]
    native = [np.dtype(leaf.dtype) for leaf in leaves]
    return OutputLayout(
        structure,
        tuple(jax.tree_util.keystr(path) for path in paths),
        tuple(tuple(leaf.shape[1:]) for leaf in leaves),
        # bfloat16 and its like are no NumPy types that a file could hold
        tuple(kind if kind.kind in "fiub" else np.dtype(np.float32) for kind in native),
    )
