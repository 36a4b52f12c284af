"""How long a setting takes on one data-centre GPU: counted operations over an assumed rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phase_jax.connectivity.settings import ConnectivitySettings
from phase_jax.finetune.configure import build_tuned_config
from phase_jax.reproduce.recipes import NUM_SELECTION

if TYPE_CHECKING:
    from phase_jax.config import FineTuningConfig, SweepConfig

# Floating-point operations (two per multiply-add) of one forward pass on one image, and the rate
# assumed, in operations per second: about an eighth of an H200's peak in its default precision for
# wide convolutions, a tenth of that where channels are too few to fill it. Assumed, not measured:
# expect the truth within a factor of three.
FORWARD = {
    ("preactresnet18", 64): 1.11e9,
    ("wideresnet34", 1): 1.38e8,
    ("wideresnet34", 10): 1.33e10,
    ("mnist_cnn", 16): 2.2e7,
    ("mnist_cnn", 128): 2.4e7,
}
RATE = 6e13
NARROW_RATE = 6e12
NARROW_FORWARD = 2e8


def estimate_hours(config: SweepConfig) -> float | None:
    """Estimate the hours of a full run on one H200-class GPU.

    Args:
      config: A setting with its number of training images.

    Returns:
      Hours for all attack strengths and seeds together, or None for other networks than the
      paper's.
    """
    training, images = config.training, config.data.num_train
    seconds = _estimate_forward(config)
    if seconds is None or images is None:
        return None
    steps = 1 if config.attack.name == "fgm" else config.attack.num_steps
    # A gradient in the input costs as much again as the forward pass, one in all parameters twice.
    per_train = 2 * steps + 3 + (training.objective != "vanilla") * 3
    per_test = 2 * config.evaluation.num_steps + 1
    passes = images * per_train + config.data.num_selection * per_test
    lanes = len(config.epsilons) * config.num_seeds
    return lanes * training.num_epochs * passes * seconds / 3600


def estimate_fine_tuning_hours(config: SweepConfig, fine_tuning: FineTuningConfig) -> float | None:
    """Estimate the hours of a fine-tuning whose clean model is there, as `estimate_hours`."""
    tuned = [build_tuned_config(config, fine_tuning, attack) for attack in fine_tuning.attacks]
    hours = [estimate_hours(one) for one in tuned]
    # The grid of a configuration always has clean training in it, which is not fine-tuned.
    share = len(fine_tuning.epsilons) / (len(fine_tuning.epsilons) + 1)
    return None if None in hours else share * sum(value or 0.0 for value in hours)


def estimate_connection_hours(config: SweepConfig, num_ends: int) -> float | None:
    """Estimate the hours of connecting a setting's networks, as `estimate_hours`.

    Args:
      config: The setting.
      num_ends: Attack strengths at which curves end.
    """
    images, seconds = config.data.num_train, _estimate_forward(config)
    if seconds is None or images is None:
        return None
    study = ConnectivitySettings()
    networks = 2 * study.num_points + study.grid_size**2 + 3
    # Each network sees the training images twice, BatchNorm's statistics first, and the test ones.
    passes = 3 * config.training.num_epochs * images + networks * (2 * images + NUM_SELECTION)
    return num_ends * config.num_seeds * passes * seconds / 3600


def _estimate_forward(config: SweepConfig) -> float | None:
    """Estimate the seconds of one forward pass on one image, None for unknown networks."""
    model = config.model
    size = model.hidden if model.name == "mnist_cnn" else model.width
    forward = FORWARD.get((model.name, size or 0))
    if forward is None:
        return None
    return forward / (NARROW_RATE if forward < NARROW_FORWARD else RATE)


def format_hours(hours: float | None) -> str:
    """Write an estimate: `20 min`, `8 h`; `?` where there is none."""
    if hours is None:
        return "?"
    return f"{60 * hours:.0f} min" if hours < 1.5 else f"{hours:.0f} h"
