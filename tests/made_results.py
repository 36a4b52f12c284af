"""Results of sweeps made by hand, one for every way a sweep can end."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from phase_jax import EpsilonStar, EpsilonStarEstimate, EpsilonStatus, LaneStatus, SweepConfig
from phase_jax.sweep import LaneTable, SweepResult

NOTHING = EpsilonStar(math.nan, EpsilonStatus.UNDEFINED, math.nan, 0, math.nan)


def make_estimate(status=EpsilonStatus.FOUND, value=0.05, low=0.04, high=0.06, **changes):
    found = status is EpsilonStatus.FOUND
    seed = EpsilonStar(value, status, value, 1, 2.0) if found else NOTHING._replace(status=status)
    return EpsilonStarEstimate(
        value=value if found else None,
        status=status,
        low=low,
        high=high,
        confidence=0.95,
        method="interpolation",
        interval_method="in words",
        num_censored=0 if found else 2,
        num_missing=0,
        seeds=(seed, seed),
        **changes,
    )


def make_result(estimate=None, target=8 / 255, lane_status=None):
    """Build a result by hand: 3 attack strengths, 2 seeds, 4 epochs, 5 test images."""
    shape = (3, 2)
    curve = np.array([[0.1, 0.12], [0.2, 0.22], [0.4, 0.5]])
    status = np.zeros(shape, int) if lane_status is None else lane_status
    values = np.where(status == LaneStatus.DIVERGED, np.nan, curve)
    fields = {f.name: values for f in dataclasses.fields(LaneTable)}
    lanes = LaneTable(**{**fields, "status": status, "selected_epoch": np.full(shape, 3)})
    estimate = estimate or make_estimate()
    return SweepResult(
        config=dataclasses.replace(SweepConfig(), target_epsilon=target),
        epsilons=np.array([0.0, 0.05, 0.1]),
        seeds=np.arange(2),
        lanes=lanes,
        history={
            name: np.repeat(values[..., None], 4, axis=2)
            for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
        },
        clean_example_losses=np.full((2, 5), 0.2),
        example_losses=np.zeros((3, 2, 5)),
        thresholds=np.array([0.2, 0.2]),
        epsilon_star=estimate,
        epsilon_star_other=estimate,
        params={"kernel": np.zeros((3, 2, 4))},
        model_state={},
        description={
            "data": {
                "name": "digits",
                "num_train": 10,
                "num_test": 5,
                "num_selection": 5,
                "num_classes": 10,
                "input_shape": [8, 8, 1],
                "sha256": "00",
            },
            "model": {"name": "mlp(64,64)", "num_parameters": 4, "sha256": "00"},
            "objective": "vanilla",
            "train_loss": "adversarial cross-entropy",
        },
        environment={"versions": {"jax": "0"}, "device": {"backend": "cpu"}, "revision": None},
        seconds={"compile": 1.0, "train": 2.0, "evaluate": 1.0, "total": 4.0},
    )


OUTCOMES = {
    "found": make_result(),
    "found without target": make_result(target=None),
    "no upper end": make_result(make_estimate(high=None)),
    "zero not excluded": make_result(make_estimate(low=0.0)),
    "several crossings": make_result(make_estimate(last_crossing=0.09)),
    **{
        status.name: make_result(make_estimate(status, low=None, high=None))
        for status in EpsilonStatus
        if status is not EpsilonStatus.FOUND
    },
    "lanes diverged": make_result(lane_status=np.array([[0, 0], [0, 1], [1, 1]])),
    "clean lane diverged": make_result(
        make_estimate(EpsilonStatus.NONFINITE, low=None, high=None),
        lane_status=np.array([[1, 1], [1, 1], [1, 1]]),
    ),
    "lanes collapsed": make_result(lane_status=np.array([[0, 0], [0, 0], [2, 2]])),
}
