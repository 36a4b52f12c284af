"""The two long phases of a study of connectivity, which go on from checkpoints as sweeps do."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from phase_jax.connectivity.curve import Networks
from phase_jax.connectivity.measure import Measures
from phase_jax.connectivity.survey import Area, SurveyState, make_survey_fns, split_measures
from phase_jax.connectivity.train import CurveInfo, make_curve_fns
from phase_jax.sweep.checkpoint import (
    SweepFile,
    Training,
    describe_identity,
    describe_origin,
    fingerprint_arrays,
)
from phase_jax.sweep.execute import Clock, train_lanes
from phase_jax.sweep.lanes import choose_lane_width, lay_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.config import SweepConfig
    from phase_jax.connectivity.measure import CurveData
    from phase_jax.connectivity.settings import ConnectivitySettings
    from phase_jax.connectivity.train import Ends
    from phase_jax.models import Model

KIND = "connectivity"


class Study(NamedTuple):
    """What the two phases share."""

    config: SweepConfig
    """The run's, with the training of curves."""
    settings: ConnectivitySettings
    network: Model
    pixel_scale: float
    data: CurveData
    ends: Ends
    num_pairs: int
    environment: dict[str, Any]
    description: dict[str, Any]
    saving: dict[str, Any]
    notify: Callable[[str], None]

    def open_file(self, part: str, unit: str) -> SweepFile:
        """Open the checkpoint of a phase, which belongs to the settings and networks of both."""
        plan = self.saving["plan"]
        given = {
            **self.description,
            "settings": dataclasses.asdict(self.settings),
            "networks": {"sha256": fingerprint_arrays(self.ends)},
        }
        return SweepFile(
            None if plan is None else plan.name_part(part),
            describe_identity(self.config, given),
            describe_origin(self.environment),
            kind=KIND,
            unit=unit,
            stop_fn=self.saving["stop_fn"],
            note_fn=self.saving["note_fn"],
        )


def train_curves(study: Study) -> tuple[Any, np.ndarray]:
    """Train the bend of every pair; return the bends [L, ...] and the losses [L, epochs]."""
    num_epochs = study.config.training.num_epochs
    study.notify(f"training {study.num_pairs} curves of {num_epochs} epochs")
    fns: Any = make_curve_fns(
        study.network,
        study.config.training,
        curve=study.settings.curve,
        pixel_scale=study.pixel_scale,
    )
    one = jax.tree.map(lambda leaf: leaf[0], study.ends.start)
    width = choose_lane_width(study.num_pairs, one, jax.default_backend())
    layout = lay_out(study.num_pairs, width)
    keys = jax.random.split(jax.random.key(study.settings.seed), study.num_pairs)
    ends: Any = study.ends
    states = jax.jit(layout.map(fns.init))(*layout.spread((keys, ends)))
    file = study.open_file("", "epoch")
    nothing = CurveInfo(np.zeros((study.num_pairs, 0), np.float32))
    training = train_lanes(
        study.config,
        fns,
        layout,
        file.restore(layout, Training(states, nothing)),
        ends,
        layout.share(study.data.train),
        Clock(),
        _say_nothing,
        file.close_chunk,
    )
    return layout.collect(training.states.bend), training.history.train_loss


def survey_pairs(study: Study, bends: Any) -> tuple[dict[str, Measures], np.ndarray, np.ndarray]:
    """Measure around every pair; return the parts, the grids and the places of the networks."""
    fns: Any = make_survey_fns(
        study.network,
        study.settings,
        batch_size=study.config.evaluation.batch_size,
        pixel_scale=study.pixel_scale,
    )
    study.notify(f"measuring {study.num_pairs} x {fns.num_measured} networks")
    layout = lay_out(study.num_pairs, 1)
    networks = Networks(study.ends.start, bends, study.ends.end)
    weights, grid, anchors = layout.collect(
        jax.jit(layout.map(fns.lay_out))(layout.spread(networks))
    )
    keys = jax.random.split(jax.random.key(0), study.num_pairs)  # nothing is drawn
    states = layout.spread(SurveyState(keys, np.zeros(study.num_pairs, np.int32)))
    nothing = np.zeros((study.num_pairs, 0), np.float32)
    fresh = Training(states, Measures(*[nothing] * len(Measures._fields)))
    area: Any = Area(networks, study.ends.model_state, weights)
    file = study.open_file("measure", "network")
    measured = train_lanes(
        fns.set_steps(study.config),
        fns,
        layout,
        file.restore(layout, fresh),
        area,
        layout.share(study.data),
        Clock(),
        _say_nothing,
        file.close_chunk,
    )
    return split_measures(measured.history, fns.groups), grid, anchors


def _say_nothing(*_: Any) -> None:
    """Report no chunk."""
