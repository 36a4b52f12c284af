"""Adversarial training of one lane: one attack strength, one key, no batching."""

from phase_jax.training.evaluate import Evaluation, Perturbed, make_evaluate
from phase_jax.training.lane import (
    EpochInfo,
    LaneFns,
    LaneState,
    TrainData,
    make_lane_fns,
    make_train,
)

__all__ = [
    "EpochInfo",
    "Evaluation",
    "LaneFns",
    "LaneState",
    "Perturbed",
    "TrainData",
    "make_evaluate",
    "make_lane_fns",
    "make_train",
]
