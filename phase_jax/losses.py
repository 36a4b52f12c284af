"""Losses of single examples, and the objectives of adversarial training built from them.

An objective says what an attack ascends and what training descends. Those here:

    vanilla   CE(x', y), attacked by CE(x', y)
    trades    CE(x, y) + beta KL(p(x) || p(x')), attacked by the KL
    mart      BCE(x', y) + beta KL(p(x) || p(x')) (1 - p_y(x)), attacked by CE(x', y)

x is a clean image, x' the attacked one, p(x) the softmax of the network's logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Float, Int

    ExampleLoss = Callable[..., Float[Array, "B"]]

REFERENCE_START_NOISE = 0.001
"""Standard deviation of the noise from which the attacks of TRADES and MART start, in pixels."""
MART_MARGIN = 1.0001 + 1e-12
MART_CONFIDENCE = 1.0000001


class Objective(NamedTuple):
    """What an attack ascends and what training descends; both pure and per example.

    Attributes:
      name: What results call it.
      attack_loss: `(logits [B, K], labels [B]) -> [B]`, ascended by the attack in training; with
        `uses_clean`, `(logits, labels, clean_logits [B, K]) -> [B]`, clean logits held fixed.
      train_loss: Same form, of the attacked images; descended by training, through both logits.
        Its weighted mean over an epoch is the train loss of a lane.
      supremum_fn: `(class frequencies [K]) -> float`: what a constant prediction, which no attack
        can change, achieves; the smallest train loss at any attack strength is at most this.
        None where it is not known.
      uses_clean: Whether the losses take the logits of the clean images, too. The attack in
        evaluation then ascends cross-entropy; otherwise it ascends `attack_loss`.
      attack_train_mode: Whether the network is in training mode (batch statistics) during training
        attacks unless the configuration says otherwise.
      start_noise: Standard deviation, in pixels, of Gaussian noise from which training attacks
        start instead of a random point of the ball.
      description: The train loss in words.
    """

    name: str
    attack_loss: ExampleLoss
    train_loss: ExampleLoss
    supremum_fn: Callable[[np.ndarray], float] | None = None
    uses_clean: bool = False
    attack_train_mode: bool = True
    start_noise: float | None = None
    description: str = "the loss given"

    def measure_attack_loss(
        self,
        logits: Float[Array, "B K"],
        labels: Int[Array, "B"],
        clean_logits: Float[Array, "B K"] | None = None,
    ) -> Float[Array, "B"]:
        """Measure what the attack in training ascends; clean logits may be None if not used."""
        extra = (clean_logits,) if self.uses_clean else ()
        return self.attack_loss(logits, labels, *extra)

    def measure_train_loss(
        self,
        logits: Float[Array, "B K"],
        labels: Int[Array, "B"],
        clean_logits: Float[Array, "B K"] | None = None,
    ) -> Float[Array, "B"]:
        """Measure what training descends; clean logits may be None if they are not used."""
        extra = (clean_logits,) if self.uses_clean else ()
        return self.train_loss(logits, labels, *extra)


def cross_entropy(logits: Float[Array, "B K"], labels: Int[Array, "B"]) -> Float[Array, "B"]:
    """Compute -log softmax(logits)[label] of each example, in log space throughout.

    Args:
      logits: Unnormalised log-probabilities.
      labels: Classes, 0 to K - 1.

    Returns:
      Loss in nats; finite for finite logits.
    """
    return -_pick(jax.nn.log_softmax(logits), labels)


def kl_divergence(
    logits: Float[Array, "B K"], other_logits: Float[Array, "B K"]
) -> Float[Array, "B"]:
    """Compute KL(p || q) = sum_k p_k (log p_k - log q_k) of each example, in log space.

    Args:
      logits: Unnormalised log-probabilities of p.
      other_logits: Those of q.

    Returns:
      Divergence in nats, at least float32; finite for finite logits, zero for equal ones.
    """
    log_p, log_q = _log_probabilities(logits), _log_probabilities(other_logits)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


def boosted_cross_entropy(
    logits: Float[Array, "B K"], labels: Int[Array, "B"]
) -> Float[Array, "B"]:
    """Compute -log p_y - log(1.0001 - max over k != y of p_k + 1e-12) of each example.

    Args:
      logits: Unnormalised log-probabilities.
      labels: Classes, 0 to K - 1.

    Returns:
      Loss in nats, at least float32; finite for finite logits.

    References:
      Wang et al., "Improving adversarial robustness requires revisiting misclassified examples",
      2020, and its reference code, where the constants come from.
    """
    log_p = _log_probabilities(logits)
    is_label = jnp.arange(logits.shape[-1]) == labels[:, None]
    others = jnp.where(is_label, 0.0, jnp.exp(log_p))
    return -_pick(log_p, labels) - jnp.log(MART_MARGIN - others.max(axis=-1))


def build_trades(beta: float = 6.0) -> Objective:
    """Build TRADES: CE(x, y) + beta KL(p(x) || p(x')), gradients through both arguments.

    Args:
      beta: Weight of the KL term, at least 0; 6 for CIFAR-10 and 1 for MNIST in the reference.

    Returns:
      The objective; its attack ascends the KL term in evaluation mode, from x + 0.001 N(0, I).

    References:
      Zhang et al., "Theoretically principled trade-off between robustness and accuracy", 2019,
      arXiv:1901.08573, and its reference code.
    """

    def attack_loss(logits, labels, clean_logits):
        del labels
        return kl_divergence(clean_logits, logits)

    def train_loss(logits, labels, clean_logits):
        return cross_entropy(clean_logits, labels) + beta * kl_divergence(clean_logits, logits)

    return Objective(
        "trades",
        attack_loss,
        train_loss,
        compute_entropy,
        uses_clean=True,
        attack_train_mode=False,
        start_noise=REFERENCE_START_NOISE,
        description=f"clean cross-entropy + {beta:g} KL(clean || attacked)",
    )


def build_mart(beta: float = 5.0) -> Objective:
    """Build MART: BCE(x', y) + beta KL(p(x) || p(x')) (1.0000001 - p_y(x)).

    Args:
      beta: Weight of the KL term, at least 0; 5 (ResNet-18) or 6 (WideResNet) in the reference.

    Returns:
      The objective; its attack ascends cross-entropy in evaluation mode, from x + 0.001 N(0, I).

    References:
      Wang et al., "Improving adversarial robustness requires revisiting misclassified examples",
      2020, and its reference code.
    """

    def attack_loss(logits, labels, clean_logits):
        del clean_logits
        return cross_entropy(logits, labels)

    def train_loss(logits, labels, clean_logits):
        confidence = jnp.exp(_pick(_log_probabilities(clean_logits), labels))
        weighted = kl_divergence(clean_logits, logits) * (MART_CONFIDENCE - confidence)
        return boosted_cross_entropy(logits, labels) + beta * weighted

    return Objective(
        "mart",
        attack_loss,
        train_loss,
        _bound_boosted_entropy,
        uses_clean=True,
        attack_train_mode=False,
        start_noise=REFERENCE_START_NOISE,
        description=f"boosted attacked cross-entropy + {beta:g} KL(clean || attacked) weighted by "
        "one minus the clean probability of the label",
    )


def compute_entropy(frequencies: np.ndarray) -> float:
    """Compute the entropy of class frequencies [K], in nats."""
    present = frequencies[frequencies > 0]
    return float(-(present * np.log(present)).sum())


def _bound_boosted_entropy(frequencies: np.ndarray) -> float:
    """Bound the least mean boosted cross-entropy of a constant prediction for frequencies [K].

    It is that of the frequencies themselves, or of the uniform prediction, which is better where
    they are nearly equal: the largest probability of another class costs.
    """

    def measure(prediction: np.ndarray) -> float:
        is_label = np.eye(len(prediction), dtype=bool)
        others = np.where(is_label, 0.0, prediction).max(axis=1)
        present = frequencies > 0
        losses = -np.log(prediction[present]) - np.log(MART_MARGIN - others[present])
        return float(frequencies[present] @ losses)

    return min(measure(frequencies), measure(np.full(len(frequencies), 1 / len(frequencies))))


def _log_probabilities(logits: Float[Array, "B K"]) -> Float[Array, "B K"]:
    """Compute log softmax in float32 at least: half precision has no digits near certainty."""
    return jax.nn.log_softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))


def _pick(values: Float[Array, "B K"], labels: Int[Array, "B"]) -> Float[Array, "B"]:
    return jnp.take_along_axis(values, labels[:, None], axis=-1)[:, 0]


VANILLA = Objective(
    "vanilla",
    cross_entropy,
    cross_entropy,
    compute_entropy,
    description="attacked cross-entropy",
)
BETAS = {"trades": 6.0, "mart": 5.0}
"""Weight of the KL term where none is given."""


def build_objective(
    objective: str | Objective | ExampleLoss, *, beta: float | None = None
) -> Objective:
    """Build an objective from its name, or wrap the user's own loss of single examples.

    Args:
      objective: A name, an `Objective`, or `loss(logits [B, K], labels [B]) -> [B]`, which both
        the attack ascends and training descends.
      beta: Weight of the KL term of `trades` and `mart`; by default 6 and 5.

    Returns:
      The objective.

    Raises:
      InputError: The name is not known, the argument is none of these, or a beta is given that
        has no place.
    """
    builders = {"trades": build_trades, "mart": build_mart}
    if isinstance(objective, str) and objective in builders:
        return builders[objective](BETAS[objective] if beta is None else beta)
    if beta is not None:
        raise InputError(f"beta: {beta!r} needs an objective that has one; allowed: trades, mart")
    if isinstance(objective, Objective):
        return objective
    if callable(objective):
        name = getattr(objective, "__name__", type(objective).__name__)
        return Objective(name, objective, objective)
    if objective != VANILLA.name or not isinstance(objective, str):
        raise InputError(
            f"objective: {objective!r} is not known; allowed: {VANILLA.name}, "
            f"{', '.join(builders)}, an Objective, or a function (logits, labels) -> loss of each "
            "example"
        )
    return VANILLA
