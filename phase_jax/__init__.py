"""phase_jax: where adversarial training stops behaving like clean training.

The public names below are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from phase_jax.attacks import fgm, gaussian, pgd
    from phase_jax.config import FineTuningConfig, SweepConfig
    from phase_jax.data import load_dataset
    from phase_jax.diagnosis import Diagnosis, diagnose
    from phase_jax.losses import Objective, cross_entropy
    from phase_jax.models import Model, build_model
    from phase_jax.monte_carlo import MonteCarloResult, run_monte_carlo
    from phase_jax.report import load_run, write_result
    from phase_jax.solver import estimate_epsilon_star, solve_epsilon_star
    from phase_jax.sweep import SweepResult, run_sweep
    from phase_jax.training import make_train
    from phase_jax.types import (
        Dataset,
        EpsilonStar,
        EpsilonStarEstimate,
        EpsilonStatus,
        InputError,
        LaneStatus,
    )

_MODULES = {
    "Dataset": "types",
    "Diagnosis": "diagnosis",
    "EpsilonStar": "types",
    "EpsilonStarEstimate": "types",
    "EpsilonStatus": "types",
    "FineTuningConfig": "config",
    "InputError": "types",
    "LaneStatus": "types",
    "Model": "models",
    "MonteCarloResult": "monte_carlo",
    "Objective": "losses",
    "SweepConfig": "config",
    "SweepResult": "sweep",
    "build_model": "models",
    "cross_entropy": "losses",
    "diagnose": "diagnosis",
    "estimate_epsilon_star": "solver",
    "fgm": "attacks",
    "gaussian": "attacks",
    "load_dataset": "data",
    "load_run": "report",
    "make_train": "training",
    "pgd": "attacks",
    "run_monte_carlo": "monte_carlo",
    "run_sweep": "sweep",
    "solve_epsilon_star": "solver",
    "write_result": "report",
}

__all__ = [
    "Dataset",
    "Diagnosis",
    "EpsilonStar",
    "EpsilonStarEstimate",
    "EpsilonStatus",
    "FineTuningConfig",
    "InputError",
    "LaneStatus",
    "Model",
    "MonteCarloResult",
    "Objective",
    "SweepConfig",
    "SweepResult",
    "build_model",
    "cross_entropy",
    "diagnose",
    "estimate_epsilon_star",
    "fgm",
    "gaussian",
    "load_dataset",
    "load_run",
    "make_train",
    "pgd",
    "run_monte_carlo",
    "run_sweep",
    "solve_epsilon_star",
    "write_result",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
