"""Lemmas 1 and 2: moments of clean training in the linear model, as printed and corrected.

Design Gaussian with identity covariance, noise Gaussian; theta_hat is least squares, and its
minimum-norm solution where D > N. Delta = R(theta_hat) - R_hat(theta_hat) is the generalisation
gap, test loss minus train loss. Two terms make the gap for N > D: the excess risk
noise^T A noise with A = X (X^T X)^-2 X^T, and the residual noise^T (I - H) noise / N, H the
projection on the columns of X. As A (I - H) = 0 they are independent given X.

Sizes are Python integers; sigma and |theta_0| may be arrays, traced or not. Where a moment does
not exist the result is inf; where the paper gives none, its `printed` form is nan.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from phase_jax.types import InputError

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Scalar = Float[Array, "..."] | float

FORMS = ("corrected", "printed")


def estimator_variance(
    num_examples: int,
    num_features: int,
    sigma: Scalar = 1.0,
    theta_length: Scalar = 1.0,
    form: str = "corrected",
) -> Scalar:
    """Compute tr Var(theta_hat), in the unit of theta squared.

    sigma^2 D / (N - D - 1) for N > D + 1. For D > N + 1, sigma^2 N / (D - N - 1) and, which the
    printed form lacks, (N / D) (1 - N / D) |theta_0|^2 from the random row space of X.

    Args:
      num_examples: N.
      num_features: D.
      sigma: Standard deviation of the noise, > 0.
      theta_length: |theta_0|, l2.
      form: `corrected` or `printed`.

    Returns:
      The variance, inf for |N - D| <= 1.

    Raises:
      InputError: A size is below 1 or `form` is not known.

    References:
      Lemma 1, Appendix C.1.
    """
    _check_request(num_examples, num_features, form)
    variance = sigma**2 * _mean_inverse(num_examples, num_features)
    if num_features > num_examples and form == "corrected":
        share = num_examples / num_features
        return variance + share * (1 - share) * theta_length**2
    return variance


def std_length(
    num_examples: int,
    num_features: int,
    sigma: Scalar = 1.0,
    theta_length: Scalar = 1.0,
    form: str = "corrected",
) -> Scalar:
    """Compute |Std theta_hat|_F, the square root of `estimator_variance`: Theorem 1's yardstick.

    Args:
      num_examples: N.
      num_features: D.
      sigma: Standard deviation of the noise, > 0.
      theta_length: |theta_0|, l2.
      form: `corrected` or `printed`.

    Returns:
      The length, inf for |N - D| <= 1.

    Raises:
      InputError: A size is below 1 or `form` is not known.

    References:
      Lemma 1, Appendix C.1.
    """
    return estimator_variance(num_examples, num_features, sigma, theta_length, form) ** 0.5


def train_loss_mean(num_examples: int, num_features: int, sigma: Scalar = 1.0) -> Scalar:
    """Compute E R_hat(theta_hat), the mean clean train loss: sigma^2 (N - D) / N, 0 for D >= N.

    Args:
      num_examples: N.
      num_features: D.
      sigma: Standard deviation of the noise.

    Returns:
      The mean; printed and correct agree.

    Raises:
      InputError: A size is below 1.

    References:
      Proof of Lemma 2, Appendix C.2.
    """
    _check_request(num_examples, num_features)
    return sigma**2 * max(num_examples - num_features, 0) / num_examples


def train_loss_variance(
    num_examples: int, num_features: int, sigma: Scalar = 1.0, form: str = "corrected"
) -> Scalar:
    """Compute Var R_hat(theta_hat): 2 sigma^4 (N - D) / N^2, printed with N for N^2.

    Args:
      num_examples: N.
      num_features: D.
      sigma: Standard deviation of the noise.
      form: `corrected` or `printed`.

    Returns:
      The variance, 0 for D >= N.

    Raises:
      InputError: A size is below 1 or `form` is not known.

    References:
      Proof of Lemma 2, Appendix C.2: its fourth moment of the residual.
    """
    _check_request(num_examples, num_features, form)
    power = 2 if form == "corrected" else 1
    return 2 * sigma**4 * max(num_examples - num_features, 0) / num_examples**power


def gap_mean(
    num_examples: int,
    num_features: int,
    sigma: Scalar = 1.0,
    theta_length: Scalar = 1.0,
    form: str = "corrected",
) -> Scalar:
    """Compute E Delta, the mean generalisation gap of clean training.

    sigma^2 D (1 / (N - D - 1) + 1 / N) for N > D + 1, printed with a minus sign. For D > N + 1 the
    train loss is 0 and the mean is sigma^2 (1 + N / (D - N - 1)) + (1 - N / D) |theta_0|^2.

    Args:
      num_examples: N.
      num_features: D.
      sigma: Standard deviation of the noise, > 0.
      theta_length: |theta_0|, l2.
      form: `corrected` or `printed`.

    Returns:
      The mean; inf for |N - D| <= 1; nan for `printed` and D > N + 1, where the paper has no
      formula.

    Raises:
      InputError: A size is below 1 or `form` is not known.

    References:
      Lemma 2, Appendix C.2.
    """
    _check_request(num_examples, num_features, form)
    excess = _mean_inverse(num_examples, num_features)
    if num_features > num_examples + 1:
        if form == "printed":
            return math.nan * sigma
        missed = 1 - num_examples / num_features
        return sigma**2 * (1 + excess) + missed * theta_length**2
    optimism = num_features / num_examples
    return sigma**2 * (excess + (optimism if form == "corrected" else -optimism))


def gap_variance(
    num_examples: int, num_features: int, sigma: Scalar = 1.0, theta_length: Scalar = 1.0
) -> Scalar:
    """Compute Var Delta, which the paper bounds only (its Theta(d / n) for E Delta^2).

    From the second moments of an inverse Wishart matrix, with M = |N - D|:
    2 sigma^4 (D (N - 1) / ((M - 1)^2 (M - 3)) + M / N^2) for N > D + 3; and for D > N + 3
    2 sigma^4 N (D - 1) / ((M - 1)^2 (M - 3)) + 2 N M |theta_0|^4 / (D^2 (D + 2)), the last term
    the variance of |theta_0|^2 times a Beta(M / 2, N / 2).

    Args:
      num_examples: N.
      num_features: D.
      sigma: Standard deviation of the noise, > 0.
      theta_length: |theta_0|, l2.

    Returns:
      The variance, inf for |N - D| <= 3.

    Raises:
      InputError: A size is below 1.
    """
    _check_request(num_examples, num_features)
    small, large = sorted((num_examples, num_features))
    margin = large - small
    if margin <= 3:
        return math.inf * sigma
    excess = 2 * small * (large - 1) / ((margin - 1) ** 2 * (margin - 3))
    if num_features > num_examples:
        beta = 2 * small * margin / (large**2 * (large + 2))
        return sigma**4 * excess + theta_length**4 * beta
    return sigma**4 * (excess + 2 * margin / num_examples**2)


def gap_second_moment(
    num_examples: int,
    num_features: int,
    sigma: Scalar = 1.0,
    theta_length: Scalar = 1.0,
    form: str = "corrected",
) -> Scalar:
    """Compute E Delta^2.

    The printed form is the sum of the terms in the proof of Lemma 2, its one trace evaluated. Two
    of them are wrong, the variance of the residual (see `train_loss_variance`) and a covariance of
    2 sigma^4 D / (N - D - 1) that is 0, so that the sum is about 2 sigma^4 for D << N and not the
    d / n that it is said to be. The truth there is sigma^4 (2 / N + 4 D^2 / N^2).

    Args:
      num_examples: N.
      num_features: D.
      sigma: Standard deviation of the noise, > 0.
      theta_length: |theta_0|, l2.
      form: `corrected` or `printed`.

    Returns:
      The moment; inf for |N - D| <= 3; nan for `printed` and D > N + 3.

    Raises:
      InputError: A size is below 1 or `form` is not known.

    References:
      Proof of Lemma 2, Appendix C.2.
    """
    _check_request(num_examples, num_features, form)
    mean = gap_mean(num_examples, num_features, sigma, theta_length)
    margin = num_examples - num_features
    if form == "corrected" or abs(margin) <= 3:
        return gap_variance(num_examples, num_features, sigma, theta_length) + mean**2
    if margin < 0:
        return math.nan * sigma
    # E tr (X^T X)^-2
    trace = num_features * (num_examples - 1) / (margin * (margin - 1) * (margin - 3))
    spread = trace + margin / num_examples - 2 * num_features / (margin - 1)
    return mean**2 + 2 * sigma**4 * spread


def _mean_inverse(num_examples: int, num_features: int) -> float:
    """Compute E tr of the inverse of the smaller of X^T X and X X^T; inf where there is none."""
    small, large = sorted((num_examples, num_features))
    return small / (large - small - 1) if large - small > 1 else math.inf


def _check_request(num_examples: int, num_features: int, form: str = "corrected") -> None:
    """Refuse sizes below one and unknown forms."""
    for field, size in (("num_examples", num_examples), ("num_features", num_features)):
        if size < 1:
            raise InputError(f"{field}: {size} is too small; allowed: 1 or more")
    if form not in FORMS:
        raise InputError(f"form: {form!r} is not known; allowed: {', '.join(FORMS)}")
