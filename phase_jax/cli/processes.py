"""Several processes as one run: their flags, who talks, and how a process leaves the others.

Nothing here imports JAX before there are several processes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import sys
import traceback
from typing import TYPE_CHECKING, Any

from phase_jax.cli.parse import join_lines
from phase_jax.config import option
from phase_jax.requirements import require_integer, require_number
from phase_jax.types import InputError

if TYPE_CHECKING:
    import pathlib


@dataclasses.dataclass(frozen=True)
class ProcessOptions:
    """How this process finds the others of the same run; none of it changes a number."""

    distributed: bool = option(
        False,
        "be one of several processes, one a host, that share the lanes: start the same command in "
        "each; SLURM, Open MPI, Kubernetes and Cloud TPU say who they are, or the next three do. "
        "The first writes --out",
    )
    coordinator: str | None = option(None, "HOST:PORT of process 0, where the others find it")
    num_processes: int | None = option(None, "how many processes there are")
    process_id: int | None = option(None, "which of them this is, from 0")
    lost_after: float = option(
        60.0, "seconds without a sign of life after which a process is lost and the others end"
    )


def join_processes(options: ProcessOptions) -> None:
    """Make this process one of several if it was asked to be; all but the first fall silent.

    Raises:
      InputError: The flags do not fit each other, or nothing says who the others are.
      InterruptedRunError: The others are not found.
    """
    explicit = {
        "--coordinator": options.coordinator,
        "--num-processes": options.num_processes,
        "--process-id": options.process_id,
    }
    given = [flag for flag, value in explicit.items() if value is not None]
    missing = [flag for flag, value in explicit.items() if value is None]
    if given and not options.distributed:
        raise InputError(f"{given[0]}: needs --distributed")
    if given and missing:
        raise InputError(f"{given[0]}: needs {' and '.join(missing)} as well; or give none of them")
    require_number("--lost-after", options.lost_after, 5)
    require_integer("--num-processes", options.num_processes, 1, 65_536, optional=True)
    last = (options.num_processes or 1) - 1
    require_integer("--process-id", options.process_id, 0, last, optional=True)
    if given and not re.fullmatch(r"[^\s:/]+:[1-9]\d{0,4}", options.coordinator or ""):
        raise InputError(
            f"--coordinator: {options.coordinator!r} is not allowed; allowed: HOST:PORT"
        )
    if not options.distributed:
        return
    from phase_jax import distributed

    distributed.join_processes(
        options.coordinator,
        options.num_processes,
        options.process_id,
        lost_after=options.lost_after,
    )
    if not distributed.is_writer():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def claim_once(
    options: ProcessOptions, claim: contextlib.AbstractContextManager[pathlib.Path]
) -> contextlib.AbstractContextManager[pathlib.Path]:
    """Let the first process claim the directory of the run for all; see `open_once`."""
    if not options.distributed:
        return claim
    from phase_jax.distributed import open_once

    return open_once(claim)


def report_failure(error: BaseException, text: str, status: int) -> int:
    """Say in one line why a run ends, in one process where all end together; return the status.

    A process that ends alone does so at once: leaving in good order would wait for the others.
    """
    is_shared = getattr(error, "is_shared", False)
    number = _get_process_number()
    if not (is_shared and number):
        where = f" (process {number})" if number else ""
        print(f"phase-jax{where}: {join_lines(text)}", file=sys.stderr)
    if number is not None and not is_shared:
        _leave_at_once(status)
    return status


def leave_after_crash(error: BaseException) -> Any:
    """Let an error go its way, but not wait for other processes with it."""
    if _get_process_number() is not None:
        traceback.print_exception(error)
        _leave_at_once(1)
    raise error


def _get_process_number() -> int | None:
    """Return which of several processes this is; None where it is the only one."""
    jax = sys.modules.get("jax")
    if jax is None or not jax.distributed.is_initialized():
        return None
    return jax.process_index()


def _leave_at_once(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)
