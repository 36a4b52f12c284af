"""What people see of a run: files, plots, tables, one sentence."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phase_jax.report.directory import claim_directory
    from phase_jax.report.document import build_document
    from phase_jax.report.read import load_run
    from phase_jax.report.write import write_result

_MODULES = {
    "build_document": "document",
    "claim_directory": "directory",
    "load_run": "read",
    "write_result": "write",
}

__all__ = ["build_document", "claim_directory", "load_run", "write_result"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
