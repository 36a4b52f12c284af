"""The solver against the paper's printed tables, hand-checkable curves and its own contract."""

from __future__ import annotations

import csv
import itertools
import math
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import phase_jax
from phase_jax import EpsilonStatus, InputError, solve_epsilon_star
from phase_jax.solver import METHODS, TRACEABLE_METHODS

PUBLISHED = pathlib.Path(phase_jax.__file__).parent / "reproduce" / "published"
SETTINGS = settings(max_examples=150, deadline=None, derandomize=True)


def read_published(name):
    with (PUBLISHED / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def published_curve(setting, rows, clean=None):
    """Return epsilons (in 1/255), train losses and the clean test loss of one setting."""
    chosen = [row for row in rows if row["setting"] == setting]
    if clean:
        shared = (r for r in rows if r["setting"] == clean and float(r["epsilon_255"]) == 0)
        chosen = [*shared, *chosen]
    epsilons = np.array([float(row["epsilon_255"]) for row in chosen])
    losses = np.array([float(row["train_loss"]) for row in chosen])
    threshold = next(float(r["test_loss"]) for r in chosen if float(r["epsilon_255"]) == 0)
    return epsilons, losses, threshold


# Expected values in 1/255. Where the paper prints no value (Adam, batch 256, and l2 on 10,000
# images) the number is that of the interpolation rule itself, computed by hand from the table.
FROM_SCRATCH = {
    "cifar10-preactresnet18-50k-linf": (0.5, 0.06, None),
    "cifar10-preactresnet18-10k-linf": (3.3, 0.06, None),
    "cifar10-wideresnet34-1-50k-linf": (1.1, 0.06, None),
    "cifar10-wideresnet34-10-50k-linf": (1.1, 0.06, None),
    "cifar100-preactresnet18-25k-linf": (4.0, 0.06, None),
    "cifar100-preactresnet18-50k-linf": (1.0, 0.06, None),
    "svhn-preactresnet18-50k-linf": (4.9, 0.06, None),
    "cifar10-preactresnet18-50k-linf-trades": (0.77, 0.1, None),
    "cifar10-preactresnet18-50k-l2": (24.8, 0.1, "cifar10-preactresnet18-50k-linf"),
    "cifar10-preactresnet18-50k-linf-adam": (2 + 2 * 0.0722 / 0.6879, 0.01, None),
    "cifar10-preactresnet18-50k-linf-batch256": (1 + 0.0054 / 0.101, 0.01, None),
    "cifar10-preactresnet18-10k-l2": (
        128 + 128 * 0.0916 / 0.4604,
        0.1,
        "cifar10-preactresnet18-10k-linf",
    ),
}


@pytest.mark.parametrize("setting", FROM_SCRATCH)
def test_published_losses_give_the_published_value(setting):
    expected, tolerance, clean = FROM_SCRATCH[setting]
    epsilons, losses, threshold = published_curve(
        setting, read_published("from_scratch_losses"), clean
    )
    solution = solve_epsilon_star(epsilons, losses, threshold)
    assert solution.status is EpsilonStatus.FOUND
    assert solution.value == pytest.approx(expected, abs=tolerance)
    assert solution.last_crossing == solution.value
    assert solution.num_crossings == 1


def test_every_published_from_scratch_value_with_losses_is_covered():
    settings_with_losses = {row["setting"] for row in read_published("from_scratch_losses")}
    published = {
        row["setting"]
        for row in read_published("epsilon_star")
        if row["method"] == "from_scratch" and row["setting"] in settings_with_losses
    }
    assert published - {"cifar10-preactresnet18-50k-linf-mart"} <= set(FROM_SCRATCH)


def test_mart_is_undefined_because_its_clean_test_loss_lies_below_its_clean_train_loss():
    curve = published_curve(
        "cifar10-preactresnet18-50k-linf-mart", read_published("from_scratch_losses")
    )
    solution = solve_epsilon_star(*curve)
    assert solution.status is EpsilonStatus.UNDEFINED
    assert math.isnan(solution.value)


@pytest.mark.parametrize(
    ("size", "threshold", "first", "last", "crossings"),
    [("10k", 0.441, 3.24, 11.04, 2), ("50k", 0.1837, 1.06, 1.06, 1)],
)
def test_fgm_rows_report_the_first_and_the_last_crossing(size, threshold, first, last, crossings):
    setting = f"cifar10-preactresnet18-{size}-linf"
    epsilons, losses, clean = published_curve(
        f"{setting}-fgm", read_published("from_scratch_losses"), setting
    )
    assert clean == threshold
    solution = solve_epsilon_star(epsilons, losses, threshold)
    assert solution.status is EpsilonStatus.FOUND
    assert solution.value == pytest.approx(first, abs=0.01)
    assert solution.last_crossing == pytest.approx(last, abs=0.01)
    assert solution.num_crossings == crossings


FINE_TUNED = [row for row in read_published("epsilon_star") if row["method"].startswith("finetune")]


@pytest.mark.parametrize("row", FINE_TUNED, ids=lambda r: f"{r['setting']}-{r['method']}")
def test_published_fine_tuning_losses_give_table_4(row):
    _, attack, number = row["method"].split("_")
    points = [
        point
        for point in read_published("fine_tuning_losses")
        if point["setting"] == row["setting"] and point["attack"] == attack
    ]
    solution = solve_epsilon_star(
        np.array([float(point["epsilon_255"]) for point in points]),
        np.array([float(point["train_loss"]) for point in points]),
        0.441 if "10k" in row["setting"] else 0.179,
        method={"1": "line", "3": "regression"}[number],
    )
    assert solution.status is EpsilonStatus.FOUND
    assert solution.value == pytest.approx(float(row["epsilon_star_255"]), rel=0.025)


def test_table_4_has_twelve_fine_tuning_values():
    assert len(FINE_TUNED) == 12


CURVE = (np.array([0.0, 1.0, 2.0, 4.0]), np.array([0.1, 0.2, 0.4, 1.2]))
STRAIGHT = (np.array([0.0, 1.0, 2.0, 4.0]), np.array([0.1, 0.2, 0.3, 0.5]))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_exact_on_a_straight_line(method):
    solution = solve_epsilon_star(*STRAIGHT, 0.37, method=method)
    assert solution.status is EpsilonStatus.FOUND
    assert solution.value == pytest.approx(2.7, rel=1e-5)
    assert solution.slope == pytest.approx(0.1, rel=1e-3)
    assert type(solution.value) is float
    assert type(solution.num_crossings) is int


@pytest.mark.parametrize("method", ["line", "regression", "isotonic", "monotone_spline"])
def test_extrapolating_methods_continue_beyond_the_last_point(method):
    solution = solve_epsilon_star(*STRAIGHT, 1.1, method=method)
    assert solution.status is EpsilonStatus.FOUND
    assert solution.value == pytest.approx(10.0, rel=1e-5)
    assert solution.slope == pytest.approx(0.1, rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_threshold_below_the_clean_train_loss_is_undefined(method):
    solution = solve_epsilon_star(*CURVE, 0.05, method=method)
    assert solution.status is EpsilonStatus.UNDEFINED
    assert math.isnan(solution.value)


@pytest.mark.parametrize("method", METHODS)
def test_threshold_at_a_known_supremum_is_infinite(method):
    supremum = math.log(10)
    for threshold in (supremum, 5.0):
        solution = solve_epsilon_star(*CURVE, threshold, method=method, supremum=supremum)
        assert solution.status is EpsilonStatus.INFINITE
        assert math.isnan(solution.value)
    below = solve_epsilon_star(*CURVE, 0.3, method=method, supremum=supremum)
    assert below.status is EpsilonStatus.FOUND


def test_interpolation_does_not_look_beyond_the_grid():
    assert solve_epsilon_star(*CURVE, 1.3).status is EpsilonStatus.BEYOND_GRID


@pytest.mark.parametrize("method", ["line", "regression", "isotonic", "monotone_spline"])
def test_a_flat_curve_never_reaches_a_higher_threshold(method):
    solution = solve_epsilon_star([0.0, 1.0, 2.0], [0.1, 0.1, 0.1], 0.2, method=method)
    assert solution.status is EpsilonStatus.BEYOND_GRID


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("threshold", [math.nan, math.inf, -math.inf])
def test_a_threshold_that_is_not_finite_is_nonfinite(method, threshold):
    assert solve_epsilon_star(*CURVE, threshold, method=method).status is EpsilonStatus.NONFINITE


@pytest.mark.parametrize("method", METHODS)
def test_a_clean_lane_without_a_loss_is_nonfinite(method):
    losses = np.array([math.nan, 0.2, 0.4, 1.2])
    assert (
        solve_epsilon_star(CURVE[0], losses, 0.3, method=method).status is EpsilonStatus.NONFINITE
    )


@pytest.mark.parametrize("method", METHODS)
def test_one_point_is_insufficient(method):
    assert solve_epsilon_star([0.0], [0.1], 0.3, method=method).status is EpsilonStatus.INSUFFICIENT
    repeated = solve_epsilon_star([0.0, 0.0], [0.1, 0.1], 0.3, method=method)
    assert repeated.status is EpsilonStatus.INSUFFICIENT
    lost = solve_epsilon_star([0.0, 1.0], [0.1, math.nan], 0.3, method=method)
    assert lost.status is EpsilonStatus.INSUFFICIENT


@pytest.mark.parametrize("method", METHODS)
def test_points_that_are_not_finite_are_left_out(method):
    epsilons = np.array([0.0, 0.5, 1.0, 2.0, 3.0, 4.0, math.nan, math.inf])
    losses = np.array([0.1, math.nan, 0.2, 0.3, math.inf, 0.5, 0.3, 0.3])
    solution = solve_epsilon_star(epsilons, losses, 0.37, method=method)
    assert solution.value == pytest.approx(2.7, rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_order_does_not_matter(method):
    epsilons, losses = np.array([0.0, 1.0, 1.0, 2.0]), np.array([0.1, 0.25, 0.35, 0.5])
    reference = solve_epsilon_star(epsilons, losses, 0.2, method=method)
    for order in itertools.permutations(range(4)):
        order = list(order)
        assert solve_epsilon_star(epsilons[order], losses[order], 0.2, method=method) == reference


@pytest.mark.parametrize("method", ["interpolation", "isotonic", "monotone_spline"])
def test_repeated_strengths_count_as_their_mean(method):
    twice = solve_epsilon_star([0.0, 1.0, 1.0, 2.0], [0.1, 0.2, 0.4, 0.8], 0.25, method=method)
    once = solve_epsilon_star([0.0, 1.0, 2.0], [0.1, 0.3, 0.8], 0.25, method=method)
    assert twice.value == pytest.approx(once.value, rel=1e-3)


def test_a_threshold_on_a_grid_point_gives_that_point():
    epsilons, losses = [0.0, 1.0, 2.0], [0.0, 0.5, 1.0]
    assert solve_epsilon_star(epsilons, losses, 0.5).value == 1.0
    assert solve_epsilon_star(epsilons, losses, 1.0).value == 2.0
    start = solve_epsilon_star(epsilons, losses, 0.0)
    assert (start.value, start.status) == (0.0, EpsilonStatus.FOUND)


def test_a_flat_stretch_at_the_threshold_ends_where_the_curve_leaves_it():
    assert solve_epsilon_star([0.0, 1.0, 2.0, 3.0], [0.0, 0.5, 0.5, 1.0], 0.5).value == 2.0
    assert solve_epsilon_star([0.0, 1.0, 2.0], [0.0, 0.5, 0.5], 0.5).value == 2.0


@pytest.mark.parametrize("method", TRACEABLE_METHODS)
def test_traceable_methods_compile_once_and_agree_with_their_host_value(method):
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def solve(epsilons, losses, threshold):
        return solve_epsilon_star(epsilons, losses, threshold, method=method)

    for threshold in (0.05, 0.3, 0.37, 5.0, math.nan):
        inside = solve(*map(jnp.asarray, CURVE), threshold)
        outside = solve_epsilon_star(*CURVE, threshold, method=method)
        assert int(inside.status) == outside.status
        np.testing.assert_array_equal(np.float32(outside.value), inside.value)


@pytest.mark.parametrize("method", TRACEABLE_METHODS)
def test_a_batch_solves_each_curve_as_alone(method):
    rng = np.random.default_rng(0)
    curves = np.cumsum(rng.uniform(0, 0.2, (16, 6)), axis=1)
    curves[3, 2] = np.nan  # lanes with other contents show leakage between lanes
    thresholds = rng.uniform(0.05, 0.8, 16)
    epsilons = np.linspace(0, 1, 6)
    batch = jax.vmap(lambda c, t: solve_epsilon_star(epsilons, c, t, method=method))(
        jnp.asarray(curves), jnp.asarray(thresholds)
    )
    for i in range(16):
        alone = solve_epsilon_star(epsilons, curves[i], thresholds[i], method=method)
        assert int(batch.status[i]) == alone.status
        np.testing.assert_allclose(batch.value[i], alone.value, rtol=1e-5)


@pytest.mark.parametrize("method", ["isotonic", "monotone_spline"])
def test_host_methods_refuse_to_be_traced(method):
    with pytest.raises(InputError, match="interpolation, line, regression"):
        jax.jit(lambda t: solve_epsilon_star(*CURVE, t, method=method).value)(0.3)


def test_monotone_fits_repair_a_dip_before_the_crossing():
    epsilons, losses = [0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 0.4, 0.2, 0.6, 1.0]
    for method in ("isotonic", "monotone_spline"):
        solution = solve_epsilon_star(epsilons, losses, 0.45, method=method)
        assert 2.0 < solution.value < 3.0
    # pooled 0.3 at 1 and 2, then a straight rise of 0.3 to 0.6 at 3
    isotonic = solve_epsilon_star(epsilons, losses, 0.45, method="isotonic")
    assert isotonic.value == pytest.approx(2.5, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "options", "named"),
    [
        (CURVE, {"method": "magic"}, "method: 'magic'"),
        (([0.0, 1.0], [0.1]), {}, "epsilons and losses"),
        ((np.zeros((2, 2)), np.zeros((2, 2))), {}, "epsilons and losses"),
        (([], []), {}, "epsilons and losses"),
    ],
)
def test_bad_arguments_are_one_line_that_names_them(arguments, options, named):
    with pytest.raises(InputError, match=named) as caught:
        solve_epsilon_star(*arguments, 0.3, **options)
    assert "\n" not in str(caught.value)


increasing = st.lists(st.floats(0.015625, 8, width=32), min_size=2, max_size=8)


@SETTINGS
@given(increasing, increasing, st.floats(0, 1))
def test_the_curve_at_the_solution_equals_the_threshold(steps, rises, place):
    size = min(len(steps), len(rises))
    epsilons = np.concatenate([[0.0], np.cumsum(steps[:size])])
    losses = np.concatenate([[0.0], np.cumsum(rises[:size])])
    threshold = place * losses[-1]
    for method in ("interpolation", "isotonic"):
        solution = solve_epsilon_star(epsilons, losses, threshold, method=method)
        assert solution.status is EpsilonStatus.FOUND
        reached = np.interp(solution.value, epsilons, losses)
        slope = max(rises) / min(steps)
        assert reached == pytest.approx(threshold, rel=1e-4, abs=1e-5 * slope * epsilons[-1])


@SETTINGS
@given(st.floats(0.01, 100), st.floats(0.11, 1.1))
def test_rescaling_the_attack_strength_rescales_the_solution(factor, threshold):
    for method in METHODS:
        plain = solve_epsilon_star(*CURVE, threshold, method=method)
        scaled = solve_epsilon_star(factor * CURVE[0], CURVE[1], threshold, method=method)
        assert scaled.status == plain.status
        assert scaled.value == pytest.approx(factor * plain.value, rel=1e-4)


@SETTINGS
@given(increasing, increasing, st.floats(0.01, 0.99))
def test_a_monotone_change_of_the_attack_strength_moves_the_solution_with_it(steps, moved, place):
    """Whatever the change, the curve crosses between the same two strengths, once."""
    size = min(len(steps), len(moved))
    before, after = (np.concatenate([[0.0], np.cumsum(s[:size])]) for s in (steps, moved))
    losses = np.linspace(0, 1, size + 1) ** 2
    for method in ("interpolation", "isotonic"):
        plain, changed = (
            solve_epsilon_star(epsilons, losses, place, method=method)
            for epsilons in (before, after)
        )
        assert changed.status == plain.status == EpsilonStatus.FOUND
        assert changed.num_crossings == plain.num_crossings
        expected = np.interp(plain.value, before, after)
        assert changed.value == pytest.approx(expected, rel=1e-3, abs=1e-4 * after[-1])


numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)


@SETTINGS
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6), numbers)
def test_any_input_gives_a_status_and_a_value_only_when_found(points, threshold):
    epsilons, losses = zip(*points, strict=True)
    padded = (
        [*epsilons, *[math.nan] * (6 - len(points))],
        [*losses, *[math.nan] * (6 - len(points))],
    )
    for method in TRACEABLE_METHODS:
        solution = solve_epsilon_star(*padded, threshold, method=method)
        assert isinstance(solution.status, EpsilonStatus)
        assert math.isnan(solution.value) == (solution.status is not EpsilonStatus.FOUND)
