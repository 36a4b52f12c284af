"""Convolution in two forms: XLA's own, and patches with a matrix product.

XLA's CPU convolution is slow for the small networks here, and slower still with one kernel per
lane, so on a CPU the patches form is used: the image is rearranged once (space to depth for
strides), shifted copies are concatenated, and one matrix product does the rest. For stride 1 the
input gradient is the exception: as a product it would scatter through memory, so it is a
convolution with the flipped kernel. The flip is materialised behind an optimisation barrier;
folded into the convolution it would leave XLA's fast path.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Float

_LAYOUT = ("NHWC", "HWIO", "NHWC")


class Convolution(nn.Module):
    """Convolution layer, NHWC, square kernel, computed in the type of its input.

    Attributes:
      features: Output channels.
      kernel_size: Side of the kernel.
      stride: Step in both directions.
      padding: Zeros added on every side.
      form: `lax` or `matmul`.
      use_bias: Add a bias to each output channel.
      kernel_init: Draws the kernel.
    """

    features: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    form: str = "lax"
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 F"]:
        """Convolve a batch."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape).astype(x.dtype)
        out = convolve(x, kernel, self.stride, self.padding, self.form)
        if not self.use_bias:
            return out
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return out + bias.astype(x.dtype)


def convolve(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "k k C F"],
    stride: int,
    padding: int,
    form: str,
) -> Float[Array, "B H2 W2 F"]:
    """Convolve in the form asked for; both forms give the same values up to rounding.

    Args:
      x: Images.
      kernel: Square kernel.
      stride: Step in both directions.
      padding: Zeros added on every side.
      form: `lax` or `matmul`.

    Returns:
      Feature maps, without bias.
    """
    if form == "lax":
        sides = ((padding, padding), (padding, padding))
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), sides, dimension_numbers=_LAYOUT
        )
    x = _pad(x, padding)
    size = kernel.shape[0]
    if size == 1:
        return x[:, ::stride, ::stride] @ kernel[0, 0]
    if stride == 1:
        return _convolve_patches(x, kernel)
    x, kernel = _fill_blocks(x, kernel, stride)
    return _patches(_space_to_depth(x, stride), math.ceil(size / stride)) @ (
        _fold_kernel(kernel, stride)
    )


def max_pool(x: Float[Array, "B H W C"], window: int) -> Float[Array, "B H2 W2 C"]:
    """Take the maximum over square, disjoint windows."""
    return nn.max_pool(x, (window, window), (window, window))


@jax.custom_vjp
def _convolve_patches(
    x: Float[Array, "B H W C"], kernel: Float[Array, "k k C F"]
) -> Float[Array, "B H2 W2 F"]:
    """Convolve without padding, stride 1."""
    return _patches(x, kernel.shape[0]) @ kernel.reshape(-1, kernel.shape[-1])


def _convolve_forward(x, kernel):
    return _convolve_patches(x, kernel), (x, kernel)


def _convolve_backward(residuals, gradient):
    x, kernel = residuals
    flipped = lax.optimization_barrier(kernel[::-1, ::-1].transpose(0, 1, 3, 2))
    padded = _pad(gradient, kernel.shape[0] - 1)
    x_gradient = lax.conv_general_dilated(
        padded, flipped, (1, 1), "VALID", dimension_numbers=_LAYOUT
    )
    patches = _patches(x, kernel.shape[0])
    kernel_gradient = jnp.einsum("bijk,bijf->kf", patches, gradient).reshape(kernel.shape)
    return x_gradient, kernel_gradient


_convolve_patches.defvjp(_convolve_forward, _convolve_backward)


def _pad(x: Float[Array, "B H W C"], padding: int) -> Float[Array, "B H2 W2 C"]:
    if padding == 0:
        return x
    return jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))


def _patches(x: Float[Array, "B H W C"], size: int) -> Float[Array, "B H2 W2 kkC"]:
    """Gather the size x size neighbourhood of every place, rows first, channels last."""
    height, width = x.shape[1] - size + 1, x.shape[2] - size + 1
    shifted = [x[:, i : i + height, j : j + width] for i in range(size) for j in range(size)]
    return jnp.concatenate(shifted, axis=-1)


def _fill_blocks(
    x: Float[Array, "B H W C"], kernel: Float[Array, "k k C F"], stride: int
) -> tuple[Array, Array]:
    """Continue a kernel with zeros to a multiple of the stride, and cut or pad images to fit."""
    size = kernel.shape[0]
    missing = -size % stride
    kernel = jnp.pad(kernel, ((0, missing), (0, missing), (0, 0), (0, 0)))
    changes = []
    for side in x.shape[1:3]:
        last_place = (side - size) // stride * stride
        changes.append((0, last_place + size + missing - side, 0))
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *changes, (0, 0, 0))), kernel


def _space_to_depth(x: Float[Array, "B H W C"], block: int) -> Float[Array, "B H2 W2 bbC"]:
    """Move block x block squares into channels."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // block, block, width // block, block, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height // block, width // block, block * block * channels)


def _fold_kernel(kernel: Float[Array, "k k C F"], stride: int) -> Float[Array, "kkC F"]:
    """Order a strided kernel as `_patches` of `_space_to_depth` orders its input."""
    size, _, channels, features = kernel.shape
    blocks = size // stride
    kernel = kernel.reshape(blocks, stride, blocks, stride, channels, features)
    return kernel.transpose(0, 2, 1, 3, 4, 5).reshape(-1, features)
