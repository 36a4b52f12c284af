"""What sweeps and studies left in their directories, read back without JAX."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

from phase_jax.config import flatten_tree
from phase_jax.report.directory import RESULT_FILE
from phase_jax.report.document import SCHEMA_VERSION
from phase_jax.report.read import read_document
from phase_jax.reproduce.catalogue import load_fine_tuning, load_setting
from phase_jax.reproduce.registry import Stage, name_connection, name_fine_tuning

if TYPE_CHECKING:
    import pathlib

    from phase_jax.config import FineTuningConfig, SweepConfig

HISTORY_FILE = "history.npz"
SCALE = 255.0
QUICK_SUFFIX = "-quick"
# What a run may choose for itself: where the data lie, how lanes share the machine, and how often
# and from which seed the setting is repeated.
FREE_FIELDS = ("data.data_dir", "lanes.", "seed", "num_seeds", "target_epsilon", "model.conv_form")


class Run(NamedTuple):
    """A finished sweep of a setting.

    Attributes:
      path: Its directory.
      document: Its result.json.
      differences: How its configuration differs from the setting's, in words.
      last_accuracies: Attack strength in 1/255 -> mean adversarial test accuracy of the last
        epoch, or None without history.npz.
    """

    path: pathlib.Path
    document: dict[str, Any]
    differences: tuple[str, ...]
    last_accuracies: dict[float, float] | None

    @property
    def estimates(self) -> dict[str, dict[str, Any]]:
        """Epsilon* as solved from the objective's own train loss, and from cross-entropy."""
        found = {"epsilon_star": self.document["epsilon_star"]}
        if reading := self.document.get("cross_entropy"):
            found["epsilon_star_cross_entropy"] = reading["epsilon_star"]
        return found


def name_directory(out: pathlib.Path, name: str, *, quick: bool) -> pathlib.Path:
    """Name the directory of a setting or study; quick runs never share one with full runs."""
    return out / (name + QUICK_SUFFIX if quick else name)


def has_run(out: pathlib.Path, setting: str, *, quick: bool) -> bool:
    """Say whether a finished sweep of a setting is there."""
    return (name_directory(out, setting, quick=quick) / RESULT_FILE).is_file()


def has_study(out: pathlib.Path, study: str, *, quick: bool) -> bool:
    """Say whether a finished study is there."""
    return (name_directory(out, study, quick=quick) / f"{study}.json").is_file()


def read_run(out: pathlib.Path, setting: str, *, quick: bool) -> Run | None:
    """Read a finished sweep of a setting.

    Returns:
      The run, or None where there is none.

    Raises:
      InputError: What is there is not the result of a sweep.
    """
    path = name_directory(out, setting, quick=quick)
    if not has_run(out, setting, quick=quick):
        return None
    document = read_document(path / RESULT_FILE, "sweep", field="--out", version=SCHEMA_VERSION)
    differences = find_differences(load_setting(setting, quick=quick), document["config"])
    return Run(path, document, differences, _read_last_accuracies(path / HISTORY_FILE))


def read_fine_tuning(out: pathlib.Path, setting: str, *, quick: bool) -> Run | None:
    """Read a finished fine-tuning of a setting, None where there is none.

    Raises:
      InputError: What is there is not the result of a fine-tuning.
    """
    name = name_fine_tuning(setting)
    if not has_run(out, name, quick=quick):
        return None
    path = name_directory(out, name, quick=quick)
    document = read_document(
        path / RESULT_FILE, "fine_tuning", field="--out", version=SCHEMA_VERSION
    )
    fine_tuning = load_fine_tuning(setting, quick=quick)
    differences = find_differences(load_setting(setting, quick=quick), document["config"])
    differences += find_differences(fine_tuning, document["fine_tuning"])
    return Run(path, document, differences, None)


def read_connection(out: pathlib.Path, setting: str, *, quick: bool) -> Run | None:
    """Read a finished study of a setting's connectivity, None where there is none.

    Raises:
      InputError: What is there is not the result of a study of connectivity.
    """
    name = name_connection(setting)
    if not has_run(out, name, quick=quick):
        return None
    path = name_directory(out, name, quick=quick)
    document = read_document(path / RESULT_FILE, "connectivity", field="--out")
    config = document["source"]["config"]
    return Run(path, document, find_differences(load_setting(setting, quick=quick), config), None)


READ_FNS = {
    Stage.SWEEP: read_run,
    Stage.FINE_TUNING: read_fine_tuning,
    Stage.CONNECTION: read_connection,
}
"""What reads the result of a stage of a setting."""


def read_study(out: pathlib.Path, study: str, *, quick: bool) -> dict[str, Any] | None:
    """Read the document of a finished study, None where there is none.

    Raises:
      InputError: What is there is not the result of a study.
    """
    path = name_directory(out, study, quick=quick) / f"{study}.json"
    return read_document(path, "study", field="--out") if path.is_file() else None


def find_differences(
    expected: SweepConfig | FineTuningConfig, found: dict[str, Any]
) -> tuple[str, ...]:
    """List the fields in which a run differs from its setting; automatic choices do not count."""
    actual = dict(flatten_tree(found))
    differences = []
    for field, value in flatten_tree(dataclasses.asdict(expected)):
        if field.startswith(FREE_FIELDS) or value is None or field not in actual:
            continue
        if not _is_same(field, value, actual[field]):
            differences.append(f"run with {field} = {actual[field]}, not {value}")
    return tuple(differences)


def _is_same(field: str, expected: Any, found: Any) -> bool:
    """Compare two settings; an attack grid is the same with and without its zero."""
    if field == "epsilon_grid":
        grids = ({round(value * SCALE, 4) for value in grid} - {0.0} for grid in (expected, found))
        return next(grids) == next(grids)
    return (list(expected) if isinstance(expected, tuple) else expected) == found


def _read_last_accuracies(path: pathlib.Path) -> dict[float, float] | None:
    """Average the adversarial test accuracy of the last epoch over seeds."""
    if not path.is_file():
        return None
    import numpy as np

    with np.load(path, allow_pickle=False) as arrays:
        last = arrays["test_accuracy"][:, :, -1].mean(axis=1)
        return {
            round(float(epsilon) * SCALE, 4): float(accuracy)
            for epsilon, accuracy in zip(arrays["epsilons"], last, strict=True)
        }
