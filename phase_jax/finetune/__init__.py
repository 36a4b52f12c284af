"""Algorithm A.1: fine-tune a clean model at a few small attack strengths, extrapolate to epsilon*.

Names are loaded on first use, so that `python -m phase_jax.finetune --help` need not import JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phase_jax.finetune.read import load_fine_tuning
    from phase_jax.finetune.result import Extrapolation, FineTuningResult
    from phase_jax.finetune.run import run_fine_tuning
    from phase_jax.finetune.write import write_fine_tuning

_MODULES = {
    "Extrapolation": "result",
    "FineTuningResult": "result",
    "load_fine_tuning": "read",
    "run_fine_tuning": "run",
    "write_fine_tuning": "write",
}

__all__ = [
    "Extrapolation",
    "FineTuningResult",
    "load_fine_tuning",
    "run_fine_tuning",
    "write_fine_tuning",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
