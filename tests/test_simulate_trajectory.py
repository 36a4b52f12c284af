"""The study of paths, against descent written out in NumPy and exact minimisers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phase_jax.linear.model import sample_data
from phase_jax.simulate import trajectory
from phase_jax.simulate.study import StudyContext
from phase_jax.simulate.trajectory import Setting, make_replicate, measure_difference

TALL = Setting(40, 3, (0.02, 0.2), 0.1, "d ≫ n")
WIDE = Setting(4, 60, (0.3, 6.0), 4.0, "d ≪ n")


def follow_path(x, y, epsilon, step_size, num_steps):
    """Gradient descent on mean (|r| + epsilon |theta|)^2, half the gradient a step."""
    theta = np.zeros(x.shape[1])
    path = []
    for _ in range(num_steps):
        residual = y - x @ theta
        length = np.linalg.norm(theta)
        worst = np.abs(residual) + epsilon * length
        direction = theta / length if length else 0 * theta
        push = (np.sign(residual) * worst) @ x / len(y)
        theta = theta - step_size * (epsilon * worst.mean() * direction - push)
        path.append(theta)
    return np.array(path)


@pytest.fixture(scope="module", params=[TALL, WIDE])
def followed(request):
    """A replicate of a long run, and its data set."""
    setting = request.param
    with jax.enable_x64(True):
        key = jax.random.key(2)
        found = jax.jit(make_replicate(setting, jnp.float64, 400))(key)
        theta_0 = jnp.full(setting.num_features, setting.num_features**-0.5)
        data = sample_data(key, setting.num_examples, theta_0, trajectory.SIGMA)
    return setting, {name: np.asarray(value) for name, value in found.items()}, data


def test_a_replicate_follows_the_paths(followed):
    setting, found, data = followed
    x, y = map(np.asarray, data)
    largest = np.linalg.eigvalsh(x.T @ x / len(y)).max()
    step_size = 1 / (largest + setting.epsilons[-1] ** 2)
    paths = [follow_path(x, y, e, step_size, 30) for e in (0.0, *setting.epsilons)]
    lengths = np.linalg.norm(paths[0], axis=1)
    for e, path in enumerate(paths[1:]):
        expected = np.linalg.norm(path - paths[0], axis=1) / lengths
        np.testing.assert_allclose(found["relative"][:30, e], expected, rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(found["relative"][0], 0, atol=1e-12)  # the first step is clean


def test_long_paths_end_at_the_exact_minimisers_and_wide_ones_have_phases(followed):
    setting, found, _ = followed
    if setting is TALL:
        np.testing.assert_allclose(found["relative"][-1], found["exact"], rtol=0.02)
        return
    small, large = setting.epsilons
    assert small < found["interpolation"] < found["collapse"] < large
    np.testing.assert_allclose(found["exact"], [0.0, 1.0], atol=1e-9)


def test_equal_zeros_are_not_apart():
    assert not measure_difference(jnp.zeros((3, 2))).any()


@pytest.mark.slow
def test_the_study_reports_both_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(trajectory, "SETTINGS", (TALL, WIDE))
    with jax.enable_x64(True):
        result = trajectory.run_trajectory(StudyContext(tmp_path, "trajectory", replicates=6))
    assert len(result.rows) == 2 * 2 * trajectory.NUM_STEPS
    assert result.summary["num_replicates"] == 6
    assert "swapped" in result.findings[-1]
    assert [facts["n"] for facts in result.summary["settings"]] == [40, 4]
    for facts in result.summary["settings"]:
        shares = [facts["loss_star"][f"share_{s}"]["value"] for s in ("undefined", "infinite")]
        assert 0 <= sum(shares) <= 1
        assert facts["loss_star"]["share_failed"]["value"] == 0
    assert "trajectory" in result.figures
