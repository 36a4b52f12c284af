"""The parameters of a run's networks in its directory: an orbax checkpoint, leaves [E, S, ...].

Orbax is imported where it is used: refusals and help do not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest import mock

from phase_jax.types import InputError

if TYPE_CHECKING:
    import contextlib
    import pathlib

    from phase_jax.sweep.result import SweepResult


def write_parameters(path: pathlib.Path, result: SweepResult) -> None:
    """Save selected parameters and state; read with `ocp.load`."""
    from orbax.checkpoint import v1 as ocp

    save = ocp.save if hasattr(ocp, "save") else ocp.save_pytree  # its name before orbax 0.12.8
    with _act_alone():
        save(
            str(path.resolve()),
            {"params": result.params, "model_state": result.model_state},
        )


def read_parameters(path: pathlib.Path, field: str) -> dict[str, Any]:
    """Read selected parameters and state.

    Args:
      path: Where `write_parameters` put them.
      field: What a refusal calls the run: the argument or flag that the user gave.

    Raises:
      InputError: They are missing or damaged.
    """
    from orbax.checkpoint import v1 as ocp

    if not path.is_dir():
        raise InputError(f"{field}: {str(path)!r} is missing; the run's parameters are needed")
    load = ocp.load if hasattr(ocp, "load") else ocp.load_pytree  # its name before orbax 0.12.8
    try:
        with _act_alone():
            return load(str(path.resolve()))
    except (OSError, ValueError):
        raise InputError(f"{field}: {str(path)!r} is damaged; allowed: what a run wrote") from None


def _act_alone() -> contextlib.AbstractContextManager[Any]:
    """Let orbax see one process only.

    It would wait for the others of a run: naming the active ones in its options is not enough, as
    it asks all of them for the name of the directory (orbax 0.12.8).
    """
    import jax

    return mock.patch.object(jax, "process_count", return_value=1)
