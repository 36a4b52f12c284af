"""Mode connectivity: a curve of low loss between two networks of a run (section 5.2, Figure 4).

Importing this package or `settings` needs no JAX, so that help and refusals are quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phase_jax.connectivity.result import ConnectivityResult
    from phase_jax.connectivity.run import run_connectivity
    from phase_jax.connectivity.settings import ConnectivitySettings

_MODULES = {
    "ConnectivityResult": "result",
    "ConnectivitySettings": "settings",
    "run_connectivity": "run",
}

__all__ = ["ConnectivityResult", "ConnectivitySettings", "run_connectivity"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
