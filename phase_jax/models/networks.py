"""Flax definitions of the networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.linen as nn

from phase_jax.models.convolution import Convolution, max_pool

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class MLP(nn.Module):
    """Fully connected ReLU network on flattened images.

    Attributes:
      widths: Hidden widths.
      num_classes: K.
    """

    widths: tuple[int, ...]
    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "B ..."], *, train: bool = False) -> Float[Array, "B K"]:
        """Compute logits."""
        del train
        x = x.reshape(x.shape[0], -1)
        for width in self.widths:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.num_classes)(x)


class MnistCNN(nn.Module):
    """Two 3x3 valid convolutions (32, 64), 2x2 max-pool, two fully connected layers.

    The network of the common MNIST examples and our default reading of the paper's "two
    convolution layers and two fully connected layers" with 16 or 128 hidden units (Table 3).

    Attributes:
      hidden: Width of the first fully connected layer.
      num_classes: K.
      conv_form: `lax` or `matmul`.
    """

    hidden: int
    num_classes: int
    conv_form: str = "lax"

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], *, train: bool = False) -> Float[Array, "B K"]:
        """Compute logits."""
        del train
        x = nn.relu(Convolution(32, kernel_size=3, form=self.conv_form)(x))
        x = nn.relu(Convolution(64, kernel_size=3, form=self.conv_form)(x))
        x = max_pool(x, 2)
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(self.hidden)(x))
        return nn.Dense(self.num_classes)(x)


class MnistCNNSmall(nn.Module):
    """Two 4x4 convolutions of stride 2 (16, 32), two fully connected layers.

    The smaller convolutional reading of the paper's MNIST network; common in work on provable
    robustness.

    Attributes:
      hidden: Width of the first fully connected layer.
      num_classes: K.
      conv_form: `lax` or `matmul`.
    """

    hidden: int
    num_classes: int
    conv_form: str = "lax"

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], *, train: bool = False) -> Float[Array, "B K"]:
        """Compute logits."""
        del train
        for features in (16, 32):
            x = Convolution(features, kernel_size=4, stride=2, padding=1, form=self.conv_form)(x)
            x = nn.relu(x)
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(self.hidden)(x))
        return nn.Dense(self.num_classes)(x)
