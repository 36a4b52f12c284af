"""Convolution in two forms: XLA's own with its own gradients, and one composed for CPUs.

The composed form computes outputs and both gradients by three convolutions without flipped or
grouped kernels, which XLA's CPU compiler hands to its fast library (given the options of
`phase_jax.compilation`). A flipped kernel is materialised behind an optimisation barrier: folded
into the convolution it would leave that path. Images of few channels are too narrow for it; they
are rearranged (space to depth for strides), shifted copies are concatenated, and one matrix product
does the rest.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Float

_LAYOUT = ("NHWC", "HWIO", "NHWC")
MIN_CHANNELS = 8
"""Input channels from which the composed form convolves; with fewer it multiplies patches."""


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
      form: `lax`, or `matmul` for the one composed for CPUs.

    Returns:
      Feature maps, without bias.
    """
    if form == "lax":
        sides = ((padding, padding), (padding, padding))
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), sides, dimension_numbers=_LAYOUT
        )
    size = kernel.shape[0]
    if x.shape[-1] >= MIN_CHANNELS and size > 1:
        return _convolve_composed(x, kernel, stride, padding)
    x = _pad(x, padding)
    if size == 1:
        return x[:, ::stride, ::stride] @ kernel[0, 0]
    if stride == 1:
        return _patches(x, size) @ kernel.reshape(-1, kernel.shape[-1])
    x, kernel = _fill_blocks(x, kernel, stride)
    return _patches(_space_to_depth(x, stride), math.ceil(size / stride)) @ (
        _fold_kernel(kernel, stride)
    )


def max_pool(x: Float[Array, "B H W C"], window: int) -> Float[Array, "B H2 W2 C"]:
    """Take the maximum over square, disjoint windows, NaN where one is in the window.

    Where pixels tie, the first of its window takes the whole gradient, as in PyTorch and in
    `nn.max_pool`, whose gradient is fifteen times slower on a CPU.
    """
    batch, height, width, channels = x.shape
    shape = (batch, height // window, window, width // window, window, channels)
    blocks = x[:, : shape[1] * window, : shape[3] * window].reshape(shape)
    places = itertools.product(range(window), repeat=2)
    return functools.reduce(_choose_greater, [blocks[:, :, i, :, j] for i, j in places])


def _choose_greater(first: Array, second: Array) -> Array:
    return jnp.where((first >= second) | jnp.isnan(first), first, second)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve_composed(
    x: Float[Array, "B H W C"], kernel: Float[Array, "k k C F"], stride: int, padding: int
) -> Float[Array, "B H2 W2 F"]:
    """Convolve; both gradients are convolutions of the same plain kind."""
    sides = ((padding, padding), (padding, padding))
    return lax.conv_general_dilated(x, kernel, (stride, stride), sides, dimension_numbers=_LAYOUT)


def _convolve_forward(x, kernel, stride, padding):
    return _convolve_composed(x, kernel, stride, padding), (x, kernel)


def _convolve_backward(stride, padding, residuals, gradient):
    x, kernel = residuals
    size = kernel.shape[0]
    before = size - 1 - padding
    # Places of the last window that the stride leaves out, rows and columns.
    rests = [(side + 2 * padding - size) % stride for side in x.shape[1:3]]
    flipped = lax.optimization_barrier(kernel[::-1, ::-1].transpose(0, 1, 3, 2))
    x_gradient = lax.conv_general_dilated(
        gradient,
        flipped,
        (1, 1),
        [(before, before + rest) for rest in rests],
        lhs_dilation=(stride, stride),
        dimension_numbers=_LAYOUT,
    )
    # Images take the place of channels, and channels that of images.
    channels_first, gradient_as_kernel = lax.optimization_barrier(
        (x.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3))
    )
    kernel_gradient = lax.conv_general_dilated(
        channels_first,
        gradient_as_kernel,
        (1, 1),
        [(padding, padding - rest) for rest in rests],
        rhs_dilation=(stride, stride),
        dimension_numbers=_LAYOUT,
    )
    return x_gradient, kernel_gradient.transpose(1, 2, 0, 3)


_convolve_composed.defvjp(_convolve_forward, _convolve_backward)


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
