"""Batch normalisation with the conventions of the reference codes, over the examples that count.

Flax's own layer keeps 0.99 of the running statistics and stores the biased variance; the codes
behind the paper's numbers keep 0.9 and store the unbiased one (and normalise with the biased one).
Those conventions hold here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from typing import Any

    from jaxtyping import Array, Float


class BatchNorm(nn.Module):
    """Standardise each channel, then scale and shift it.

    With batch statistics m, v over the n places of the examples that count,
    y = (x - m) / sqrt(v + epsilon) * scale + shift, and the running statistics become
    (1 - momentum) running + momentum (m, v n / (n - 1)). Where no example counts, the running
    statistics stand in and stay as they are.

    Attributes:
      momentum: Share of the batch in the new running statistics.
      epsilon: Added to the variance.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B H W D"],
        *,
        train: bool,
        weights: Float[Array, "B"] | None = None,
    ) -> Float[Array, "B H W D"]:
        """Normalise a batch.

        Args:
          x: Feature maps; computed on in float32 at least, returned in their own type.
          train: Use the statistics of this batch, and move the running ones.
          weights: 1 for examples that count in the statistics, 0 for others; by default all do.

        Returns:
          Normalised feature maps, those of examples that do not count included.
        """
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones_init(), shape, jnp.float32)
        shift = self.param("bias", nn.initializers.zeros_init(), shape, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean, var = running_mean.value, running_var.value
        if train:
            count, batch_mean, batch_var = compute_moments(wide, weights)
            mean = jnp.where(count > 0, batch_mean, mean)
            var = jnp.where(count > 0, batch_var, var)
            if self.is_mutable_collection("batch_stats") and not self.is_initializing():
                unbiased = batch_var * (count / jnp.maximum(count - 1, 1))
                self._move(running_mean, batch_mean, count)
                self._move(running_var, unbiased, count)
        normalised = (wide - mean) * (lax.rsqrt(var + self.epsilon) * scale) + shift
        return normalised.astype(x.dtype)

    def _move(self, running: Any, batch: Float[Array, "D"], count: Float[Array, ""]) -> None:
        """Move a running statistic towards the batch's, if any example counts."""
        moved = (1 - self.momentum) * running.value + self.momentum * batch
        running.value = jnp.where(count > 0, moved, running.value).astype(running.value.dtype)


def compute_moments(
    x: Float[Array, "B H W D"], weights: Float[Array, "B"] | None
) -> tuple[Float[Array, ""], Float[Array, "D"], Float[Array, "D"]]:
    """Compute mean and biased variance of each channel, in two passes.

    The difference of two moments in one pass would cancel where the mean is large.

    Args:
      x: Feature maps.
      weights: 1 for examples that count, 0 for others; None if all count.

    Returns:
      The number of places that count, and mean and variance over them; 0 where none counts.
    """
    places = x.shape[1] * x.shape[2]
    if weights is None:
        mean = x.mean((0, 1, 2))
        centred = x - mean
        return jnp.asarray(x.shape[0] * places, x.dtype), mean, (centred * centred).mean((0, 1, 2))
    share = weights.astype(x.dtype)[:, None, None, None]
    count = share.sum() * places
    divisor = jnp.maximum(count, 1)
    mean = (share * x).sum((0, 1, 2)) / divisor
    centred = x - mean
    return count, mean, (share * centred * centred).sum((0, 1, 2)) / divisor
