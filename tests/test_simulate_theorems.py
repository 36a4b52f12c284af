"""The studies of Theorems 1 and 2 and the phase diagram: their limits, replicates and sentences."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phase_jax.linear.model import collapse_epsilon, population_risk, sample_data, solve_clean
from phase_jax.linear.solve import interpolation_epsilon, solve
from phase_jax.linear.threshold import solve_epsilon_star
from phase_jax.simulate import limit, phase_diagram, theorem1, theorem2
from phase_jax.simulate.scaling_cells import encode_crossing
from phase_jax.simulate.study import StudyContext

FIRST_ORDER = math.sqrt(math.pi / 2)


def run_study(module, out, replicates=4):
    with jax.enable_x64(True):
        context = StudyContext(out=out, study=module.STUDY.name, replicates=replicates)
        return module.STUDY.run(context)


@pytest.mark.parametrize("ratio", [0.2, 3.0])
def test_limit_without_attack_is_that_of_clean_training(ratio):
    state = limit.solve_limit(1e-9, ratio, 1.5, 0.7)
    train_loss = 0.7**2 * max(1 - ratio, 0)
    risk = 0.7**2 + (state.along - 1.5) ** 2 + state.across**2
    assert state.loss == pytest.approx(train_loss, abs=1e-7)
    assert risk == pytest.approx(limit.limit_threshold(ratio, 1.5, 0.7), rel=1e-6)


@pytest.mark.parametrize("snr", [0.5, 2.0])
def test_limits_start_with_the_first_order_laws(snr):
    # Corrections by hand: 1 + (1 - pi/4) d/n, and 1 - (pi/2 - 1) snr sqrt(d/n).
    ratio = 1e-4
    star = limit.limit_epsilon_star(ratio, snr) * snr / (FIRST_ORDER * ratio)
    path = limit.limit_trajectory_epsilon(ratio, snr) / (FIRST_ORDER * ratio**0.5)
    assert (star - 1) / ratio == pytest.approx(1 - math.pi / 4, abs=0.05)
    assert (path - 1) / (snr * ratio**0.5) == pytest.approx(1 - math.pi / 2, abs=0.05)


def test_limit_of_epsilon_star_is_infinite_where_the_clean_risk_exceeds_the_power_of_y():
    assert math.isfinite(limit.limit_epsilon_star(0.79, 2.0))
    assert limit.limit_epsilon_star(0.81, 2.0) == math.inf
    assert limit.limit_epsilon_star(1.32, 2.0) == math.inf
    assert math.isfinite(limit.limit_epsilon_star(1.35, 2.0))


@pytest.fixture(scope="module")
def solved():
    """Exact minimisers of 40 data sets at one epsilon, with their clean ones."""
    num_examples, num_features, epsilon = 300, 60, 0.3
    with jax.enable_x64(True):
        theta_0 = jnp.zeros(num_features).at[0].set(1.0)

        def train(key):
            x, y = sample_data(key, num_examples, theta_0)
            found = solve(x, y, epsilon)
            distance = jnp.linalg.norm(found.theta - solve_clean(x, y))
            return found.loss, distance, found.theta[0]

        values = jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(3), 40))
    return epsilon, num_features / num_examples, [np.asarray(value) for value in values]


def test_limit_agrees_with_exact_minimisers(solved):
    epsilon, ratio, (loss, distance, along) = solved
    state = limit.solve_limit(epsilon, ratio, 1.0)
    expected = (state.loss, limit.limit_distance(epsilon, ratio, 1.0), state.along)
    for values, value in zip((loss, distance, along), expected, strict=True):
        error = values.std(ddof=1) / values.size**0.5
        # The limit itself is off by a few multiples of 1/n.
        assert abs(values.mean() - value) < 4 * error + 3 / 300


def test_path_distance_equals_a_plain_loop():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((12, 3)), rng.standard_normal(12)
    epsilons = np.array([0.05, 0.4])
    with jax.enable_x64(True):
        found = theorem1.measure_path(jnp.asarray(x), jnp.asarray(y), jnp.asarray(epsilons), 25)
    curvature = np.linalg.eigvalsh(x.T @ x / 12)[-1]
    for epsilon, value in zip(epsilons, np.asarray(found), strict=True):
        step = 1 / (curvature + epsilon**2)
        clean, attacked, largest = np.zeros(3), np.zeros(3), 0.0
        for _ in range(25):
            clean = clean + step * x.T @ (y - x @ clean) / 12
            residual = y - x @ attacked
            length = np.linalg.norm(attacked)
            worst = np.abs(residual) + epsilon * length
            direction = attacked / length if length else 0 * attacked
            pull = x.T @ (np.sign(residual) * worst) / 12
            attacked = attacked + step * (pull - epsilon * worst.mean() * direction)
            largest = max(largest, np.linalg.norm(clean - attacked))
        assert value == pytest.approx(largest, rel=1e-3)  # the curvature is an upper bound


def test_theorem1_far_below_and_far_above():
    kappas = (0.01, 10.0)
    with jax.enable_x64(True):
        wide = theorem1.make_replicate(8, 60, kappas, 50, jnp.float64)
        values = jax.jit(jax.vmap(wide))(jax.random.split(jax.random.key(1), 6))
        values = {name: np.asarray(value) for name, value in values.items()}
    assert np.all(values["solved"])
    # d >> n: below interpolation the minimisers are equal, above collapse theta is zero.
    assert np.all(values["minimiser"][:, 0] < 1e-9)
    assert np.all(values["is_zero"][:, 1])
    assert np.all(values["shrinkage"][:, 1] == 0)
    assert np.all(values["path"][:, 0] > 1e-4)  # but the paths differ on the way


@pytest.mark.slow
def test_theorem1_study_says_what_it_found(tmp_path, monkeypatch):
    regimes = [theorem1.REGIMES[0]._replace(sizes=((20, 3),))]
    monkeypatch.setattr(theorem1, "REGIMES", regimes)
    monkeypatch.setattr(theorem1, "KAPPAS", (0.01, 0.1, 1.0, 10.0))
    monkeypatch.setattr(theorem1, "NUM_STEPS", 20)
    result = run_study(theorem1, tmp_path)
    first = result.rows[0]
    assert first["limit"] == pytest.approx(0.01 * math.sqrt(2 / math.pi), rel=0.2)
    assert {"theorem1"} == set(result.figures)
    assert "a power 1.0" in result.findings[1]


def test_theorem2_rise_below_interpolation_is_quadratic():
    with jax.enable_x64(True):
        epsilons = (0.1, 0.2)
        values = jax.jit(theorem2.make_replicate(6, 40, epsilons, jnp.float64))(jax.random.key(2))
        rise = np.asarray(values["rise"])
    assert rise[1] == pytest.approx(4 * rise[0], rel=1e-5)


def test_ratio_of_means_and_its_error():
    rng = np.random.default_rng(0)
    gap = 2 + rng.standard_normal((500, 200))
    rise = 3 + gap + rng.standard_normal((500, 200))
    values, errors = np.transpose(
        [theorem2.divide_means(*pair) for pair in zip(rise, gap, strict=True)]
    )
    assert errors.mean() == pytest.approx(values.std(), rel=0.15)
    assert abs(values.mean() - 2.5) < 4 * values.std() / 500**0.5 + 0.02


@pytest.mark.slow
def test_theorem2_study_shows_the_counterexample(tmp_path, monkeypatch):
    between = theorem2.BETWEEN._replace(sizes=((27, 9), (64, 16)), more=())
    wide = theorem2.REGIMES[-1]._replace(sizes=((6, 40),), more=())
    monkeypatch.setattr(theorem2, "BETWEEN", between)
    monkeypatch.setattr(theorem2, "REGIMES", (between, wide))
    monkeypatch.setattr(theorem2, "KAPPAS", (0.1, 1.0))
    result = run_study(theorem2, tmp_path, replicates=30)
    assert "FAILS" in result.findings[0]
    row = next(r for r in result.rows if r["n"] == 64 and r["kappa"] == 0.1)
    assert row["median_low"] < row["limit"] < row["median_high"]
    assert row["first_order"] == pytest.approx(0.0798 * 2, rel=1e-3)
    few = run_study(
        theorem2, tmp_path / "few", replicates=3
    )  # no interval: nothing to draw it from
    assert set(few.figures) == {"theorem2"}


def test_threshold_is_read_off_a_curve():
    # (1 + epsilon)^2, which cubic interpolation with slopes gives exactly.
    epsilons = jnp.array([0.0, 1.0, 2.0, 4.0])
    curve = phase_diagram.LossCurve(epsilons, (1 + epsilons) ** 2, 2 * (1 + epsilons))
    expected = {0.5: -np.inf, 2.25: 0.5, 6.25: 1.5, 16.0: 3.0, 25.0: np.inf, 30.0: np.inf}
    for threshold, value in expected.items():
        found = float(phase_diagram.cross_threshold(curve, threshold))
        assert found == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(
    ("norm", "num_examples", "num_features"),
    [
        pytest.param("l2", 60, 12, marks=pytest.mark.slow),
        pytest.param("linf", 60, 12, marks=pytest.mark.slow),
        ("l2", 8, 40),
    ],
)
def test_threshold_of_the_picture_is_the_exact_one(norm, num_examples, num_features):
    epsilons = phase_diagram.list_epsilons(norm, 22)
    with jax.enable_x64(True):
        replicate = phase_diagram.make_replicate(
            num_examples, num_features, epsilons, norm, jnp.float64
        )
        theta_0 = jnp.full(num_features, phase_diagram.THETA_LENGTH * num_features**-0.5)

        def compare(key):
            x, y = sample_data(key, num_examples, theta_0, phase_diagram.SIGMA)
            risk = population_risk(solve_clean(x, y), theta_0, phase_diagram.SIGMA, 0.0)
            return encode_crossing(solve_epsilon_star(x, y, risk, norm=norm))

        keys = jax.random.split(jax.random.key(7), 6)
        read = np.asarray(jax.jit(jax.vmap(replicate))(keys)["loss_threshold"])
        exact = np.asarray(jax.jit(jax.vmap(compare))(keys))
    finite = np.isfinite(exact)
    assert finite.any()
    np.testing.assert_array_equal(read[~finite], exact[~finite])
    np.testing.assert_allclose(read[finite], exact[finite], rtol=0.02)  # for a picture


@pytest.mark.parametrize("norm", phase_diagram.NORMS)
def test_phases_of_one_data_set(norm):
    with jax.enable_x64(True):
        theta_0 = jnp.full(30, phase_diagram.THETA_LENGTH * 30**-0.5)
        key = jax.random.key(4)
        x, y = sample_data(key, 10, theta_0, phase_diagram.SIGMA)
        collapse = float(collapse_epsilon(x, y, norm))
        inner = float(interpolation_epsilon(x, y, norm))
        strengths = (0.4 * inner, 0.8 * inner, 0.99 * collapse, 1.01 * collapse)
        values = phase_diagram.make_replicate(10, 30, strengths, norm, jnp.float64)(key)
        length = np.asarray(values["length"])
    assert length[0] == pytest.approx(length[1], rel=1e-5)
    assert length[2] > 0 == length[3]
    if norm == "l2":
        assert length[0] == pytest.approx(1, rel=1e-9)
    else:
        assert length[0] > 1


@pytest.mark.slow
def test_phase_diagram_study(tmp_path, monkeypatch):
    monkeypatch.setattr(phase_diagram, "list_sizes", lambda count: [(16, 4), (4, 16)])
    monkeypatch.setattr(phase_diagram, "list_epsilons", lambda norm, count: (0.01, 0.1, 10.0))
    result = run_study(phase_diagram, tmp_path)
    assert len(result.rows) == 2 * 2 * 3
    assert {row["share_zero"] for row in result.rows if row["epsilon"] == 10.0} == {1.0}
    assert len(result.summary["boundaries"]) == 4
