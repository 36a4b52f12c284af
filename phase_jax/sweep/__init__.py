"""Train every attack strength and seed side by side, and solve for epsilon*.

Names are loaded on first use, so that `python -m phase_jax.sweep --help` need not import JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phase_jax.sweep.checkpoint import CheckpointPlan
    from phase_jax.sweep.execute import SweepProgress
    from phase_jax.sweep.lanes import choose_lane_width, map_lanes
    from phase_jax.sweep.result import AdversarialExamples, LaneTable, SweepResult
    from phase_jax.sweep.run import run_sweep

_MODULES = {
    "AdversarialExamples": "result",
    "CheckpointPlan": "checkpoint",
    "LaneTable": "result",
    "SweepProgress": "execute",
    "SweepResult": "result",
    "choose_lane_width": "lanes",
    "map_lanes": "lanes",
    "run_sweep": "run",
}

__all__ = [
    "AdversarialExamples",
    "CheckpointPlan",
    "LaneTable",
    "SweepProgress",
    "SweepResult",
    "choose_lane_width",
    "map_lanes",
    "run_sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
