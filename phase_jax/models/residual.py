"""Residual networks with pre-activation blocks for small images: PreActResNet and WideResNet.

Both are one network: a 3x3 convolution, stages of blocks of which all but the first stage halve
the image, then BatchNorm, ReLU, the mean over places, and a linear layer. A block is
BatchNorm-ReLU-convolution twice, added to its input; where the shape changes, a 1x1 convolution of
the *activated* input takes the input's place. No convolution has a bias.

References: He et al., Identity mappings in deep residual networks (2016); Zagoruyko and
Komodakis, Wide residual networks (2016).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp

from phase_jax.models.batch_norm import BatchNorm
from phase_jax.models.convolution import Convolution

if TYPE_CHECKING:
    from jaxtyping import Array, Float

_DRAW_KERNEL = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class PreActivationBlock(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm and ReLU, beside a shortcut.

    Attributes:
      features: Output channels.
      stride: Step of the first convolution.
      conv_form: `lax` or `matmul`.
    """

    features: int
    stride: int
    conv_form: str

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], *, train: bool, weights: Float[Array, "B"] | None
    ) -> Float[Array, "B H2 W2 F"]:
        """Compute feature maps; `weights` as in `BatchNorm`."""

        def convolve(z: Array, name: str, size: int, stride: int) -> Array:
            layer = Convolution(
                self.features,
                kernel_size=size,
                stride=stride,
                padding=size // 2,
                form=self.conv_form,
                use_bias=False,
                kernel_init=_DRAW_KERNEL,
                name=name,
            )
            return layer(z)

        active = nn.relu(BatchNorm(name="norm1")(x, train=train, weights=weights))
        if self.stride != 1 or x.shape[-1] != self.features:
            x = convolve(active, "shortcut", 1, self.stride)
        out = convolve(active, "conv1", 3, self.stride)
        out = nn.relu(BatchNorm(name="norm2")(out, train=train, weights=weights))
        return x + convolve(out, "conv2", 3, 1)


class ResidualNetwork(nn.Module):
    """A chain of stages of pre-activation blocks.

    Attributes:
      stem: Channels of the first convolution.
      stages: Channels of each stage.
      num_blocks: Blocks of each stage.
      num_classes: K.
      conv_form: `lax` or `matmul`.
      dtype: Type of the feature maps: `float32` or `bfloat16`. `float32` means the type that
        images and parameters have. The first convolution, whose input is the image, is computed in
        float32 always: in bfloat16 a pixel near 1 has steps of 1/256, as long as an attack's.
    """

    stem: int
    stages: tuple[int, ...]
    num_blocks: int
    num_classes: int
    conv_form: str = "lax"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B H W C"],
        *,
        train: bool = False,
        weights: Float[Array, "B"] | None = None,
    ) -> Float[Array, "B K"]:
        """Compute logits; `weights` are the examples that count in batch statistics."""
        stem = Convolution(
            self.stem,
            kernel_size=3,
            padding=1,
            form=self.conv_form,
            use_bias=False,
            kernel_init=_DRAW_KERNEL,
            name="stem",
        )
        x = stem(x)
        if self.dtype != "float32":
            x = x.astype(self.dtype)
        for stage, features in enumerate(self.stages, start=1):
            for place in range(self.num_blocks):
                block = PreActivationBlock(
                    features,
                    stride=2 if stage > 1 and place == 0 else 1,
                    conv_form=self.conv_form,
                    name=f"stage{stage}_block{place}",
                )
                x = block(x, train=train, weights=weights)
        x = nn.relu(BatchNorm(name="norm")(x, train=train, weights=weights))
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean((1, 2))
        return nn.Dense(self.num_classes, kernel_init=_draw_linear, name="linear")(x)


def build_residual_network(
    name: str, *, width: int | None, num_classes: int, conv_form: str, dtype: str
) -> tuple[ResidualNetwork, int]:
    """Build a residual network by name.

    Args:
      name: `preactresnet18` (two blocks in each of four stages) or its small relative
        `preactresnet10` (one); `wideresnet34` (five blocks in each of three groups) or its small
        relative `wideresnet10` (one).
      width: Channels of the first stage (preactresnet; by default 64) or the factor k
        (wideresnet; by default 10).
      num_classes: K.
      conv_form: `lax` or `matmul`.
      dtype: `float32` or `bfloat16`.

    Returns:
      The module, and its width.
    """
    if name.startswith("preactresnet"):
        width = 64 if width is None else width
        stem, stages = width, tuple(width * 2**stage for stage in range(4))
        num_blocks = {"preactresnet10": 1, "preactresnet18": 2}[name]
    else:
        width = 10 if width is None else width
        stem, stages = 16, tuple(16 * width * 2**stage for stage in range(3))
        num_blocks = {"wideresnet10": 1, "wideresnet34": 5}[name]
    return ResidualNetwork(stem, stages, num_blocks, num_classes, conv_form, dtype), width


def _draw_linear(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    """Draw the last layer's weights from U(-1/sqrt(D), 1/sqrt(D)), as the reference codes."""
    bound = shape[0] ** -0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)
