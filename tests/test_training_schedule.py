"""The learning rate that rises and falls (Figure B.1), against its two pieces by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from phase_jax import InputError, SweepConfig
from phase_jax.config import TrainingConfig
from phase_jax.training.optimizer import build_schedule
from phase_jax.validation import validate_config


def evaluate(num_steps, **fields):
    config = TrainingConfig(schedule="rise_fall", learning_rate=0.2, **fields)
    schedule = build_schedule(config, num_steps)
    return np.array([float(schedule(step)) for step in range(num_steps + 1)])


def test_the_rate_rises_straight_and_falls_along_half_a_cosine():
    rates = evaluate(20, rise_from=0.1, rise_until=0.4, fall_to=0.05)
    rising = 0.2 * np.linspace(0.1, 1.0, 9)
    places = np.arange(13) / 12
    falling = 0.2 * (0.05 + 0.95 * 0.5 * (1 + np.cos(math.pi * places)))
    np.testing.assert_allclose(rates, np.concatenate([rising, falling[1:]]), rtol=1e-5)


@pytest.mark.parametrize(("until", "peak"), [(0.0, 0), (1.0, 10)])
def test_either_piece_may_be_the_whole(until, peak):
    rates = evaluate(10, rise_until=until)
    assert rates[peak] == pytest.approx(0.2)
    assert np.argmax(rates) == peak
    assert rates[10 - peak] == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"schedule": "triangle"}, "--schedule: 'triangle'"),
        ({"rise_until": 1.5}, "--rise-until: 1.5"),
        ({"rise_from": -0.1}, "--rise-from: -0.1"),
        ({"fall_to": math.nan}, "--fall-to: nan"),
    ],
)
def test_a_schedule_that_is_not_one_is_refused(fields, named):
    with pytest.raises(InputError, match=named):
        validate_config(SweepConfig(training=TrainingConfig(**fields)))
