"""Batching over lanes: the one place where functions of a lane become functions of many."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from phase_jax.distributed import gather_everywhere, put_everywhere
from phase_jax.training.split import BATCH_AXIS
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

CPU_DENSE_WIDTHS = (4, 12)
"""Narrowest and widest chunk of dense networks on a CPU: narrower ones waste its vector units."""
CPU_CHUNKS = 4
"""Chunks that dense networks are cut into where they stay wide enough: so many cores find work."""
AXIS = "L"


@dataclasses.dataclass(frozen=True)
class LaneLayout:
    """How L lanes lie on the devices: whole chunks of `width` lanes on each.

    Every device has the same number of chunks; what is missing are copies of the last lane. A
    device works through its chunks on its own, so that a lane's bits do not depend on the number
    of devices.

    Attributes:
      num_lanes: L.
      width: Lanes vectorised together.
      mesh: The devices, along the axis of lanes; where a lane has several, along a second one.
    """

    num_lanes: int
    width: int
    mesh: Mesh

    @property
    def num_places(self) -> int:
        """L and the padding."""
        share = self.width * self.mesh.shape[AXIS]
        return math.ceil(self.num_lanes / share) * share

    def spread(self, lanes: Any) -> Any:
        """Bring a pytree of arrays [L, ...] to the devices, padded."""
        places = np.minimum(np.arange(self.num_places), self.num_lanes - 1)
        return self._put(jax.tree.map(lambda leaf: leaf[places], lanes), PartitionSpec(AXIS))

    def share(self, tree: Any) -> Any:
        """Bring a pytree of arrays to every device."""
        return self._put(tree, PartitionSpec())

    def collect(self, lanes: Any) -> Any:
        """Bring a padded pytree back to the host (every host): NumPy arrays [L, ...]."""
        lanes = gather_everywhere(lanes, self.mesh)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[: self.num_lanes], lanes)

    def map(self, fn: Callable[..., Any], *, num_shared: int = 0) -> Callable[..., Any]:
        """Turn a function of one lane into one of all padded lanes; see `map_lanes`."""
        over_lanes, everywhere = PartitionSpec(AXIS), PartitionSpec()
        mapped = map_lanes(fn, width=self.width, num_shared=num_shared)

        def run(*arguments: Any) -> Any:
            num_split = len(arguments) - num_shared
            specs = (over_lanes,) * num_split + (everywhere,) * num_shared
            return jax.shard_map(
                mapped,
                mesh=self.mesh,
                in_specs=specs,
                out_specs=over_lanes,
                axis_names={AXIS},  # the compiler splits the rest: see `split_batch`
                check_vma=False,
            )(*arguments)

        return run

    def _put(self, tree: Any, spec: PartitionSpec) -> Any:
        return put_everywhere(tree, NamedSharding(self.mesh, spec))


def lay_out(num_lanes: int, width: int, data_devices: int = 1) -> LaneLayout:
    """Lay lanes out on all devices, or on as many as there are chunks of lanes.

    Args:
      num_lanes: L.
      width: Lanes vectorised together.
      data_devices: Devices that share the batches of a chunk of lanes.

    Raises:
      InputError: The devices do not fall into groups of this number.
    """
    devices = np.asarray(jax.devices())
    if devices.size % data_devices:
        raise InputError(
            f"--data-devices: {data_devices} does not divide the number of devices, "
            f"{devices.size}; allowed: its divisors"
        )
    groups = devices.reshape(-1, data_devices)
    if jax.process_count() == 1:  # of several processes every one must take part
        groups = groups[: math.ceil(num_lanes / width)]
    names = (AXIS,) if data_devices == 1 else (AXIS, BATCH_AXIS)
    shape = (len(groups), data_devices)[: len(names)]
    mesh = Mesh(groups.reshape(shape), names, axis_types=(AxisType.Auto,) * len(names))
    return LaneLayout(num_lanes, width, mesh)


def map_lanes(fn: Callable[..., Any], *, width: int, num_shared: int = 0) -> Callable[..., Any]:
    """Turn a function of one lane into a function of L lanes, inside one program.

    Lanes are vectorised `width` at a time; the chunks follow one another in a `lax.map`. The last
    chunk is filled up with copies of the last lane, whose results are dropped: every lane is
    computed at exactly this width, so that its bits depend on the width only, never on L or on
    what the other lanes hold.

    Args:
      fn: `fn(*lane_arguments, *shared_arguments)`.
      width: Lanes vectorised together (static); 1 runs lane after lane without vmap.
      num_shared: How many trailing arguments all lanes share.

    Returns:
      The same function with a leading axis L on every lane argument and every result.
    """

    def mapped(*arguments: Any) -> Any:
        split = len(arguments) - num_shared
        lane_arguments, shared = arguments[:split], arguments[split:]
        num_lanes = jax.tree.leaves(lane_arguments)[0].shape[0]

        # A device with one chunk has a loop of one turn, which XLA dissolves: without barriers it
        # would then join operations across its edge, and round otherwise than with more chunks.
        def run_chunk(run: Callable[..., Any], chunk: Any) -> Any:
            chunk, everywhere = jax.lax.optimization_barrier((chunk, shared))
            return jax.lax.optimization_barrier(run(*chunk, *everywhere))

        if width == 1:
            return jax.lax.map(lambda lane: run_chunk(fn, lane), lane_arguments)
        num_chunks = math.ceil(num_lanes / width)
        places = jnp.minimum(jnp.arange(num_chunks * width), num_lanes - 1)
        chunks = jax.tree.map(
            lambda leaf: leaf[places].reshape(num_chunks, width, *leaf.shape[1:]), lane_arguments
        )
        batched = jax.vmap(fn, in_axes=(0,) * split + (None,) * num_shared)
        results = jax.lax.map(lambda chunk: run_chunk(batched, chunk), chunks)
        return jax.tree.map(
            lambda leaf: leaf.reshape(num_chunks * width, *leaf.shape[2:])[:num_lanes], results
        )

    return mapped


def choose_lane_width(num_lanes: int, params: Any, backend: str, num_devices: int = 1) -> int:
    """Choose how many lanes to vectorise together.

    On a CPU, lanes of convolutional networks run one after the other (a batch of kernels is slow
    there), those of small dense networks in about four chunks of 3 to 12 lanes; the number of CPU
    devices does not count, so that equal commands give equal bits. Accelerators take all lanes at
    once, in equal shares.

    Args:
      num_lanes: L.
      params: One lane's parameters (arrays or shapes).
      backend: `jax.default_backend()`.
      num_devices: Devices that the lanes are shared among.

    Returns:
      The width: of those between half the widest and the widest, the one that pads least.
    """
    has_kernels = any(len(leaf.shape) > 2 for leaf in jax.tree.leaves(params))
    widest = math.ceil(num_lanes / num_devices)
    if backend == "cpu":
        least, most = CPU_DENSE_WIDTHS
        share = max(least, math.ceil(num_lanes / CPU_CHUNKS))
        widest = 1 if has_kernels else min(share, most, num_lanes)
    return pad_least(num_lanes, widest)


def pad_least(num_lanes: int, widest: int) -> int:
    """Choose, between half the widest chunk of lanes and the widest, the one that pads least."""
    candidates = range(widest, widest // 2, -1)
    return min(candidates, key=lambda width: math.ceil(num_lanes / width) * width)
