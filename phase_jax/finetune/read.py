"""Read a fine-tuning's directory back, and build its page again."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

from phase_jax.config import FineTuningConfig
from phase_jax.config_file import rebuild_config
from phase_jax.finetune.document import KIND
from phase_jax.finetune.page import build_fine_tuning_page
from phase_jax.finetune.result import Extrapolation, FineTuningResult, LinearFit
from phase_jax.finetune.write import list_pictures
from phase_jax.report.directory import PAGE_FILE, RESULT_FILE
from phase_jax.report.document import SCHEMA_VERSION
from phase_jax.report.read import load_run, read_document, rebuild_estimate
from phase_jax.report.write import write_text
from phase_jax.storage.atomic import write_atomically
from phase_jax.sweep.stability import assess_stability
from phase_jax.types import InputError
from phase_jax.validation import validate_config, validate_fine_tuning

if TYPE_CHECKING:
    import os


def load_fine_tuning(
    path: str | os.PathLike, *, field: str = "RUN", with_parameters: bool = True
) -> FineTuningResult:
    """Read the directory of a finished fine-tuning; nothing is unpickled.

    Args:
      path: What `write_fine_tuning` wrote to.
      field: What a refusal calls the path.
      with_parameters: As in `load_run`, for the lanes of every attack.

    Returns:
      The result, equal to the one that was written.

    Raises:
      InputError: There is none, it is incomplete or damaged, or another version wrote it.
    """
    path = pathlib.Path(path)
    if not (path / RESULT_FILE).is_file():
        what = "holds no finished fine-tuning" if path.is_dir() else "is no directory"
        raise InputError(f"{field}: {str(path)!r} {what}; allowed: what `finetune` wrote (--out)")
    document = read_document(path / RESULT_FILE, KIND, field=field, version=SCHEMA_VERSION)
    try:
        fine_tuning = rebuild_config(document["fine_tuning"], FineTuningConfig)
        validate_fine_tuning(fine_tuning)
        config = validate_config(rebuild_config(document["config"]))
        extrapolations = tuple(map(_rebuild_extrapolation, document["extrapolations"]))
        fits = {attack: LinearFit(**fit) for attack, fit in document["fits"].items()}
        cautions, notes = (tuple(document[name]) for name in ("cautions", "notes"))
        origin, gradients, seconds = (document[name] for name in ("origin", "gradients", "seconds"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{field}: {str(path)!r} does not fit together ({type(error).__name__}: {error}); "
            "allowed: a fine-tuning that this version of phase_jax wrote"
        ) from None
    runs = {
        attack: load_run(path / attack, field=field, with_parameters=with_parameters)
        for attack in fine_tuning.attacks
    }
    return FineTuningResult(
        config=config,
        fine_tuning=fine_tuning,
        runs=runs,
        extrapolations=extrapolations,
        fits=fits,
        stability={attack: assess_stability(run) for attack, run in runs.items()},
        origin=origin,
        gradients=gradients,
        seconds=seconds,
        cautions=cautions,
        notes=notes,
    )


def rebuild_page(path: str | os.PathLike) -> pathlib.Path:
    """Build the page of a fine-tuning again, from its directory alone.

    Args:
      path: The directory.

    Returns:
      Path of the page, which lies in the directory: it links those of the attacks.

    Raises:
      InputError: As for `load_fine_tuning`.
      InterruptedRunError: The page cannot be written.
    """
    path = pathlib.Path(path)
    result = load_fine_tuning(path, with_parameters=False)
    page = build_fine_tuning_page(result, list_pictures(path))
    write_atomically(path / PAGE_FILE, lambda draft: write_text(draft, page))
    return path / PAGE_FILE


def _rebuild_extrapolation(fields: dict[str, Any]) -> Extrapolation:
    """Make an extrapolation from its fields."""
    values = {f.name: fields.get(f.name) for f in dataclasses.fields(Extrapolation)}
    left_out = tuple((each["epsilon"], each["value"]) for each in fields["left_out"])
    return Extrapolation(**{**values, "estimate": rebuild_estimate(fields), "left_out": left_out})
