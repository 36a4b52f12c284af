"""The two-layer study: its fits against numbers made by hand, its replicates against the pieces."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phase_jax.linear.descent import measure_curvature
from phase_jax.linear.model import sample_data
from phase_jax.simulate import two_layer
from phase_jax.simulate.study import StudyContext


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def test_the_exponent_of_a_power_law_is_found():
    widths = (4, 16, 64)
    gaps = np.array([[2.0 * h**-1.5 for h in widths], [7.0 * h**-0.5 for h in widths]])
    exponent, error, half = two_layer.fit_exponent(gaps, widths)
    assert exponent == pytest.approx(-1.0)
    assert error == pytest.approx(0.5)  # slopes -1.5 and -0.5: std 1 / sqrt 2, over sqrt 2
    assert half == pytest.approx(0.5 * 12.7062, rel=1e-4)  # Student t, one degree of freedom


def test_one_replicate_gives_an_exponent_without_interval():
    exponent, error, half = two_layer.fit_exponent(np.array([[1.0, 0.5]]), (2, 4))
    assert exponent == pytest.approx(-1.0)
    assert np.isnan(error)
    assert np.isnan(half)


def test_a_replicate_has_what_theory_says():
    num_examples, num_features, widths = 30, 4, (16, 1024)
    replicate = two_layer.make_replicate(num_examples, num_features, widths, jnp.float64)
    keys = jax.random.split(jax.random.key(0), 4)
    values = jax.jit(jax.vmap(replicate))(keys)
    gap = np.asarray(values["gap"])
    epsilons = np.array(two_layer.EPSILONS)
    assert gap.shape == (4, 2, len(two_layer.DELTAS), epsilons.size, 2, 2)

    data_key = jax.random.split(keys[0], 3)[0]
    x, y = sample_data(data_key, num_examples, jnp.full(num_features, 0.5), two_layer.SIGMA)
    step_size = two_layer.REACH / (measure_curvature(x) + epsilons**2)
    expected = step_size * epsilons * jnp.abs(y).mean()
    np.testing.assert_allclose(values["unit"][0], expected, rtol=1e-10)

    # Matched start, first step: the remainder of tanh is of order 1 / h, 64 times the width.
    matched, zero = gap[:, :, -1, :, 0, 0], gap[:, :, -1, :, 0, 1]
    assert (np.median(matched[:, 1], axis=0) < np.median(matched[:, 0], axis=0) / 16).all()
    # Zero start: eta epsilon mean |y| times the root mean square of 1,000 normal numbers, 2.2 %.
    ratio = zero[:, 1, 1:] / np.asarray(values["unit"])[:, 1:]
    np.testing.assert_allclose(ratio, 1.0, atol=4 * 0.022 + 0.03)


def test_the_study_runs_and_reports(tmp_path, monkeypatch):
    monkeypatch.setattr(two_layer, "WIDTHS", (8, 32))
    monkeypatch.setattr(two_layer, "STEPS", (1, 5))
    result = two_layer.STUDY.run(StudyContext(tmp_path, study="two-layer", replicates=2))
    cells = 2 * len(two_layer.DELTAS) * len(two_layer.EPSILONS) * 2 * 2
    assert len(result.rows) == 2 * cells
    assert all(np.isfinite(row["gap"]) and row["low"] <= row["high"] for row in result.rows)
    assert result.summary["widths"] == (8, 32)
    assert len(result.findings) == 6
    assert set(result.figures) == {"two-layer"}
