"""The study of Lemmas 1 and 2, at sizes of seconds."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from phase_jax.simulate import moments
from phase_jax.simulate.study import StudyContext

SMALL = ((24, 4), (4, 24))


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    with patch.context() as patched, jax.enable_x64(True):
        patched.setattr(moments, "SIZES", SMALL)
        context = StudyContext(tmp_path_factory.mktemp("moments"), "moments", replicates=4000)
        return moments.run_moments(context)


def test_corrected_forms_hold(result):
    assert result.summary["num_replicates"] == 4000
    assert result.summary["largest_error_of_corrected"] < 4
    assert "agree" in result.findings[0]


def test_wrong_printed_forms_are_refuted_and_right_ones_are_not(result):
    wrong = {(row["moment"], row["n"]) for row in result.rows if row["printed_is_wrong"]}
    assert wrong == {("tr Var θ̂(0)", 4), ("Var R̂(0)", 24), ("E Δ", 24), ("E Δ²", 24)}
    for row in result.rows:
        if row["printed_is_wrong"]:
            assert abs(row["printed_off"]) > moments.FAR
        elif np.isfinite(row["printed"]):
            assert row["printed_off"] == row["corrected_off"]
    assert len(result.findings) == 5


def test_moments_that_are_zero_or_unknown_make_no_claim(result):
    assert not [row for row in result.rows if row["n"] == 4 and "R̂" in row["moment"]]
    unknown = [row for row in result.rows if row["n"] == 4 and "Δ" in row["moment"]]
    assert len(unknown) == 3
    assert all(np.isnan(row["printed"]) for row in unknown)


def test_a_replicate_is_clean_training_on_one_data_set():
    with jax.enable_x64(True):
        key = jax.random.key(3)
        found = moments.make_replicate(12, 3, jnp.float64)(key)
        theta_0 = jnp.full(3, 3**-0.5)
        x, y = map(np.asarray, moments.sample_data(key, 12, theta_0, moments.SIGMA))
    theta, *_ = np.linalg.lstsq(x, y)
    train = np.mean((y - x @ theta) ** 2)
    excess = ((theta - np.asarray(theta_0)) ** 2).sum()
    assert float(found["train_loss"]) == pytest.approx(train, rel=1e-10)
    assert float(found["squared_deviation"]) == pytest.approx(excess, rel=1e-10)
    assert float(found["gap"]) == pytest.approx(1 + excess - train, rel=1e-10)


def test_the_figure_is_drawn(result):
    assert isinstance(result.figures["moments"], Figure)
