"""The studies of Figures 2 and 3: p-values on known data, and what is said of curves."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phase_jax.linear.descent import descend
from phase_jax.linear.model import adversarial_loss, sample_data
from phase_jax.simulate import p_value_curves
from phase_jax.simulate.loss_test import predict_p_value, run_loss_test
from phase_jax.simulate.p_value_curves import (
    AXES,
    LOG_RATIOS,
    Curves,
    make_replicate,
    simulate_features,
)
from phase_jax.simulate.p_value_findings import (
    Claim,
    describe_curves,
    format_mean,
    summarise_curves,
)
from phase_jax.simulate.p_value_readings import (
    average,
    compare_tests,
    find_fall,
    list_rows,
    read_clean,
    read_mean,
)
from phase_jax.simulate.parameter_test import falls_near_star, run_parameter_test
from phase_jax.simulate.significance import TESTS, check_uniform
from phase_jax.simulate.study import StudyContext

NEVER = Claim("A claim.", "it holds", lambda curve, axis: False)


def build_curves(means, missing=0):
    """Curves with the same values on every axis; the loss threshold is missing in some draws."""
    count = 20
    values = np.broadcast_to(np.asarray(means), (count, len(AXES), len(LOG_RATIOS))).copy()
    values[:missing, list(AXES).index("loss")] = np.nan
    uniform = (np.arange(count) + 0.5) / count
    stars = {axis: np.ones(count) for axis in AXES}
    stars["loss"][:missing] = -np.inf
    return Curves(
        2,
        dict.fromkeys(TESTS, values),
        dict.fromkeys(TESTS, check_uniform(uniform)),
        dict.fromkeys(TESTS, uniform),
        stars,
    )


def test_an_average_leaves_out_what_does_not_exist():
    assert average(np.array([1.0, np.nan, 3.0])) == (2.0, pytest.approx(1.0))
    assert all(map(math.isnan, average(np.array([np.nan]))))
    mean, error = average(np.array([0.4]))
    assert mean == 0.4
    assert math.isnan(error)


def test_the_fall_of_a_line_is_where_it_is():
    line = np.interp(LOG_RATIOS, [-1.0, 1.0], [0.5, 0.0])
    curve = build_curves(line)
    assert find_fall(curve, "theory") == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)  # all alike
    assert falls_near_star(curve, "theory")
    never = find_fall(build_curves(np.full(len(LOG_RATIOS), 0.4)), "theory")
    assert math.isnan(never.value)
    assert (never.low, never.high) == (math.inf, math.inf)


def test_the_interval_of_a_fall_is_that_of_its_replicates():
    """Lines, shifted sideways by normal amounts: their mean falls at the mean of the shifts."""
    rng, count = np.random.default_rng(2), 400
    shifts = 0.3 * rng.standard_normal(count)
    lines = 0.25 - 0.1 * (np.array(LOG_RATIOS) - shifts[:, None])
    curve = build_curves(lines[0])._replace(
        p_values=dict.fromkeys(TESTS, np.repeat(lines[:, None], len(AXES), axis=1))
    )
    fall = find_fall(curve, "theory")
    assert fall.value == pytest.approx(shifts.mean(), abs=1e-9)
    half = 1.96 * 0.3 / math.sqrt(count)
    assert fall.high - fall.low == pytest.approx(2 * half, rel=0.25)


def test_missing_thresholds_are_said_and_left_out():
    curve = build_curves(np.full(len(LOG_RATIOS), 0.4), missing=5)
    rows = {(row["epsilon_star"], row["log_ratio"], row["test"]): row for row in list_rows([curve])}
    assert len(rows) == len(TESTS) * (1 + len(AXES) * len(LOG_RATIOS))
    assert rows["loss", 0.0, "rank"]["num_replicates"] == 15
    assert rows["theory", 0.0, "rank"]["num_replicates"] == 20
    findings = describe_curves([curve], NEVER)
    assert findings[0].startswith("A claim. Here it holds at no d with ε* = √(d/n);")
    text = " ".join(findings)
    assert "undefined in 25%" in text
    assert "no point up to 2" in text
    facts = summarise_curves([curve])["features"][0]["epsilon_star"]["loss"]
    assert facts["undefined"]["value"] == 0.25
    assert facts["median"]["value"] == facts["median_where_finite"]["value"] == 1.0
    clean, _ = read_clean(curve, "loss")
    assert clean == pytest.approx((np.arange(5, 20) + 0.5).mean() / 20)


def test_a_default_test_that_is_off_is_said_to_be():
    curve = build_curves(np.full(len(LOG_RATIOS), 0.4))
    assert "slightly off" not in describe_curves([curve], NEVER)[-1]
    off = check_uniform(np.full(20, 0.1))
    doubtful = curve._replace(calibration=curve.calibration | {TESTS[0]: off})
    assert "slightly off" in describe_curves([curve, doubtful], NEVER)[-1]


def test_readings_of_equal_tests_are_equal():
    curve = build_curves(np.full(len(LOG_RATIOS), 0.4))
    assert compare_tests(curve) == 0
    assert read_mean(curve, "trajectory") == (pytest.approx(0.4), pytest.approx(0, abs=1e-12))


def test_means_are_written_to_one_figure_of_their_error():
    written = [format_mean(0.1234, error) for error in (0.02, 0.0042, 0.2, 0.0, math.nan)]
    assert written == ["0.12 ± 0.02", "0.123 ± 0.004", "0.12 ± 0.20", "0.12 ± 0.00", "0.12"]


@pytest.mark.parametrize("num_features", [2, 5, 10])
def test_the_predicted_p_value_is_that_of_first_order(num_features):
    """The clean test loss, d sqrt(2 / n) standard deviations out; corrections are of order d/n."""
    first_order = math.erfc(num_features * math.sqrt(2 / 100) / math.sqrt(2))
    change = predict_p_value(num_features) / first_order - 1
    assert -0.4 * num_features / 10 < change < 0


@pytest.mark.parametrize("outcome", ["theta", "loss"])
def test_a_replicate_is_what_it_says(outcome, monkeypatch):
    """The null sample and the points, by other means, give the replicate's distances."""
    num_draws, num_features = 12, 3
    if outcome == "loss":  # once with the solvers, whose compilation takes the time
        stars = np.full(len(AXES), math.sqrt(num_features / 100))
        monkeypatch.setattr(p_value_curves, "find_stars", lambda x, y, theta_0: jnp.asarray(stars))
    with jax.enable_x64(True):
        key = jax.random.key(4)
        found = jax.jit(make_replicate(outcome, num_features, num_draws, jnp.float64))(key)
        theta_0 = jnp.full(num_features, num_features**-0.5)
        null_key, data_key = jax.random.split(key)
        sample = []
        for draw_key in jax.random.split(null_key, num_draws):
            x, y = map(np.asarray, sample_data(draw_key, 100, theta_0, 1.0))
            theta, loss, *_ = np.linalg.lstsq(x, y)
            sample.append(theta if outcome == "theta" else loss / 100)
        x, y = sample_data(data_key, 100, theta_0, 1.0)
        star = math.sqrt(num_features / 100)
        assert float(found["stars"][0]) == pytest.approx(star)
        epsilons = jnp.asarray([0.0, *(star * np.exp(LOG_RATIOS))])
        points = descend(x, y, epsilons, num_steps=p_value_curves.NUM_STEPS).theta
        if outcome == "loss":
            points = jax.vmap(adversarial_loss, (0, None, None, 0))(points, x, y, epsilons)[:, None]
    sample, points = np.array(sample), np.asarray(points)
    centred = points - sample.mean(0)
    inverse = np.linalg.inv(np.atleast_2d(np.cov(sample.T)))
    expected = np.einsum("ei,ij,ej->e", centred, inverse, centred)
    distances = np.asarray(found["distances"].mahalanobis)[: len(expected)]
    np.testing.assert_allclose(distances, expected, rtol=1e-6)


@pytest.mark.slow
def test_null_samples_are_fresh_and_p_values_uniform(tmp_path, monkeypatch):
    monkeypatch.setattr(p_value_curves, "LOG_RATIOS", (-8.0, 3.0))
    with jax.enable_x64(True):
        curve = simulate_features(StudyContext(tmp_path), "theta", 2, 200, num_draws=20)
    for test in ("hotelling", "rank"):
        assert curve.calibration[test].p_value > 1e-3
        assert curve.calibration[test].num_values == 200
    assert curve.calibration["rank"].mean < curve.clean["rank"].mean()  # spread between ranks
    far = curve.p_values["hotelling"][:, 0]
    np.testing.assert_allclose(far[:, 0], curve.clean["hotelling"], atol=0.02)  # epsilon ~ 0
    assert far[:, 1].max() < 1e-3
    undefined = np.isneginf(curve.stars["loss"])
    assert 0 < undefined.sum() < 200
    for values in curve.p_values.values():
        np.testing.assert_array_equal(np.isnan(values[:, 2]).all(1), undefined)


@pytest.mark.slow
@pytest.mark.parametrize("run", [run_parameter_test, run_loss_test])
def test_the_studies_run(run, tmp_path, monkeypatch):
    monkeypatch.setattr(p_value_curves, "NUM_DRAWS", 15)
    monkeypatch.setattr(p_value_curves, "FEATURES", (2, 3))
    with jax.enable_x64(True):
        result = run(StudyContext(tmp_path, "test", replicates=6))
    assert len(result.findings) == (6 if run is run_parameter_test else 7)
    assert result.findings[0].startswith("The paper has")
    assert len(result.figures) == 1
    assert [facts["d"] for facts in result.summary["features"]] == [2, 3]
