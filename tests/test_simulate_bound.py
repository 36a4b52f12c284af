"""The study of the fine-tuning bound: by hand, on random problems, and where it must break."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phase_jax.linear.descent import descend
from phase_jax.linear.model import adversarial_gradient, adversarial_loss, sample_data
from phase_jax.simulate import extrapolation, fine_tuning_bound
from phase_jax.simulate.study import StudyContext
from phase_jax.simulate.subgradient import (
    break_printed_bound,
    count_violations,
    evaluate_bound,
    walk_downhill,
)

EPSILON, STEP_SIZE, NUM_STEPS = 0.3, 0.1, 12


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def draw(num_examples=15, num_features=4):
    return sample_data(jax.random.key(2), num_examples, jnp.full(num_features, 0.5), 0.5)


def walk(norm="l2", optimum=None):
    x, y = draw()
    optimum = jnp.zeros(4) if optimum is None else optimum
    return walk_downhill(x, y, EPSILON, norm, jnp.ones(4), optimum, STEP_SIZE, NUM_STEPS)


def test_the_walk_takes_the_steps_of_descend():
    x, y = draw()
    theta = descend(
        x,
        y,
        jnp.array([EPSILON]),
        num_steps=NUM_STEPS,
        start=jnp.ones(4),
        step_size=2 * STEP_SIZE,  # descend goes along half the gradient
    ).records[:, 0]
    np.testing.assert_allclose(walk().squared_distance, (theta**2).sum(-1), rtol=1e-10)
    loss = np.array([adversarial_loss(row, x, y, EPSILON) for row in theta])
    np.testing.assert_allclose(walk().lowest, np.minimum.accumulate(loss), rtol=1e-10)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_both_sides_follow_from_the_steps(norm):
    """The bound evaluated in NumPy; it holds against any point, here one that is no minimiser."""
    x, y = draw()
    point = jnp.full(4, 0.3)
    thetas = [np.ones(4)]
    for _ in range(NUM_STEPS):
        gradient = np.asarray(adversarial_gradient(jnp.asarray(thetas[-1]), x, y, EPSILON, norm))
        thetas.append(thetas[-1] - STEP_SIZE * gradient)
    loss = [float(adversarial_loss(jnp.asarray(t), x, y, EPSILON, norm)) for t in thetas]
    lengths = [np.linalg.norm(b - a) / STEP_SIZE for a, b in itertools.pairwise(thetas)]
    minimum = float(adversarial_loss(point, x, y, EPSILON, norm))
    found = evaluate_bound(walk(norm, point), jnp.asarray(minimum), jnp.asarray(STEP_SIZE))
    for steps in (1, 5, NUM_STEPS):
        far, near = (np.sum((thetas[t] - np.asarray(point)) ** 2) for t in (0, steps))
        bound = (far - near) / (2 * STEP_SIZE * steps) + STEP_SIZE * max(lengths[:steps]) ** 2 / 2
        assert found.excess[steps - 1] == pytest.approx(min(loss[:steps]) - minimum)
        assert found.printed_excess[steps - 1] == pytest.approx(min(loss[1 : steps + 1]) - minimum)
        assert found.bound[steps - 1] == pytest.approx(bound, rel=1e-9)
    assert count_violations(found)["num_violations"] == 0


def test_the_constructed_cases_break_the_printed_form_only():
    """By hand: 0.8256^2 - 0.64 against 0, and 1.06^2 - 1 against 0.0706."""
    kink, collapse = break_printed_bound(jnp.float64)
    assert kink["subgradient"] == pytest.approx(2 * 0.8**2)
    assert kink["printed_excess"] == pytest.approx(0.8256**2 - 0.64)
    assert kink["printed_bound"] == pytest.approx(0.0, abs=1e-12)
    assert collapse["printed_excess"] == pytest.approx(1.06**2 - 1)
    assert collapse["lipschitz"] == pytest.approx(6 * 1.18)  # slope of (1 - 3 theta)^2 at -0.06
    assert collapse["printed_bound"] == pytest.approx(0.005 * (7.08**2 - 36))
    for case in (kink, collapse):
        assert case["printed_excess"] > case["printed_bound"]
        assert case["corrected_excess"] <= case["corrected_bound"] + 1e-15


def test_a_power_law_is_fitted_with_its_interval():
    rows = [{"n": n, "absolute": 3.0 * n**-0.25, "absolute_error": 0.03} for n in (10, 100, 1000)]
    power = extrapolation.fit_power(rows)
    assert power.exponent == pytest.approx(-0.25)
    log_n = np.log([10, 100, 1000])
    weight = (np.array([row["absolute"] for row in rows]) / 0.03) ** 2
    spread = np.average((log_n - np.average(log_n, weights=weight)) ** 2, weights=weight)
    assert power.half_width == pytest.approx(1.96 / (weight.sum() * spread) ** 0.5, rel=1e-3)


@pytest.mark.slow
def test_the_study_runs_and_no_bound_is_violated(tmp_path, monkeypatch):
    monkeypatch.setattr(fine_tuning_bound, "SETTINGS", ((20, 3, "l2"), (20, 60, "linf")))
    monkeypatch.setattr(fine_tuning_bound, "SIZES", ((20, 3), (20, 60)))
    monkeypatch.setattr(fine_tuning_bound, "NUM_STEPS", 10)
    monkeypatch.setattr(extrapolation, "ROOTS", (3, 4))
    context = StudyContext(tmp_path, study="fine-tuning-bound", replicates=4)
    result = fine_tuning_bound.STUDY.run(context)
    assert result.summary["num_violations"] == 0
    assert result.summary["num_checks"] == 2 * 4 * 3 * 4 * 3 * 10
    errors = [row for row in result.rows if row["part"] == "extrapolation"]
    assert len(errors) == 2 * len(extrapolation.METHODS)
    # The curve bends one way from 0 to epsilon*: a line that uses more of it errs less.
    absolute = [row["absolute"] for row in errors if row["n"] == 256]
    assert absolute[2] < absolute[1] < absolute[0]
    assert absolute[4] < absolute[0]
    assert set(result.figures) == {"fine-tuning-bound", "extrapolation"}
