"""What lanes need of a device's memory, before anything is compiled."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from phase_jax.sweep.lanes import pad_least
from phase_jax.types import InputError

if TYPE_CHECKING:
    from phase_jax.config import LanesConfig, SweepConfig
    from phase_jax.training import LaneFns, TrainData


USABLE = 0.7
"""Share of a device's memory that estimates may fill: compiled programs took 1.1 to 1.4 times their
estimate (networks of every kind here, on a CPU)."""


class MemoryNeed(NamedTuple):
    """Bytes that lanes take on a device.

    Attributes:
      shared: Images and labels.
      resting: What a lane keeps from chunk to chunk of epochs: parameters, the selected ones,
        statistics, the state of the optimiser.
      working: What a lane takes on top while it is being trained: activations, gradients, copies.
    """

    shared: int
    resting: int
    working: int

    def sum_up(self, num_lanes: int, width: int) -> int:
        """Sum the bytes of lanes on a device, `width` of which are trained at a time."""
        return self.shared + num_lanes * self.resting + width * self.working


def estimate_memory(lane: LaneFns, data: TrainData) -> MemoryNeed:
    """Estimate from the traced program of one lane what it needs, without compiling.

    The estimate counts every array of the program from where it is made to where it is used last.
    A compiler that joins operations needs less, one that lays arrays out anew somewhat more.

    Args:
      lane: Functions of the lane.
      data: Its images, or their shapes.
    """
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), data)
    state = jax.eval_shape(lane.init, jax.random.key(0))
    epsilon = jax.ShapeDtypeStruct((), np.float32)
    program = jax.make_jaxpr(lambda *arguments: lane.run_epochs(*arguments, 1))(
        state, epsilon, shapes
    )
    shared, resting = _count_tree(shapes), _count_tree(state)
    return MemoryNeed(shared, resting, max(0, _find_peak(program.jaxpr) - shared))


def _count_tree(tree: Any) -> int:
    return sum(_count_bytes(leaf) for leaf in jax.tree.leaves(tree))


def _count_bytes(aval: Any) -> int:
    """Bytes of an array; keys are two words of 32 bits."""
    if jnp.issubdtype(aval.dtype, jax.dtypes.prng_key):
        return 8 * math.prod(aval.shape)
    return aval.dtype.itemsize * math.prod(aval.shape)


def _find_peak(jaxpr: Jaxpr) -> int:
    """Find the most bytes that are alive at one time, inputs included."""
    last_use: dict[Any, int] = {}
    for place, equation in enumerate(jaxpr.eqns):
        last_use.update({v: place for v in equation.invars if not isinstance(v, Literal)})
    last_use.update({v: len(jaxpr.eqns) for v in jaxpr.outvars if not isinstance(v, Literal)})
    alive = {v: _count_bytes(v.aval) for v in (*jaxpr.invars, *jaxpr.constvars)}
    total = peak = sum(alive.values())
    for place, equation in enumerate(jaxpr.eqns):
        inputs = {v for v in equation.invars if not isinstance(v, Literal)}
        borrowed = sum(_count_bytes(v.aval) for v in inputs)
        made = {v: _count_bytes(v.aval) for v in equation.outvars}
        within = [_find_peak(inner) - borrowed for inner in _list_inner(equation.params)]
        peak = max(peak, total + max([sum(made.values()), *within]))
        for variable in inputs:
            if last_use[variable] == place:
                total -= alive.pop(variable, 0)
        kept = {v: size for v, size in made.items() if v in last_use}
        alive.update(kept)
        total += sum(kept.values())
    return peak


def _list_inner(params: dict[str, Any]) -> list[Jaxpr]:
    """List the programs within an operation: a loop's body, branches, a nested call."""
    leaves = jax.tree.leaves(
        list(params.values()), is_leaf=lambda leaf: isinstance(leaf, (Jaxpr, ClosedJaxpr))
    )
    inner = [leaf.jaxpr if isinstance(leaf, ClosedJaxpr) else leaf for leaf in leaves]
    return [leaf for leaf in inner if isinstance(leaf, Jaxpr)]


def fit_memory(config: SweepConfig, need: MemoryNeed, *, is_chosen: bool) -> LanesConfig:
    """Fit the lanes of a sweep into the memory of the devices.

    Args:
      config: Resolved, its lane width chosen by the user or for the backend and the network.
      need: What a lane takes.
      is_chosen: Whether the user chose the width, which is then kept.

    Returns:
      How lanes are executed, with a width that fits.

    Raises:
      InputError: Lanes, a batch or the width do not fit; the line has the number that would.
    """
    lanes, batch_size = config.lanes, config.training.batch_size
    num_groups = max(1, jax.device_count() // lanes.data_devices)
    num_lanes = math.ceil(len(config.epsilons) * config.num_seeds / num_groups)
    limit, working = read_memory_limit(), max(1, need.working // lanes.data_devices)
    need = need._replace(working=working)
    has = f"a device has {_name_size(limit)}"
    if need.sum_up(num_lanes, 0) > limit:
        most = max(0, limit - need.shared) // need.resting
        raise InputError(
            f"--eps-grid, --seeds: {num_lanes} lanes a device take {_name_size(need.resting)} each "
            f"beside {_name_size(need.shared)} of images, {has}; allowed: up to {most}, or more "
            "devices"
        )
    left = limit - need.sum_up(num_lanes, 0)
    if working > left:
        raise InputError(
            f"--batch-size: {batch_size} takes some {_name_size(working)} for one lane beside "
            f"{_name_size(need.sum_up(num_lanes, 0))} that all keep, {has}; allowed: up to "
            f"{batch_size * left // working}, or more --data-devices"
        )
    width = lanes.width or 1
    if is_chosen:
        if width * working > left:
            raise InputError(
                f"--lane-width: {width} lanes at a time take some {_name_size(width * working)} "
                f"beside {_name_size(need.sum_up(num_lanes, 0))} that all keep, {has}; allowed: up "
                f"to {left // working}"
            )
        return lanes
    widest = max(1, int(USABLE * limit - need.sum_up(num_lanes, 0)) // working)
    if widest < width:
        lanes = dataclasses.replace(lanes, width=pad_least(num_lanes, widest))
    return lanes


def read_memory_limit() -> int:
    """Read the bytes a device of this process has; CPU devices share the machine's."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return machine // jax.local_device_count()


def _name_size(num_bytes: float) -> str:
    """Name a number of bytes as a person would."""
    for unit in ("KiB", "MiB"):
        num_bytes /= 1024
        if num_bytes < 1024:
            return f"{num_bytes:.3g} {unit}"
    return f"{num_bytes / 1024:.3g} GiB"
