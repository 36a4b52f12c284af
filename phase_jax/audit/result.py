"""What an audit gives back: how far losses and epsilon* move under stronger attacks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from phase_jax.types import EpsilonStatus

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from phase_jax.audit.settings import AuditSettings
    from phase_jax.types import EpsilonStarEstimate


class Attacked(NamedTuple):
    """Images of one split under every attack, the run's own first; A counts attacks."""

    losses: Float[np.ndarray, "E S A N"]
    correct: Bool[np.ndarray, "E S A N"]
    sound: Bool[np.ndarray, "E S"]
    """Which lanes ended well; means over seeds are over these, NaN where there is none."""

    def average(self) -> Float[np.ndarray, "E S A"]:
        """Average the loss over images, attack by attack."""
        return self.losses.mean(axis=3)

    def take_worst(self) -> Float[np.ndarray, "E S"]:
        """Average the largest loss of each image: no single attack need be the best everywhere."""
        return self.losses.max(axis=2).mean(axis=2)

    def measure_rise(self) -> tuple[Float[np.ndarray, "E"], Float[np.ndarray, "E"]]:
        """Measure how far the largest loss lies above the run's own attack, means over seeds.

        Returns:
          The rise, and its standard error over images: the same images are compared.
        """
        rises = self.average_seeds(self.losses.max(axis=2) - self.losses[:, :, 0])
        return rises.mean(axis=1), rises.std(axis=1, ddof=1) / np.sqrt(rises.shape[1])

    def measure_accuracies(self) -> tuple[Float[np.ndarray, "E"], Float[np.ndarray, "E"]]:
        """Measure the accuracy under the run's own attack, and under the worst for each image."""
        own, worst = self.correct[:, :, 0], self.correct.all(axis=2)
        return self.average_seeds(own.mean(axis=2)), self.average_seeds(worst.mean(axis=2))

    def average_seeds(self, values: Float[np.ndarray, "E S ..."]) -> Float[np.ndarray, "E ..."]:
        """Average over the seeds whose lanes ended well."""
        sound = self.sound.reshape(*self.sound.shape, *[1] * (values.ndim - 2))
        number = sound.sum(axis=1)
        total = np.where(sound, values, 0.0).sum(axis=1)
        return np.where(number > 0, total / np.maximum(number, 1), np.nan)


@dataclasses.dataclass(frozen=True)
class AuditResult:
    """An audit; E counts the attack strengths audited.

    Attributes:
      settings: What was asked for.
      epsilons: [E] attack strengths.
      seeds: [S] seed numbers.
      attacks: Names of the attacks, the run's own first.
      status: [E, S] how the training of each lane ended; its codes are `LaneStatus`.
      train: Training images under every attack.
      test: Test images under every attack.
      epsilon_star: The run's, from the evaluated train loss.
      epsilon_star_audited: The same with every audited lane's train loss raised by what the attacks
        of the audit found.
      source: Where the networks come from: data, network, objective, configuration.
      environment: Versions, device, source revision.
      seconds: Time spent.
    """

    settings: AuditSettings
    epsilons: Float[np.ndarray, "E"]
    seeds: Int[np.ndarray, "S"]
    attacks: tuple[str, ...]
    status: Int[np.ndarray, "E S"]
    train: Attacked
    test: Attacked
    epsilon_star: EpsilonStarEstimate
    epsilon_star_audited: EpsilonStarEstimate
    source: dict[str, Any]
    environment: dict[str, Any]
    seconds: float


def is_outside(audited: EpsilonStarEstimate, estimate: EpsilonStarEstimate) -> bool:
    """Say whether epsilon* moves by more than the interval of the run's own estimate.

    A solve that loses or gains its value counts as having moved; one without a value before and
    after has not.
    """
    if audited.status != estimate.status:
        return True
    if audited.status != EpsilonStatus.FOUND or audited.value is None or estimate.low is None:
        return False
    return audited.value < estimate.low or (
        estimate.high is not None and audited.value > estimate.high
    )
