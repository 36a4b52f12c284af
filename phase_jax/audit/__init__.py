"""Is the evaluation attack strong enough? Stronger attacks on the networks of a finished run.

Importing this package or `settings` needs no JAX, so that help and refusals are quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phase_jax.audit.result import AuditResult
    from phase_jax.audit.run import run_audit
    from phase_jax.audit.settings import AuditSettings

_MODULES = {"AuditResult": "result", "AuditSettings": "settings", "run_audit": "run"}

__all__ = ["AuditResult", "AuditSettings", "run_audit"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
