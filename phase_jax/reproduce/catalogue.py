"""The settings of the paper: where their configuration files are, and what is in them."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import TYPE_CHECKING

import phase_jax
from phase_jax.config import FineTuningConfig
from phase_jax.config_file import load_config_file
from phase_jax.types import InputError

if TYPE_CHECKING:
    from phase_jax.config import SweepConfig

SETTINGS = (
    "cifar10-preactresnet18-50k-linf",
    "cifar10-preactresnet18-10k-linf",
    "cifar10-preactresnet18-10k-l2",
    "cifar10-preactresnet18-50k-l2",
    "cifar10-preactresnet18-50k-linf-batch256",
    "cifar10-preactresnet18-50k-linf-adam",
    "cifar10-preactresnet18-50k-linf-trades",
    "cifar10-preactresnet18-50k-linf-mart",
    "cifar10-preactresnet18-10k-linf-fgm",
    "cifar10-preactresnet18-50k-linf-fgm",
    "cifar10-wideresnet34-1-50k-linf",
    "cifar10-wideresnet34-10-50k-linf",
    "cifar100-preactresnet18-25k-linf",
    "cifar100-preactresnet18-50k-linf",
    "svhn-preactresnet18-50k-linf",
    "mnist-cnn128-50k-linf",
    "mnist-cnn16-50k-linf",
)
QUICK_NAME = "quick"
FINE_TUNING_NAME = "fine_tuning"
QUICK_EPOCHS = 4


def find_config_file(setting: str) -> pathlib.Path:
    """Find the configuration file of a setting, in `configs/paper` or as installed.

    Raises:
      InputError: The installation has none.
    """
    package = pathlib.Path(phase_jax.__file__).parent
    for folder in (package / "reproduce" / "configs", package.parent / "configs" / "paper"):
        if (folder / f"{setting}.py").is_file():
            return folder / f"{setting}.py"
    raise InputError(
        f"{setting}: has no configuration file here; allowed: a checkout with configs/paper"
    )


@functools.cache
def load_setting(setting: str, *, quick: bool = False) -> SweepConfig:
    """Load the configuration of a setting.

    Args:
      setting: One of `SETTINGS`.
      quick: Whether the variant for two CPU cores is meant.

    Returns:
      The configuration.

    Raises:
      InputError: The file is missing or does not define it.
    """
    place = str(find_config_file(setting))
    return load_config_file(f"{place}:{QUICK_NAME}" if quick else place)


@functools.cache
def load_fine_tuning(setting: str, *, quick: bool = False) -> FineTuningConfig:
    """Load what is fine-tuned from the clean model of a setting.

    Args:
      setting: One of `SETTINGS` whose file defines `fine_tuning`.
      quick: Whether the variant for two CPU cores is meant: fewer epochs.

    Returns:
      The configuration of the fine-tuning.

    Raises:
      InputError: The file is missing or does not define it.
    """
    place = f"{find_config_file(setting)}:{FINE_TUNING_NAME}"
    fine_tuning = load_config_file(place, FineTuningConfig)
    return dataclasses.replace(fine_tuning, num_epochs=QUICK_EPOCHS) if quick else fine_tuning
