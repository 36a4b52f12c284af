"""Extrapolations, fits, stability and cautions of made-up lanes whose answers are known."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from phase_jax import LaneStatus, SweepConfig
from phase_jax.config import FineTuningConfig
from phase_jax.finetune.cautions import describe_cautions
from phase_jax.finetune.extrapolate import extrapolate, fit_line
from phase_jax.finetune.plots import draw_fit
from phase_jax.finetune.result import FineTuningResult
from phase_jax.solver import estimate_epsilon_star
from phase_jax.sweep.result import LaneTable, SweepResult
from phase_jax.sweep.stability import assess_stability

EPSILONS = np.array([0.0, 0.01, 0.02, 0.03])
THRESHOLD = 0.5
LOSSES = 0.1 + 10.0 * EPSILONS[:, None] * np.array([1.0, 1.0])  # reaches 0.5 at 0.04
BENT = LOSSES + np.array([0.0, -0.06, -0.06, 0.05])[:, None]


def make_run(losses, attack="fgm", train_accuracy=0.9, test_accuracy=0.8):
    """Make a result with given train losses [E, S] and, in the last epoch, accuracies [E, S]."""
    shape = losses.shape
    columns = {field.name: np.zeros(shape) for field in dataclasses.fields(LaneTable)}
    columns |= {"train_loss": losses, "status": np.full(shape, LaneStatus.OK)}
    config = SweepConfig(epsilon_grid=tuple(EPSILONS), num_seeds=shape[1])
    attack_config = dataclasses.replace(config.attack, name=attack)
    clean = np.tile(THRESHOLD + np.array([-0.01, 0.01]), (shape[1], 5))
    accuracy = np.stack([np.full(shape, 0.3), np.broadcast_to(train_accuracy, shape)], axis=2)
    tested = np.stack([np.full(shape, 0.3), np.broadcast_to(test_accuracy, shape)], axis=2)
    star = estimate_epsilon_star(EPSILONS, losses.T, clean, method="regression")
    return SweepResult(
        config=dataclasses.replace(config, attack=attack_config),
        epsilons=EPSILONS,
        seeds=np.arange(shape[1]),
        lanes=LaneTable(**columns),
        history={"train_accuracy": accuracy, "test_accuracy": tested},
        clean_example_losses=clean,
        example_losses=np.zeros((*shape, 10)),
        thresholds=clean.mean(axis=1),
        epsilon_star=star,
        epsilon_star_other=star,
        params={},
        model_state={},
        description={"data": {"num_classes": 10}},
        environment={},
        seconds={},
    )


def make_result(run, kind="trained", **tuning):
    attack = run.config.attack.name
    losses = run.lanes.train_loss
    result = FineTuningResult(
        config=run.config,
        fine_tuning=FineTuningConfig(epsilon_grid=tuple(EPSILONS), **tuning),
        origin={"kind": kind},
        runs={attack: run},
        extrapolations=extrapolate(run, np.inf),
        fits={attack: fit_line(EPSILONS, losses)},
        stability={attack: assess_stability(run)},
        cautions=(),
        gradients={},
        seconds={},
    )
    return dataclasses.replace(result, cautions=tuple(describe_cautions(result)))


def test_on_a_straight_line_every_method_agrees_whatever_is_left_out():
    extrapolations = extrapolate(make_run(LOSSES), np.inf)
    assert [e.name for e in extrapolations] == [
        "fgm_1", "fgm_3", "fgm_isotonic", "fgm_monotone_spline",
    ]  # fmt: skip
    for extrapolation in extrapolations:
        assert extrapolation.estimate.value == pytest.approx(0.04, rel=1e-4)
        assert [epsilon for epsilon, _ in extrapolation.left_out] == [0.01, 0.02, 0.03]
        for _, value in extrapolation.left_out:
            assert value == pytest.approx(0.04, rel=1e-4)
        assert extrapolation.points_low == pytest.approx(extrapolation.points_high, rel=1e-4)


def test_the_range_over_points_is_that_of_refits_without_each():
    extrapolation = next(e for e in extrapolate(make_run(BENT), np.inf) if e.name == "fgm_3")
    expected = []
    for place in (1, 2, 3):
        kept = [i for i in range(4) if i != place]
        slope, intercept = np.polyfit(EPSILONS[kept], BENT[kept, 0], 1)
        expected.append((THRESHOLD - intercept) / slope)
    np.testing.assert_allclose([value for _, value in extrapolation.left_out], expected, rtol=1e-4)
    values = [*expected, extrapolation.estimate.value]
    assert extrapolation.points_low == pytest.approx(min(values), rel=1e-4)
    assert extrapolation.points_high == pytest.approx(max(values), rel=1e-4)


def test_one_point_leaves_nothing_out():
    run = make_run(LOSSES)
    lanes = LaneTable(**{name: values[:2] for name, values in vars(run.lanes).items()})
    run = dataclasses.replace(run, epsilons=EPSILONS[:2], lanes=lanes)
    for extrapolation in extrapolate(run, np.inf):
        assert extrapolation.left_out == ()
        assert extrapolation.estimate.value == pytest.approx(0.04, rel=1e-4)


def test_the_line_is_that_of_least_squares():
    fit = fit_line(EPSILONS, BENT)
    slope, intercept = np.polyfit(EPSILONS, BENT[:, 0], 1)
    residuals = BENT[:, 0] - slope * EPSILONS - intercept
    assert fit.slope == pytest.approx(slope)
    assert fit.r_squared == pytest.approx(np.corrcoef(EPSILONS, BENT[:, 0])[0, 1] ** 2)
    assert fit.largest_residual == pytest.approx(np.abs(residuals).max() / np.ptp(BENT[:, 0]))
    assert fit_line(EPSILONS, LOSSES).r_squared == pytest.approx(1.0)


def test_a_seed_with_a_failed_lane_does_not_count_in_the_fit():
    losses = LOSSES.copy()
    losses[2, 1] = np.nan
    assert fit_line(EPSILONS, losses).slope == pytest.approx(10.0)
    assert np.isnan(fit_line(EPSILONS, np.full((4, 1), np.nan)).slope)


def test_near_a_straight_line_there_is_nothing_to_say():
    assert make_result(make_run(LOSSES)).cautions == ()


UNSTABLE = np.array([0.8, 0.8, 0.01, 0.01])[:, None]


@pytest.mark.parametrize(
    ("run", "options", "expected"),
    [
        (make_run(BENT + 0.06 * (EPSILONS > 0)[:, None]), {}, "not near a straight line"),
        (make_run(0.1 + 5 * EPSILONS[:, None]), {}, "more than 2 times beyond"),
        (
            make_run(LOSSES - 0.12 * (EPSILONS == 0.01)[:, None]),
            {},
            "below that of the clean model",
        ),
        (make_run(LOSSES), {"sequential": True}, "trapped"),
        (make_run(LOSSES), {"kind": "imported"}, "imported"),
        (make_run(LOSSES, test_accuracy=UNSTABLE), {}, "from 5.1/255 on.*cannot be relied upon"),
    ],
)
def test_what_limits_a_result_is_said(run, options, expected):
    cautions = make_result(run, **options).cautions
    assert any(re.search(expected, caution) for caution in cautions), cautions


@pytest.mark.parametrize(
    ("train_accuracy", "test_accuracy", "smallest"),
    [
        (0.9, UNSTABLE, 0.02),
        (0.4, UNSTABLE, None),  # nothing was learnt: a failure, of another kind
        (0.9, 0.06, None),  # worse than guessing by less than half
        (0.9, np.array([[0.8, 0.8], [0.8, 0.01], [0.01, 0.01], [0.8, 0.8]]), 0.01),
    ],
)
def test_lanes_that_resist_only_their_own_attack_are_unstable(
    train_accuracy, test_accuracy, smallest
):
    stability = assess_stability(make_run(LOSSES, "fgm", train_accuracy, test_accuracy))
    assert stability.smallest_epsilon == smallest
    assert stability.unstable.any() == (smallest is not None)
    assert set(stability.onset[stability.unstable]) <= {2}
    assert stability.is_below == (None if smallest is None else False)


def test_the_figure_is_drawn_with_and_without_values():
    for losses in (LOSSES, np.full((4, 2), 0.1)):
        assert len(draw_fit(make_result(make_run(losses))).axes) == 1
