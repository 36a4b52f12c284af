"""Reading grids of attack strengths."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase_jax import InputError
from phase_jax.grid import complete_grid, parse_grid, parse_number

SETTINGS = settings(max_examples=300, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:0.2:5", (0.0, 0.05, 0.1, 0.15, 0.2)),
        ("0:8/255:3", (0.0, 4 / 255, 8 / 255)),
        ("1/255,8/255", (1 / 255, 8 / 255)),
        (" 0.1 , 0.2 ", (0.1, 0.2)),
        ("0.3", (0.3,)),
        ("1e-3:1e-2:2", (0.001, 0.01)),
    ],
)
def test_grids_are_ranges_or_lists_of_numbers_or_fractions(text, expected):
    assert parse_grid(text) == pytest.approx(expected, rel=1e-12)


@given(st.floats(0, 1), st.floats(0.001, 1), st.integers(2, 50))
@SETTINGS
def test_a_range_contains_exactly_its_ends_and_is_evenly_spaced(low, width, number):
    high = low + width
    grid = parse_grid(f"{low!r}:{high!r}:{number}")
    assert (grid[0], grid[-1], len(grid)) == (low, high, number)
    steps = [b - a for a, b in itertools.pairwise(grid)]
    assert steps == pytest.approx([width / (number - 1)] * (number - 1), rel=1e-6, abs=1e-12)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
@SETTINGS
def test_a_list_round_trips(values):
    assert parse_grid(",".join(map(repr, values))) == tuple(values)


def read_or_refuse(text):
    """Return the grid and no message, or no grid and the message."""
    try:
        return parse_grid(text), ""
    except InputError as error:
        return (), str(error)


@given(st.text(max_size=30))
@SETTINGS
def test_any_text_gives_a_grid_or_one_clear_line(text):
    grid, message = read_or_refuse(text)
    assert all(math.isfinite(value) and value >= 0 for value in grid)
    assert bool(grid) != ("--eps-grid" in message and "allowed" in message)
    assert "\n" not in message


MALFORMED = """,|0:1|0:1:1|1:0:3|0:1:2:3|a|0:b:3|-0.1|nan|inf|1/0|0:1:-3|0:1:1e3|0:1:99999999999|
0,,1|1/2/3|8/-255|0:1:²"""


@pytest.mark.parametrize("text", ["", *MALFORMED.replace("\n", "").split("|")])
def test_malformed_grids_are_refused_with_what_is_allowed(text):
    with pytest.raises(InputError, match=r"--eps-grid.*allowed"):
        parse_grid(text)


def test_zero_is_always_added_and_repeats_are_dropped():
    assert complete_grid([0.2, 0.1, 0.2]) == (0.0, 0.1, 0.2)
    assert math.copysign(1, complete_grid([-0.0, 0.1])[0]) == 1


@pytest.mark.parametrize("values", [[], [0.0], [0.1, -0.1], [math.nan], [math.inf, 0.1]])
def test_a_grid_needs_finite_nonnegative_values_and_one_above_zero(values):
    with pytest.raises(InputError, match="epsilon_grid"):
        complete_grid(values)


def test_numbers_may_be_fractions():
    assert parse_number("8/255") == 8 / 255
