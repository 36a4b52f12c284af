"""Reading attack strengths: numbers, fractions and grids such as `0:0.2:9` or `0,1/255,8/255`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

ALLOWED_NUMBER = "a number or a fraction such as 8/255, at least 0"
ALLOWED_GRID = "lo:hi:n (n evenly spaced values, ends included) or a comma list, such as 0:8/255:9"
AUTO, AUTO_GRID = "auto", ()
"""The word for a grid that a sweep finds by itself, and what stands for it."""
MAX_GRID_POINTS = 10_000


def parse_number(text: str, field: str = "number") -> float:
    """Read one nonnegative finite number; fractions such as `8/255` are allowed.

    Args:
      text: What the user wrote.
      field: Name used in the error message.

    Returns:
      The number.

    Raises:
      InputError: The text is not a finite number of at least zero.
    """
    numerator, slash, denominator = text.strip().partition("/")
    try:
        value = float(numerator) / (float(denominator) if slash else 1.0)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise InputError(f"{field}: {text!r} is not allowed; allowed: {ALLOWED_NUMBER}") from None
    if not math.isfinite(value) or value < 0:
        raise InputError(f"{field}: {text!r} is not allowed; allowed: {ALLOWED_NUMBER}")
    return value + 0.0


def parse_grid(text: str, field: str = "--eps-grid") -> tuple[float, ...]:
    """Read a grid of attack strengths, `lo:hi:n` (ends included) or a comma list.

    Args:
      text: What the user wrote; every number may be a fraction.
      field: Name used in error messages.

    Returns:
      The values as written, in the order given; `complete_grid` sorts them and adds zero.

    Raises:
      InputError: The text is not a grid.
    """
    if ":" not in text:
        items = text.split(",")
        if not all(item.strip() for item in items):
            raise InputError(f"{field}: {text!r} is not a grid; allowed: {ALLOWED_GRID}")
        return tuple(parse_number(item, field) for item in items)
    parts = text.split(":")
    if len(parts) != 3 or not parts[2].strip().isascii() or not parts[2].strip().isdigit():
        raise InputError(f"{field}: {text!r} is not a grid; allowed: {ALLOWED_GRID}")
    low, high = parse_number(parts[0], field), parse_number(parts[1], field)
    if len(parts[2].strip()) > 9 or not 2 <= int(parts[2]) <= MAX_GRID_POINTS or not low < high:
        raise InputError(
            f"{field}: {text!r} is not a grid; allowed: {ALLOWED_GRID}, with lo < hi and "
            f"2 <= n <= {MAX_GRID_POINTS}"
        )
    last = int(parts[2]) - 1
    return (low, *((low * (last - i) + high * i) / last for i in range(1, last)), high)


def complete_grid(values: Iterable[float], field: str = "epsilon_grid") -> tuple[float, ...]:
    """Sort a grid, drop repeats and add zero: clean training is always one of the lanes.

    Raises:
      InputError: A value is negative, NaN or infinite, or none is positive.
    """
    values = tuple(float(value) for value in values)
    for value in values:
        if not math.isfinite(value) or value < 0:
            raise InputError(f"{field}: {value!r} is not allowed; allowed: {ALLOWED_NUMBER}")
    if not any(values):
        raise InputError(f"{field}: {values!r} has no positive attack strength; give at least one")
    if len(set(values)) > MAX_GRID_POINTS:
        raise InputError(f"{field}: {len(set(values))} values; allowed: at most {MAX_GRID_POINTS}")
    return tuple(sorted({0.0, *(value + 0.0 for value in values)}))
