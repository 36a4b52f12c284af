"""The scaling study: intervals, fits, cells, shares."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from phase_jax.simulate import limit, scaling, scaling_cells, scaling_fits
from phase_jax.simulate.intervals import Interval, estimate_median, estimate_share
from phase_jax.simulate.power_law import fit_power_law, measure_log_error
from phase_jax.simulate.study import StudyContext


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (1, 10, 0.0179, 0.4042), (10, 10, 0.7225, 1.0)],
)
def test_wilson_interval(hits, trials, low, high):
    share = estimate_share(hits, trials)
    assert share == pytest.approx((hits / trials, low, high), abs=5e-5)


def test_share_of_nothing_is_unknown():
    share = estimate_share(0, 0)
    assert math.isnan(share.value)
    assert (share.low, share.high) == (0, 1)


@pytest.mark.parametrize("count", [6, 25, 100, 1000])
def test_median_interval_has_its_coverage(count):
    # Ranks are all that matters: with the values 0, 1, ... the interval names its order statistics.
    interval = estimate_median(np.random.default_rng(0).permutation(count).astype(float))
    first, last = int(interval.low), int(interval.high)
    binomial = stats.binom(count, 0.5)
    coverage = binomial.cdf(last) - binomial.cdf(first)
    narrower = binomial.cdf(last - 1) - binomial.cdf(first + 1)
    assert coverage >= 0.95 > narrower
    assert interval.value == (count - 1) / 2


def test_median_of_values_that_may_be_infinite():
    values = np.array([-np.inf] * 30 + [1.0] * 40 + [np.inf] * 30 + [np.nan] * 5)
    assert estimate_median(values) == Interval(1.0, 1.0, 1.0)
    assert estimate_median(np.array([np.inf] * 9)).value == np.inf
    assert estimate_median(np.array([1.0, 2.0])) == Interval(1.5, -np.inf, np.inf)


def test_log_error_of_a_median():
    assert measure_log_error(Interval(1.0, math.exp(-0.196), math.exp(0.196))) == pytest.approx(
        0.1, rel=1e-3
    )
    assert math.isnan(measure_log_error(Interval(1.0, -1.0, 2.0)))


def test_power_law_is_recovered():
    x = np.array([0.01, 0.02, 0.05, 0.1])
    exact = fit_power_law(x, 3 * x**0.7, np.full(4, 0.01))
    assert exact.exponent == pytest.approx(0.7, abs=1e-12)
    assert exact.prefactor == pytest.approx(3, rel=1e-12)
    spread = np.log(x) - np.log(x).mean()
    assert exact.exponent_error == pytest.approx(0.01 / (spread @ spread) ** 0.5, rel=1e-9)
    bent = fit_power_law(x, 3 * x**0.7 * np.exp(2 * x**0.5), np.full(4, 0.01), drift_power=0.5)
    assert (bent.exponent, bent.drift) == pytest.approx((0.7, 2.0), abs=1e-9)


def test_power_law_intervals_cover():
    rng = np.random.default_rng(1)
    x = np.logspace(-2, -1, 6)
    errors = np.linspace(0.01, 0.04, 6)
    fits = [
        fit_power_law(x, x * np.exp(errors * rng.standard_normal(6)), errors) for _ in range(400)
    ]
    covered = np.mean([fit.interval[0] < 1 < fit.interval[1] for fit in fits])
    assert covered > 0.95 - 4 * (0.05 * 0.95 / 400) ** 0.5


def test_power_law_needs_as_many_places_as_coefficients():
    x, error = np.array([0.1, 0.1, 0.2]), np.array([0.1, 0.1, np.nan])
    assert fit_power_law(x, x, error) is None


def test_full_cells_keep_to_their_sizes_and_replicates():
    cells = scaling_cells.list_cells(full=True)
    assert len(cells) == len({cell[:3] for cell in cells})
    assert [c.work * c.full for c in cells] == sorted(c.work * c.full for c in cells)
    for cell in cells:
        assert cell.n <= (4000 if cell.d <= 0.1 * cell.n else 1000)
        assert cell.full >= (1000 if cell.d <= 100 else 200)
        assert abs(cell.n - cell.d) > 3  # beyond, Lemma 2's variance does not exist


def test_default_cells_allow_a_fit():
    cells = scaling_cells.list_cells(full=False)
    inside = [c for c in cells if c.threshold == "loss" and 3 * c.n**0.5 <= c.d <= 0.1 * c.n]
    assert len(inside) >= 3


@pytest.fixture(scope="module")
def small_study(tmp_path_factory):
    """The study on tiny cells."""
    cells = {
        "loss": {(40, 2): 60, (40, 12): 60, (10, 40): 60},
        "trajectory": {(40, 2): 20, (40, 12): 20},
    }
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True):
        patch.setattr(scaling_cells, "DEFAULT_CELLS", cells)
        context = StudyContext(out=tmp_path_factory.mktemp("scaling"), study="scaling")
        return scaling.STUDY.run(context)


def find(rows, threshold, n, d, snr=1.0):
    wanted = (threshold, n, d, snr)
    return next(r for r in rows if (r["threshold"], r["n"], r["d"], r["snr"]) == wanted)


@pytest.mark.slow
def test_shares_add_up(small_study):
    assert len(small_study.rows) == 5 * 3
    for row in small_study.rows:
        assert row["undefined"] + row["finite"] + row["infinite"] == pytest.approx(1)
        assert row["num_failed"] == 0
    assert find(small_study.rows, "loss", 40, 2)["undefined"] > 0.1
    assert find(small_study.rows, "loss", 10, 40)["infinite"] > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("threshold", "estimate"), [("trajectory", "median"), ("loss", "at_mean_gap")]
)
@pytest.mark.parametrize("snr", [1.0, 2.0])
def test_medians_are_near_the_limit(small_study, threshold, estimate, snr):
    row = find(small_study.rows, threshold, 40, 12, snr)
    error = row[scaling_fits.name_error(estimate)]
    # What the limit leaves out is of order 1/d.
    assert abs(math.log(row[estimate] / row["limit"])) < 4 * error + 1 / 12


@pytest.mark.slow
def test_study_has_findings_and_figures(small_study):
    assert set(small_study.figures) == {"scaling", "scaling-exponents"}
    findings = " ".join(small_study.findings)
    for name in ("Loss", "Trajectory"):
        assert f"{name} threshold against the limit n → ∞" not in findings  # only from d = 20 on
    assert "Loss threshold, d > n = 10: infinite in" in findings
    assert "of 660 solves failed" in findings


def test_crossings_are_undefined_exactly_where_the_gap_is_negative():
    cell = scaling_cells.Cell("loss", 30, 2, 40, 40)
    with jax.enable_x64(True):
        replicate = scaling_cells.make_replicate(cell, jnp.float64)
        values = jax.jit(jax.vmap(replicate))(jax.random.split(jax.random.key(0), 40))
    epsilon, gap = (np.asarray(values[name]) for name in ("epsilon", "gap"))
    assert np.array_equal(epsilon == -np.inf, gap < 0)
    # Delta does not depend on theta_0 for n > d: one design and noise for all lengths of theta_0.
    assert np.allclose(gap, gap[:, :1], rtol=0, atol=1e-12)


def test_fits_of_the_limit_itself_give_the_limit():
    rows = [
        {"threshold": "loss", "snr": 1.0, "n": n, "d": d, "ratio": d / n, "undefined": 0.0,
         "limit": limit.limit_epsilon_star(d / n, 1.0), "log_error": 0.01,
         "at_mean_gap_log_error": 0.01}
        for n, d in ((1000, 100), (2000, 140), (4000, 200), (4000, 400))
    ]  # fmt: skip
    for row in rows:
        row["median"] = row["at_mean_gap"] = row["limit"]
    main = [fit for fit in scaling_fits.fit_regions(rows) if fit["is_main"]]
    assert len(main) == 2
    for fit in main:
        assert fit["num_cells"] == 4
        assert fit["exponent"] == pytest.approx(fit["limit_exponent"], abs=1e-9)
        assert 1.01 < fit["exponent"] < 1.05
        assert fit["corrected_exponent"] == pytest.approx(1, abs=0.02)
