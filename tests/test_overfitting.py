"""The generalisation gap over the epochs, against made-up histories; unstable FGM for real."""

from __future__ import annotations

import csv
import dataclasses
import io

import numpy as np
import pytest
from test_finetune_extrapolate import LOSSES, UNSTABLE, make_run

from phase_jax import run_sweep
from phase_jax.config import AttackConfig, EvaluationConfig, SweepConfig, TrainingConfig
from phase_jax.report.overfitting import describe_overfitting, describe_stability, list_gaps
from phase_jax.report.transition_plots import draw_overfitting
from phase_jax.report.wording import describe_cautions
from phase_jax.sweep.overfitting import assess_overfitting, find_reference_epoch
from phase_jax.sweep.stability import assess_stability
from phase_jax.types import LaneStatus

NUM_EPOCHS = 20
FACTORS = np.array([[1.0, 1.0], [1.0, 3.0], [2.0, 4.0], [5.0, 5.0]])  # of the gap at the end


def make_history():
    """Make a gap of 0.1 up to epoch 11, the first after the drop, that grows by known factors."""
    growth = np.clip(np.arange(1, NUM_EPOCHS + 1) - 11, 0, 1)
    gaps = 0.1 * (1 + growth * (FACTORS[..., None] - 1))
    train = np.broadcast_to(np.linspace(1.0, 0.1, NUM_EPOCHS), gaps.shape)
    return {"train_loss": train, "test_loss": train + gaps}


@pytest.fixture
def run():
    run = make_run(LOSSES)
    status = run.lanes.status.copy()
    status[3, 1] = LaneStatus.DIVERGED
    history = {**run.history, **make_history()}
    return dataclasses.replace(
        run, history=history, lanes=dataclasses.replace(run.lanes, status=status)
    )


@pytest.mark.parametrize(
    ("fields", "num_epochs", "expected"),
    [
        ({}, 200, 101),  # the paper's
        ({"decay_at": (0.75, 0.25)}, 200, 51),
        ({"decay_at": ()}, 10, 6),
        ({"decay_at": (1.0,)}, 10, 10),
        ({"schedule": "rise_fall", "rise_until": 0.4}, 40, 17),
    ],
)
def test_the_reference_is_the_first_epoch_after_the_first_drop(fields, num_epochs, expected):
    assert find_reference_epoch(TrainingConfig(**fields), num_epochs) == expected


def test_ratios_are_those_of_the_history(run):
    overfitting = assess_overfitting(run)
    assert overfitting.reference_epoch == 11
    np.testing.assert_allclose(overfitting.ratios[:, 0, 10], 1.0)
    np.testing.assert_allclose(overfitting.final_ratios[:3], FACTORS[:3], rtol=1e-6)
    assert overfitting.final_ratios[3, 0] == pytest.approx(5.0)
    assert np.isnan(overfitting.final_ratios[3, 1])  # it diverged
    means, errors = overfitting.summarise()
    np.testing.assert_allclose(means, [1, 2, 3, 5], rtol=1e-6)
    np.testing.assert_allclose(errors, [0, 1, 1, np.nan], atol=1e-6)


def test_a_gap_that_is_not_positive_has_no_ratio(run):
    test = run.history["test_loss"].copy()
    test[0, 0, 10] = run.history["train_loss"][0, 0, 10]
    run = dataclasses.replace(run, history={**run.history, "test_loss": test})
    assert np.isnan(assess_overfitting(run).ratios[0, 0]).all()


def test_a_lane_that_collapsed_has_no_ratio_and_no_line(run):
    status = np.array(run.lanes.status)
    status[2] = LaneStatus.COLLAPSED
    run = dataclasses.replace(run, lanes=dataclasses.replace(run.lanes, status=status))
    assert np.isnan(assess_overfitting(run).ratios[2]).all()
    assert len(draw_overfitting(run).axes[0].get_lines()) == 3 + 1
    assert np.isnan(describe_overfitting(run)["final_ratios"][2]["ratio"])


def test_rows_and_document_say_the_same(run):
    described = describe_overfitting(run)
    assert described["reference_epoch"] == 11
    assert [row["ratio"] for row in described["final_ratios"]] == pytest.approx([1, 2, 3, 5])
    rows = list_gaps(run)
    assert len(rows) == 4 * 2 * NUM_EPOCHS
    last = next(r for r in rows if (r["epsilon"], r["seed"], r["epoch"]) == (0.02, 1, 20))
    assert (last["gap"], last["ratio"]) == pytest.approx((0.4, 4.0))
    stream = io.StringIO()
    csv.DictWriter(stream, list(rows[0])).writerow(rows[-1])
    assert stream.getvalue().strip() == f"0.03,1,20,{rows[-1]['gap']},"  # no ratio: it diverged


def test_the_figure_has_a_line_for_every_strength(run):
    lines = draw_overfitting(run).axes[0].get_lines()
    assert len(lines) == 4 + 1
    np.testing.assert_allclose(lines[2].get_ydata()[-1], 3.0)


def test_unstable_lanes_are_listed_and_said(run):
    unstable = make_run(LOSSES, test_accuracy=UNSTABLE)
    described = describe_stability(unstable)
    assert described["smallest_epsilon"] == 0.02
    assert described["epsilon_star_is_below"] is False
    assert len(described["lanes"]) == 4
    assert all(lane["lasts"] and lane["onset"] == 2 for lane in described["lanes"])
    (caution,) = describe_cautions(unstable)
    assert "5.1/255 on" in caution
    assert "at or beyond" in caution
    steep = describe_cautions(make_run(0.1 + 40 * (LOSSES - 0.1), test_accuracy=UNSTABLE))
    assert "epsilon* lies below" in steep[0]
    assert describe_stability(make_run(LOSSES))["lanes"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "is_unstable"),
    [
        (AttackConfig(name="fgm", random_start=False, step_size=1.0), True),
        (AttackConfig(name="pgd", num_steps=5), False),
    ],
)
def test_on_real_digits_a_strong_fgm_is_unstable_and_pgd_of_its_strength_is_not(
    attack, is_unstable
):
    """FGM without a random start at half of the pixel range learns to resist itself only."""
    config = SweepConfig(
        epsilon_grid=(0.5,),
        num_seeds=2,
        attack=attack,
        evaluation=EvaluationConfig(num_steps=5),
        training=TrainingConfig(num_epochs=40, decay_at=(), weight_decay=0.0),
    )
    result = run_sweep(config)
    stability = assess_stability(result)
    assert stability.smallest_epsilon == (0.5 if is_unstable else None)
    assert stability.unstable.any() == is_unstable
    assert any("catastrophic" in text for text in describe_cautions(result)) == is_unstable
