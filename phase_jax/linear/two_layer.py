"""The two-layer network of Proposition 1, whose hidden layer alone is trained.

f(x) = h^{-1/2} sum_j phi(x^T theta_j) a_j, h the width. From a vanishing start it stays close to
the linear model x^T beta with beta = phi'(0) h^{-1/2} sum_j a_j theta_j. Pure functions of one
network and one data set; batch with `jax.vmap`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.linear.descent import check_epsilon
from phase_jax.linear.model import measure_length, multiply
from phase_jax.types import InputError

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray


def shift_softplus(z: Float[Array, "..."]) -> Float[Array, "..."]:
    """Compute log(1 + e^z) - log 2: smooth, 0 at 0, with slope 1/2 and curvature 1/4 there."""
    return jax.nn.softplus(z) - np.log(2)


ACTIVATIONS = {"tanh": jnp.tanh, "softplus": shift_softplus}
"""Twice continuously differentiable, 0 at 0 with a slope other than 0; tanh has no curvature
there, the shifted softplus has."""


class TwoLayer(NamedTuple):
    """A network of width h."""

    hidden: Float[Array, "width D"]
    """theta_j, trained."""
    output: Float[Array, " width"]
    """a_j, fixed."""


class PredictorGap(NamedTuple):
    """Distance of two predictors over test points, in the unit of y."""

    root_mean_square: Float[Array, ""]
    maximum: Float[Array, ""]


def init_two_layer(
    key: PRNGKeyArray, num_features: int, width: int, delta: Float[Array, ""] | float = 1.0
) -> TwoLayer:
    """Draw a vanishing start: theta_j ~ N(0, I / (D h^(1 + delta))), a_j = 1 or -1 at random.

    Args:
      key: Consumed.
      num_features: D, >= 1; static.
      width: h, >= 1; static.
      delta: The larger, the smaller the start; > 0, traced.

    Returns:
      The network, in JAX's default floating-point type.

    Raises:
      InputError: A size is below 1.

    References:
      Assumptions in Appendix C.3; |a|_inf = 1 and max |a_j| / min |a_j| = 1.
    """
    for field, size in (("num_features", num_features), ("width", width)):
        if size < 1:
            raise InputError(f"{field}: {size} is too small; allowed: 1 or more")
    hidden_key, output_key = jax.random.split(key)
    scale = (num_features * float(width) ** (1 + delta)) ** -0.5
    hidden = scale * jax.random.normal(hidden_key, (width, num_features))
    return TwoLayer(hidden, jax.random.rademacher(output_key, (width,), hidden.dtype))


def predict_two_layer(
    network: TwoLayer, x: Float[Array, "N D"], activation: str = "tanh"
) -> Float[Array, "N"]:
    """Compute the network's predictions.

    Args:
      network: The network.
      x: Points.
      activation: phi, a name in `ACTIVATIONS`; static.

    Returns:
      [N].

    Raises:
      InputError: `activation` is not known.

    References:
      Equation (3).
    """
    check_activation(activation)
    features = ACTIVATIONS[activation](multiply(x, network.hidden.T))
    return multiply(features, network.output) / network.output.size**0.5


def linearise_two_layer(network: TwoLayer, activation: str = "tanh") -> Float[Array, "D"]:
    """Compute the linear model that the network is to first order at theta_j = 0.

    Args:
      network: The network.
      activation: phi; static.

    Returns:
      beta = phi'(0) h^{-1/2} sum_j a_j theta_j; of a fresh network, the matching linear start.

    Raises:
      InputError: `activation` is not known.
    """
    slope = _measure_slope(network, activation)
    return slope * multiply(network.output, network.hidden) / network.output.size**0.5


def attack_two_layer(
    network: TwoLayer,
    x: Float[Array, "N D"],
    y: Float[Array, "N"],
    epsilon: Float[Array, ""] | float,
    activation: str = "tanh",
) -> Float[Array, "N D"]:
    """Move each point by one l2 step of length epsilon against its residual (FGM).

    x - epsilon sign(y - f(x)) grad f(x) / |grad f(x)|: the inner maximum has no closed form, and
    this is the maximiser where f is linear. Where the residual or the gradient is zero the point
    stays.

    Args:
      network: The network.
      x: Points.
      y: Responses.
      epsilon: l2 radius, in the unit of x; >= 0, traced.
      activation: phi; static.

    Returns:
      [N, D], x itself at epsilon = 0.

    Raises:
      InputError: `activation` is not known.
    """
    prediction, pull = jax.vjp(lambda points: predict_two_layer(network, points, activation), x)
    (gradient,) = pull(jnp.ones_like(prediction))
    length = measure_length(gradient)
    direction = gradient / jnp.where(length > 0, length, 1.0)[:, None]
    return x - epsilon * jnp.sign(y - prediction)[:, None] * direction


def train_two_layer(
    network: TwoLayer,
    x: Float[Array, "N D"],
    y: Float[Array, "N"],
    epsilon: Float[Array, ""] | float,
    *,
    num_steps: int,
    step_size: Float[Array, ""] | float,
    activation: str = "tanh",
) -> TwoLayer:
    """Train the hidden layer by full-batch adversarial gradient descent on the squared loss.

    A step attacks with `attack_two_layer`, holds the attacked points fixed and goes against half
    the gradient of the mean squared loss there, as `descend` does. Its length is
    eta h / (|a|^2 phi'(0)^2): the linearised network then takes the linear model's steps.

    Args:
      network: Start.
      x: Design.
      y: Responses.
      epsilon: l2 attack radius, in the unit of x; >= 0, traced; 0 is clean training.
      num_steps: T, >= 0; static.
      step_size: eta, the linear model's step size in the convention of `descend`; traced.
      activation: phi; static.

    Returns:
      The network after T steps.

    Raises:
      InputError: `activation` is not known, a shape does not fit, epsilon is negative, or
        `num_steps` is.

    References:
      Proposition 1, learning rate in Appendix C.3.
    """
    _check_problem(network, x, y, epsilon, num_steps)
    slope = _measure_slope(network, activation)
    output = network.output
    rate = step_size * output.size / ((output**2).sum() * slope**2)

    def measure_half_loss(hidden, points):
        prediction = predict_two_layer(TwoLayer(hidden, output), points, activation)
        return ((y - prediction) ** 2).mean() / 2

    def advance(hidden, _):
        attacked = attack_two_layer(TwoLayer(hidden, output), x, y, epsilon, activation)
        return hidden - rate * jax.grad(measure_half_loss)(hidden, attacked), None

    hidden, _ = jax.lax.scan(advance, network.hidden, None, length=num_steps)
    return TwoLayer(hidden, output)


def measure_predictor_gap(
    network: TwoLayer,
    theta: Float[Array, "D"],
    x: Float[Array, "N D"],
    activation: str = "tanh",
) -> PredictorGap:
    """Measure how far the network's predictions are from a linear model's.

    Args:
      network: The network.
      theta: Coefficients of the linear model.
      x: Test points, of the design's distribution N(0, I) in Proposition 1.
      activation: phi; static.

    Returns:
      Root mean square and maximum of |f(x) - x^T theta| over the points.

    Raises:
      InputError: `activation` is not known.

    References:
      The bound at the end of Appendix C.3.
    """
    gap = jnp.abs(predict_two_layer(network, x, activation) - multiply(x, theta))
    return PredictorGap(jnp.sqrt((gap**2).mean()), gap.max())


def check_activation(activation: str) -> None:
    """Refuse an unknown activation.

    Raises:
      InputError: `activation` is not in `ACTIVATIONS`.
    """
    if activation not in ACTIVATIONS:
        allowed = ", ".join(ACTIVATIONS)
        raise InputError(f"activation: {activation!r} is not known; allowed: {allowed}")


def _measure_slope(network: TwoLayer, activation: str) -> Float[Array, ""]:
    """Compute phi'(0) in the network's dtype."""
    check_activation(activation)
    return jax.grad(ACTIVATIONS[activation])(jnp.zeros((), network.hidden.dtype))


def _check_problem(network: TwoLayer, x: Array, y: Array, epsilon, num_steps: int) -> None:
    """Refuse shapes that do not fit together and, where they are known, wrong settings."""
    if x.ndim != 2 or x.shape[1] != network.hidden.shape[1]:
        raise InputError(
            f"x: shape {x.shape} does not fit; allowed: [N, {network.hidden.shape[1]}]"
        )
    if y.shape != x.shape[:1]:
        raise InputError(f"y: shape {y.shape} does not fit x; allowed: {x.shape[:1]}")
    check_epsilon(epsilon)
    if num_steps < 0:
        raise InputError(f"num_steps: {num_steps} is negative; allowed: 0 or more")
