"""Measure what lies around a pair: the curve, the straight line, the plane of three networks."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.connectivity.curve import WEIGH_FNS, weigh_line
from phase_jax.connectivity.measure import Measures, make_measure_network
from phase_jax.connectivity.plane import build_plane, lay_out_grid, weigh_place
from phase_jax.sweep.lanes import map_lanes

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Float, Int, PRNGKeyArray

    from phase_jax.config import SweepConfig
    from phase_jax.connectivity.curve import Networks
    from phase_jax.connectivity.measure import CurveData
    from phase_jax.connectivity.settings import ConnectivitySettings
    from phase_jax.models import Model

NUM_CHUNKS = 16
"""Times that a survey returns to the host, about: it can be saved there."""


class Area(NamedTuple):
    """What is surveyed around one pair."""

    networks: Networks
    model_state: Any
    weights: Float[Array, "N 3"]
    """Of the networks measured, each a weighted sum of the three."""


class SurveyState(NamedTuple):
    """What a survey carries from one chunk of networks to the next."""

    key: PRNGKeyArray
    place: Int[Array | np.ndarray, ""]  # networks measured


class SurveyFns(NamedTuple):
    """The pure functions of a survey, and what it covers.

    Attributes:
      lay_out: `lay_out(networks) -> (weights [N, 3], grid [2, G], anchors [3, 2])`.
      run_epochs: `run_epochs(state, area, data, num_networks) -> (SurveyState, Measures [T])`;
        `num_networks` is static. The name is that of every lane's chunk of work.
      groups: How the axis N falls into groups: name -> shape. The last chunk is filled up with
        copies of the last network.
      chunk: Networks of a chunk.
      num_measured: Networks without those copies.
      num_networks: N.
    """

    lay_out: Callable[[Networks], tuple[Array, Array, Array]]
    run_epochs: Callable[..., tuple[SurveyState, Measures]]
    groups: dict[str, tuple[int, ...]]
    chunk: int
    num_measured: int
    num_networks: int

    def set_steps(self, config: SweepConfig) -> SweepConfig:
        """Put the number of networks where a training has its number of epochs."""
        return dataclasses.replace(
            config,
            training=dataclasses.replace(config.training, num_epochs=self.num_networks),
            lanes=dataclasses.replace(config.lanes, epochs_per_chunk=self.chunk),
        )


def make_survey_fns(
    model: Model, settings: ConnectivitySettings, *, batch_size: int, pixel_scale: float
) -> SurveyFns:
    """Make the functions that measure everything around one pair.

    Args:
      model: The network.
      settings: Resolved.
      batch_size: Images measured at once.
      pixel_scale: Stored value that stands for 1.0.
    """
    size, width = settings.grid_size, settings.width or 1
    groups = {
        "curve": (settings.num_points,),
        "line": (settings.num_points,),
        "plane": (size, size),
        "anchors": (3,),
    }
    wanted = sum(math.prod(shape) for shape in groups.values())
    chunk = width * math.ceil(wanted / (width * NUM_CHUNKS))
    num_networks = chunk * math.ceil(wanted / chunk)
    measure_network = make_measure_network(model, batch_size=batch_size, pixel_scale=pixel_scale)
    measure_all = map_lanes(measure_network, width=width, num_shared=3)

    def lay_out(networks: Networks) -> tuple[Array, Array, Array]:
        plane = build_plane(networks)
        along, up = lay_out_grid(plane, size, settings.margin)
        places = jnp.stack(jnp.meshgrid(along, up, indexing="ij"), axis=-1).reshape(-1, 2)
        places = jnp.concatenate([places, plane.anchors])
        points = jnp.linspace(0, 1, settings.num_points)
        weights = [
            jax.vmap(WEIGH_FNS[settings.curve])(points),
            jax.vmap(weigh_line)(points),
            jax.vmap(lambda place: weigh_place(plane, place))(places),
        ]
        order = np.minimum(np.arange(num_networks), wanted - 1)
        return jnp.concatenate(weights)[order], jnp.stack([along, up]), plane.anchors

    def run_epochs(state: SurveyState, area: Area, data: CurveData, num_networks: int):
        weights = jax.lax.dynamic_slice_in_dim(area.weights, state.place, num_networks)
        measures = measure_all(weights, area.networks, area.model_state, data)
        return state._replace(place=state.place + num_networks), measures

    return SurveyFns(lay_out, run_epochs, groups, chunk, wanted, num_networks)


def split_measures(measured: Measures, groups: dict[str, tuple[int, ...]]) -> dict[str, Measures]:
    """Cut the axis over networks [L, N] into groups of their own shapes."""
    parts, first = {}, 0
    for name, shape in groups.items():
        last = first + math.prod(shape)
        parts[name] = Measures(
            *(field[:, first:last].reshape(-1, *shape) for field in map(np.asarray, measured))
        )
        first = last
    return parts
