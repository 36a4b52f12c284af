"""The interval on epsilon*: its coverage on sweeps whose epsilon* is known, and its edges."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from synthetic import SyntheticSweep

from phase_jax import EpsilonStatus, estimate_epsilon_star

NUM_SWEEPS = 1_000


def count_coverage(generator, *, num_resamples=400, **options):
    """Return shares of sweeps whose interval covers the truth and misses it on either side."""
    rng = np.random.default_rng(1)
    low_misses = high_misses = 0
    for i in range(NUM_SWEEPS):
        estimate = estimate_epsilon_star(
            *generator.draw(rng), num_resamples=num_resamples, seed=i, **options
        )
        low_misses += (estimate.low or 0.0) > generator.truth
        high_misses += estimate.high is not None and estimate.high < generator.truth
    return 1 - (low_misses + high_misses) / NUM_SWEEPS


@pytest.mark.parametrize(
    "num_seeds", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 4, 8))]
)
def test_nominal_95_percent_intervals_cover_at_least_93_percent(num_seeds):
    assert count_coverage(SyntheticSweep(num_seeds)) >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [2, 3, 4, 8])
@pytest.mark.parametrize(
    "changes",
    [
        {"seed_spread": 0.02},  # the test set alone
        {"num_images": 5_000},  # the seeds alone
        {"seed_spread": 0.25, "grid_end": 0.12},  # seeds beyond the grid
        {"seed_spread": 0.25, "num_images": 100, "start": 0.18},  # seeds at zero
    ],
    ids=["test-set", "seeds", "beyond-grid", "at-zero"],
)
def test_intervals_cover_where_one_source_dominates_or_seeds_are_censored(num_seeds, changes):
    assert count_coverage(dataclasses.replace(SyntheticSweep(num_seeds), **changes)) >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("method", ["line", "regression", "isotonic", "monotone_spline"])
def test_intervals_of_the_other_methods_cover_too(method):
    assert count_coverage(SyntheticSweep(3), method=method, num_resamples=200) >= 0.93


def draw(num_seeds, seed=0, **changes):
    generator = dataclasses.replace(SyntheticSweep(num_seeds), **changes)
    return generator.draw(np.random.default_rng(seed))


def test_the_estimate_is_the_geometric_mean_of_the_seeds():
    estimate = estimate_epsilon_star(*draw(4))
    values = [solution.value for solution in estimate.seeds]
    assert estimate.status is EpsilonStatus.FOUND
    assert estimate.value == pytest.approx(math.exp(np.mean(np.log(values))))
    assert estimate.low < estimate.value < estimate.high
    assert estimate.seed_std == pytest.approx(np.std(np.log(values), ddof=1))
    assert (estimate.num_censored, estimate.num_missing) == (0, 0)


def test_test_images_are_resampled_once_for_all_seeds():
    epsilons, losses, test_losses = draw(1, num_images=400)
    # identical seeds carry no information beyond one: their common error must not shrink
    one = estimate_epsilon_star(epsilons, losses, test_losses)
    four = estimate_epsilon_star(
        epsilons, np.repeat(losses, 4, axis=0), np.repeat(test_losses, 4, axis=0)
    )
    assert four.test_set_std == pytest.approx(one.test_set_std, rel=0.1)
    assert four.low == pytest.approx(one.low, rel=0.05)
    assert four.high == pytest.approx(one.high, rel=0.05)


def test_the_test_set_part_shrinks_with_the_square_root_of_its_size():
    small = estimate_epsilon_star(*draw(2, num_images=200))
    large = estimate_epsilon_star(*draw(2, num_images=20_000), num_resamples=400)
    assert small.test_set_std / large.test_set_std == pytest.approx(10, rel=0.4)


def test_more_confidence_gives_a_wider_interval():
    inner = estimate_epsilon_star(*draw(4), confidence=0.8)
    outer = estimate_epsilon_star(*draw(4), confidence=0.99)
    assert outer.low < inner.low < inner.high < outer.high


def test_one_seed_says_that_variation_between_seeds_is_not_included():
    estimate = estimate_epsilon_star(*draw(1))
    assert "not included" in estimate.interval_method
    assert estimate.low < estimate.value < estimate.high
    assert estimate.seed_std is None


@pytest.mark.parametrize("num_seeds", [3, 8])
def test_a_seed_beyond_the_grid_leaves_no_upper_end(num_seeds):
    epsilons, losses, test_losses = draw(num_seeds)
    losses[0] = np.linspace(0.0, 0.1, len(epsilons))
    estimate = estimate_epsilon_star(epsilons, losses, test_losses)
    assert estimate.status is EpsilonStatus.FOUND
    assert estimate.high is None
    assert 0 <= estimate.low < estimate.value
    assert estimate.num_censored == 1


@pytest.mark.parametrize("num_seeds", [3, 8])
def test_a_seed_at_zero_moves_the_lower_end_to_zero(num_seeds):
    epsilons, losses, test_losses = draw(num_seeds)
    losses[0] += 1.0
    estimate = estimate_epsilon_star(epsilons, losses, test_losses)
    assert estimate.status is EpsilonStatus.FOUND
    assert estimate.low == 0.0
    assert estimate.high is None or estimate.high > estimate.value
    assert estimate.seeds[0].status is EpsilonStatus.UNDEFINED


@pytest.mark.parametrize(
    ("shift", "status"), [(1.0, EpsilonStatus.UNDEFINED), (-1.0, EpsilonStatus.BEYOND_GRID)]
)
def test_when_most_seeds_are_censored_the_estimate_has_their_status(shift, status):
    epsilons, losses, test_losses = draw(5)
    losses[:3] += shift
    estimate = estimate_epsilon_star(epsilons, losses, test_losses)
    assert (estimate.value, estimate.status, estimate.num_censored) == (None, status, 3)


def test_a_threshold_above_a_known_supremum_is_infinite_for_every_seed():
    epsilons, losses, test_losses = draw(3)
    estimate = estimate_epsilon_star(epsilons, losses, test_losses, supremum=0.01)
    assert estimate.status is EpsilonStatus.INFINITE
    assert estimate.high is None


def test_seeds_without_a_clean_loss_are_missing_and_the_others_are_used():
    epsilons, losses, test_losses = draw(4)
    test_losses[2] = np.nan
    estimate = estimate_epsilon_star(epsilons, losses, test_losses)
    others = estimate_epsilon_star(
        epsilons, np.delete(losses, 2, axis=0), np.delete(test_losses, 2, axis=0)
    )
    assert estimate.value == pytest.approx(others.value)
    assert estimate.num_missing == 1
    assert estimate.seeds[2].status is EpsilonStatus.NONFINITE


def test_no_usable_seed_gives_a_status_and_no_interval():
    epsilons, losses, test_losses = draw(2)
    estimate = estimate_epsilon_star(epsilons, losses, np.full_like(test_losses, np.nan))
    assert estimate.status is EpsilonStatus.NONFINITE
    assert (estimate.value, estimate.low, estimate.high) == (None, None, None)


def test_several_crossings_are_reported():
    epsilons, losses, test_losses = draw(3, threshold=0.2, grid_end=0.16)
    losses[:, -1] = 0.05  # the train loss comes back down
    estimate = estimate_epsilon_star(epsilons, losses, test_losses)
    assert estimate.status is EpsilonStatus.FOUND
    assert estimate.last_crossing > estimate.value


def test_the_same_seed_gives_the_same_interval():
    first, second = (estimate_epsilon_star(*draw(8), seed=3) for _ in range(2))
    assert (first.low, first.high) == (second.low, second.high)
