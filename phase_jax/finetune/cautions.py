"""What a reader of an extrapolated epsilon* must know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from phase_jax.finetune.extrapolate import take_train_losses
from phase_jax.report.wording import describe_cautions as describe_run_cautions
from phase_jax.report.wording import format_epsilon

if TYPE_CHECKING:
    from phase_jax.finetune.result import FineTuningResult
    from phase_jax.sweep.result import SweepResult

FAR = 2.0
"""Beyond this multiple of the largest attack strength fine-tuned, an extrapolation is far."""
BENT = 0.1
"""A curve is not near a line if a point lies further off than this share of the curve's rise."""


def describe_cautions(result: FineTuningResult) -> list[str]:
    """List what limits the result: far or bent extrapolations, instability, odd starts.

    Args:
      result: The fine-tuning, complete but for this.

    Returns:
      One sentence each.
    """
    cautions = []
    if result.fine_tuning.sequential:
        cautions.append(
            "every attack strength started from the model of the one before: such a sequence can "
            "be trapped in a minimum that fits the attacked training images perfectly (Appendix A "
            "of the paper), which makes epsilon* too large; compare with a run without --sequential"
        )
    if result.origin["kind"] == "imported":
        cautions.append(
            "the clean model was imported: its train loss is the evaluated one, that of fine-tuned "
            "lanes is logged during training, and all seeds share one threshold"
        )
    for attack, run in result.runs.items():
        cautions += [f"{attack}: {text}" for text in describe_run_cautions(run)]
        cautions += _describe_drop(run, attack)
        cautions += _describe_bend(result, attack)
        cautions += _describe_instability(result, attack)
    largest = result.fine_tuning.epsilons[-1]
    far = [
        f"{e.name} {format_epsilon(e.estimate.value)}"
        for e in result.extrapolations
        if e.estimate.value is not None and e.estimate.value > FAR * largest
    ]
    if far:
        cautions.append(
            f"extrapolated more than {FAR:g} times beyond the largest attack strength fine-tuned "
            f"({format_epsilon(largest)}): {', '.join(far)}; fine-tune at larger ones"
        )
    return cautions


def _describe_drop(run: SweepResult, attack: str) -> list[str]:
    """Say so where fine-tuning ends below the clean model's own train loss."""
    losses = take_train_losses(run)
    whole = losses[:, np.isfinite(losses).all(axis=0)]
    if not whole.size or whole.mean(axis=1).min() == whole[0].mean():
        return []
    return [
        f"{attack}: fine-tuning lowers the train loss below that of the clean model: it trains "
        "further as well as against the attack, and epsilon* comes out too large; train the clean "
        "model longer, or fine-tune for fewer epochs or at a smaller rate"
    ]


def _describe_bend(result: FineTuningResult, attack: str) -> list[str]:
    """Say so where the points do not lie near a straight line."""
    fit = result.fits[attack]
    if not np.isfinite(fit.largest_residual) or fit.largest_residual <= BENT:
        return []
    return [
        f"{attack}: the train losses are not near a straight line (largest distance "
        f"{fit.largest_residual:.0%} of their rise, R² {fit.r_squared:.3f}): methods will disagree"
    ]


def _describe_instability(result: FineTuningResult, attack: str) -> list[str]:
    """Say so where catastrophic overfitting reaches down to epsilon*."""
    smallest = result.stability[attack].smallest_epsilon
    if smallest is None:
        return []
    beyond = [
        e.name
        for e in result.extrapolations
        if e.attack == attack and e.estimate.value is not None and e.estimate.value >= smallest
    ]
    if not beyond:
        return []
    return [
        f"{attack}: {', '.join(beyond)} lie at or beyond {format_epsilon(smallest)}, from where on "
        f"{attack} overfits catastrophically"
    ]
