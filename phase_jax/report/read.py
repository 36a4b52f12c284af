"""Read a run's directory back: the result that was written, as it was."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from phase_jax.config_file import rebuild_config
from phase_jax.report.directory import ADVERSARIAL_FILE, PARAMETERS, RESULT_FILE
from phase_jax.report.document import SCHEMA_VERSION
from phase_jax.report.parameters import read_parameters
from phase_jax.sweep.result import AdversarialExamples, CrossEntropyReading, LaneTable, SweepResult
from phase_jax.types import (
    EpsilonStar,
    EpsilonStarEstimate,
    EpsilonStatus,
    InputError,
    LaneStatus,
)
from phase_jax.validation import validate_config

if TYPE_CHECKING:
    import os

    from phase_jax.config import SweepConfig

DESCRIPTION = ("data", "model", "objective", "train_loss")
OF_SOME = ("fine_tuned_from", "clean_gradients", "search")  # description of runs of a kind
ENVIRONMENT = ("versions", "device", "revision")


def load_run(
    path: str | os.PathLike, *, field: str = "RUN", with_parameters: bool = True
) -> SweepResult:
    """Read the directory of a finished sweep; nothing is unpickled.

    Args:
      path: What `write_result` wrote to.
      field: What a refusal calls the path: the argument or flag that the user gave.
      with_parameters: Whether the lanes' parameters are read; without, they may be missing, and
        the result's are empty.

    Returns:
      The result, equal to the one that was written. Parameters and state are NumPy arrays
      [E, S, ...]; `build_document` gives the document again.

    Raises:
      InputError: There is no run, it is incomplete or damaged, or another version wrote it.
    """
    path = pathlib.Path(path)
    if not (path / RESULT_FILE).is_file():
        what = "holds no finished run" if path.is_dir() else "is no directory"
        raise InputError(f"{field}: {str(path)!r} {what}; allowed: what a sweep wrote (--out)")
    document = read_document(path / RESULT_FILE, "sweep", field=field, version=SCHEMA_VERSION)
    history = _read_arrays(path / "history.npz", field)
    examples = _read_arrays(path / "examples.npz", field)
    parameters = {"params": {}, "model_state": {}}
    if with_parameters:
        parameters = read_parameters(path / PARAMETERS, field)
    adversarial = None
    if (path / ADVERSARIAL_FILE).is_file():  # runs of earlier versions have none
        adversarial = _read_arrays(path / ADVERSARIAL_FILE, field)
    try:
        return _rebuild_result(document, history, examples, adversarial, parameters)
    except InputError as error:
        raise InputError(f"{field}: {str(path / RESULT_FILE)!r}: {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{field}: {str(path)!r} does not fit together ({type(error).__name__}: {error}); "
            "allowed: a run that this version of phase_jax wrote"
        ) from None


def find_kind(path: str | os.PathLike) -> str | None:
    """Find what kind of result a directory holds; None where it holds none that can be read."""
    try:
        document = json.loads(pathlib.Path(path, RESULT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document.get("kind") if isinstance(document, dict) else None


def read_document(
    path: pathlib.Path, kind: str, *, field: str, version: int | None = None
) -> dict[str, Any]:
    """Read the JSON document of a run or study.

    Args:
      path: The file; it exists.
      kind: What it must be the result of: `sweep`, `study`.
      field: What a refusal calls the path.
      version: The schema version that the caller knows; any where it is None.

    Returns:
      The document.

    Raises:
      InputError: It is no such document, or has another schema version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict) or document.get("kind") != kind:
        article = "an" if kind[0] in "aeiou" else "a"
        raise InputError(
            f"{field}: {str(path)!r} is not the result of {article} {kind}; allowed: what one wrote"
        )
    if version is not None and document.get("schema_version") != version:
        raise InputError(
            f"{field}: {str(path)!r} has schema version {document.get('schema_version')!r}; "
            f"allowed: {version}"
        )
    return document


def _rebuild_result(
    document: dict[str, Any],
    history: dict[str, np.ndarray],
    examples: dict[str, np.ndarray],
    adversarial: dict[str, np.ndarray] | None,
    parameters: dict[str, Any],
) -> SweepResult:
    """Put the parts of a run together again."""
    _fill_in_cross_entropy(document)
    config = validate_config(rebuild_config(document["config"]))
    epsilons, seeds = history.pop("epsilons"), history.pop("seeds")
    cross_entropy = None
    if document["cross_entropy"] is not None:
        cross_entropy = CrossEntropyReading(
            examples["clean_example_cross_entropies"],
            rebuild_estimate(document["cross_entropy"]["epsilon_star"]),
        )
    result = SweepResult(
        config=config,
        epsilons=epsilons,
        seeds=seeds,
        lanes=_rebuild_lanes(document["lanes"], (len(epsilons), len(seeds))),
        history=history,
        clean_example_losses=examples["clean_example_losses"],
        example_losses=examples["example_losses"],
        thresholds=examples["clean_example_losses"].mean(axis=1),
        epsilon_star=rebuild_estimate(document["epsilon_star"]),
        epsilon_star_other=rebuild_estimate(document["epsilon_star_other"]),
        params=parameters["params"],
        model_state=parameters["model_state"],
        description={
            name: document[name]
            for name in (*DESCRIPTION, *(name for name in OF_SOME if name in document))
        },
        environment={name: document[name] for name in ENVIRONMENT},
        seconds=document["seconds"],
        cross_entropy=cross_entropy,
        adversarial=None if adversarial is None else _rebuild_adversarial(adversarial),
        notes=tuple(document.get("notes", ())),
        clean_distances=examples.get("clean_distances"),
    )
    _check_axes(result, config)
    return result


def _check_axes(result: SweepResult, config: SweepConfig) -> None:
    """Refuse parts of different runs: every array has the configuration's lanes in front."""
    import jax

    shape = (len(config.epsilons), config.num_seeds)
    arrays = jax.tree.leaves((result.params, result.model_state))
    arrays += [*result.history.values(), result.example_losses]
    arrays += [] if result.clean_distances is None else [result.clean_distances]
    for array in arrays:
        if array.shape[:2] != shape:
            raise ValueError(f"lanes {list(array.shape[:2])}, not {list(shape)}")
    if result.adversarial is not None and len(result.adversarial.seeds) != shape[0]:
        raise ValueError(f"{len(result.adversarial.seeds)} adversarial strengths, not {shape[0]}")


def _fill_in_cross_entropy(document: dict[str, Any]) -> None:
    """Fill in what runs lack that were written when cross-entropy was the only objective."""
    if "cross_entropy" in document:
        return
    from phase_jax.losses import VANILLA

    document.update(cross_entropy=None, train_loss=VANILLA.description)
    for row in document["lanes"]:
        for column in dataclasses.fields(LaneTable):
            if column.name.endswith("cross_entropy"):
                row[column.name] = row[column.name.replace("cross_entropy", "loss")]


def _rebuild_lanes(rows: list[dict[str, Any]], shape: tuple[int, int]) -> LaneTable:
    """Make the table of lanes from its rows; what was not a number is NaN again."""
    columns = {}
    for column in dataclasses.fields(LaneTable):
        values = [row[column.name] for row in rows]
        if column.name == "status":
            values = [LaneStatus[name] for name in values]
        kind = {"status": int, "selected_epoch": np.int32}.get(column.name, np.float32)
        columns[column.name] = np.array(values, kind).reshape(shape)
    return LaneTable(**columns)


def _rebuild_adversarial(arrays: dict[str, np.ndarray]) -> AdversarialExamples:
    """Make the adversarial examples from their arrays."""
    names = [column.name for column in dataclasses.fields(AdversarialExamples)]
    return AdversarialExamples(**{name: arrays[name] for name in names})


def rebuild_estimate(fields: dict[str, Any]) -> EpsilonStarEstimate:
    """Make an estimate from its fields."""
    values = {f.name: fields[f.name] for f in dataclasses.fields(EpsilonStarEstimate)}
    seeds = tuple(_rebuild_solution(solution) for solution in fields["seeds"])
    return EpsilonStarEstimate(
        **{**values, "status": EpsilonStatus[fields["status"]], "seeds": seeds}
    )


def _rebuild_solution(fields: dict[str, Any]) -> EpsilonStar:
    """Make one solve from its fields; what has no value is NaN again."""
    values = {name: math.nan if value is None else value for name, value in fields.items()}
    return EpsilonStar(**{**values, "status": EpsilonStatus[fields["status"]]})


def _read_arrays(path: pathlib.Path, field: str) -> dict[str, np.ndarray]:
    """Read every array of a file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise InputError(f"{field}: {str(path)!r} is missing; the run is incomplete") from None
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile):
        raise InputError(f"{field}: {str(path)!r} is damaged; allowed: what a run wrote") from None
