"""Sweeps that find their own grid.

Names are loaded on first use, so that the command line reads their settings without JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phase_jax.adaptive.run import AdaptiveSweep, run_adaptive_sweep
    from phase_jax.adaptive.settings import AdaptiveConfig

_MODULES = {
    "AdaptiveConfig": "settings",
    "AdaptiveSweep": "run",
    "run_adaptive_sweep": "run",
}

__all__ = ["AdaptiveConfig", "AdaptiveSweep", "run_adaptive_sweep"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
