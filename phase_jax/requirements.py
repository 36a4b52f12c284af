"""Requirements on single settings; each refusal is one line: field, value, what is allowed."""

from __future__ import annotations

import math
from typing import Any

from phase_jax.types import InputError


def require_name(field: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is not one of the names allowed; `field` is what the user writes."""
    if value not in allowed:
        raise InputError(f"{field}: {value!r} is not known; allowed: {', '.join(allowed)}")


def require_integer(
    field: str, value: Any, low: int, high: float = math.inf, *, optional: bool = False
) -> None:
    """Refuse what is no whole number in [low, high]; None passes where it is optional."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        bound = f"at least {low}" if math.isinf(high) else f"{low} to {high}"
        raise InputError(f"{field}: {value!r} is not allowed; allowed: a whole number, {bound}")


def require_number(
    field: str, value: Any, low: float, high: float = math.inf, *, optional: bool = False
) -> None:
    """Refuse what is no finite number in [low, high]; None passes where it is optional."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{field}: {value!r} is not allowed; allowed: a number")
    if not math.isfinite(value) or not low <= value <= high:
        bound = f"at least {low}" if math.isinf(high) else f"{low} to {high}"
        raise InputError(f"{field}: {value!r} is not allowed; allowed: a finite number, {bound}")


def require_absolute_size(field: str, size: float | None, rule: str) -> None:
    """Refuse an absolute step rule without a step length in pixels."""
    if rule == "absolute" and size is None:
        raise InputError(
            f"{field}: an absolute step rule needs it; allowed: a number of pixels > 0"
        )
