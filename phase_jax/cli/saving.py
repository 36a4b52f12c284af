"""Options of commands that save on the way: where to, how often, and what to do with --out."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from phase_jax.config import option
from phase_jax.interruption import GRACE_SECONDS
from phase_jax.report.directory import Claim
from phase_jax.report.scalars import check_log_dir
from phase_jax.requirements import require_number
from phase_jax.types import InputError

if TYPE_CHECKING:
    from phase_jax.report.session import SessionOptions


@dataclasses.dataclass(frozen=True)
class SavingOptions:
    """Where a run writes, and how it runs on this machine; not part of the result."""

    out: str | None = option(None, "directory for the results; by default runs/DATASET-MODEL-TIME")
    overwrite: bool = option(False, "replace a run that --out already holds, finished or not")
    resume: bool = option(
        False, "go on with the unfinished run in --out, under the same settings; begin if none is"
    )
    checkpoint_every: str = option(
        "10m", "how often to save: minutes (10m) or epochs (2e); 0m after every chunk of epochs"
    )
    stop_within: float = option(
        GRACE_SECONDS,
        "seconds from SIGTERM or Ctrl-C to the end: at the end of a chunk of epochs, which is "
        "saved, or when they are over, with what was saved before",
    )
    compilation_cache: bool = option(
        True, "keep compiled programs in the user's cache directory", flag="compilation-cache"
    )


@dataclasses.dataclass(frozen=True)
class CurveOptions(SavingOptions):
    """The same of a run that has learning curves."""

    log_dir: str | None = option(
        None,
        "directory in which TensorBoard finds the learning curves, a run for every attack "
        "strength; needs phase-jax[tensorboard]",
        flag="log-dir",
    )


def check_saving(options: SavingOptions) -> Claim:
    """Refuse times out of range and contradictions; return what the run wants with --out.

    Raises:
      InputError: A flag has a value that is not allowed, or two exclude each other.
    """
    parse_interval(options.checkpoint_every, "--checkpoint-every")
    require_number("--stop-within", options.stop_within, 0)
    check_log_dir(getattr(options, "log_dir", None), options.out)
    claims = [claim for claim in Claim if getattr(options, claim.name.lower(), False)]
    if len(claims) > 1:
        flags = " and ".join(f"--{claim.name.lower()}" for claim in claims)
        raise InputError(f"{flags} exclude one another; give one")
    claim = claims[0] if claims else Claim.NEW
    if claim in (Claim.RESUME, Claim.EXTEND) and options.out is None:
        raise InputError(f"--{claim.name.lower()}: needs --out, the directory of the run")
    return claim


def build_session_options(options: SavingOptions) -> SessionOptions:
    """Build what a session is told from the flags."""
    from phase_jax.report.session import SessionOptions

    minutes, epochs = parse_interval(options.checkpoint_every, "--checkpoint-every")
    log_dir = getattr(options, "log_dir", None)
    return SessionOptions(options.compilation_cache, minutes, epochs, options.stop_within, log_dir)


def parse_interval(text: str, field: str) -> tuple[float | None, int | None]:
    """Read minutes such as `10m` or epochs such as `2e`; return both, the other None.

    Raises:
      InputError: It is neither.
    """
    number, unit = text.strip()[:-1], text.strip()[-1:]
    if unit == "m" and re.fullmatch(r"\d+(\.\d+)?", number, re.ASCII):
        return float(number), None
    if unit == "e" and re.fullmatch(r"0*[1-9]\d{0,8}", number, re.ASCII):
        return None, int(number)
    raise InputError(f"{field}: {text!r} is not allowed; allowed: minutes (10m) or epochs (2e)")
