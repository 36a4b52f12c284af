"""Random crops, flips and rotations of training images, drawn for each image by itself.

No draw depends on the attack strength: lanes of one seed see the same images. Crops and flips move
pixels without changing them.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

    AugmentFn = Callable[[PRNGKeyArray, Float[Array, "B ..."]], Float[Array, "B ..."]]

PADDING = 4
MAX_ROTATION = 15.0  # degrees


def check_augmentation(name: str, input_shape: tuple[int, ...]) -> None:
    """Check that images can be augmented.

    Args:
      name: `none`, `crop_flip` or `crop_flip_rotate`.
      input_shape: Shape of one image.

    Raises:
      InputError: They are no images [H, W, C], or too small to be mirrored at their edges.
    """
    if name != "none" and (len(input_shape) != 3 or min(input_shape[:2]) <= PADDING):
        raise InputError(
            f"--augmentation: {name!r} does not fit examples of shape {list(input_shape)}; "
            f"allowed: none, or images [H, W, C] with sides above {PADDING}"
        )


def make_augment(name: str) -> AugmentFn:
    """Make the augmentation of a recipe.

    Args:
      name: `none`; `crop_flip`: a window of the image padded by 4 mirrored pixels, flipped left to
        right with probability 1/2 (CIFAR-10); `crop_flip_rotate`: the same with zeros as padding,
        then a rotation about the centre by U(-15, 15) degrees, bilinear, zeros outside (CIFAR-100).

    Returns:
      `augment(key, x [B, H, W, C]) -> [B, H, W, C]`, pixels in [0, 1] before and after.
    """
    if name == "none":
        return lambda key, x: x

    def augment(key: PRNGKeyArray, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        check_augmentation(name, x.shape[1:])
        crop_key, flip_key, rotation_key = jax.random.split(key, 3)
        shifts = jax.random.randint(crop_key, (len(x), 2), -PADDING, PADDING + 1)
        flips = jax.random.bernoulli(flip_key, 0.5, (len(x),))
        if name == "crop_flip":
            return crop_and_flip(x, shifts, flips, mirror=True)
        limit = jnp.deg2rad(MAX_ROTATION)
        angles = jax.random.uniform(rotation_key, (len(x),), x.dtype, -limit, limit)
        return rotate(crop_and_flip(x, shifts, flips, mirror=False), angles)

    return augment


def crop_and_flip(
    x: Float[Array, "B H W C"],
    shifts: Int[Array, "B 2"],
    flips: Bool[Array, "B"],
    *,
    mirror: bool,
) -> Float[Array, "B H W C"]:
    """Move a window over padded images, then flip some of them.

    Args:
      x: Images.
      shifts: Rows and columns by which the window lies below and to the right of the image.
      flips: Which images are flipped left to right afterwards.
      mirror: Whether the padding mirrors the image, its edge not repeated, or is zero.

    Returns:
      The windows, of the size of the images.
    """
    rows = jnp.arange(x.shape[1]) + shifts[:, :1]
    columns = jnp.arange(x.shape[2]) + shifts[:, 1:]
    columns = jnp.where(flips[:, None], columns[:, ::-1], columns)
    windows = jax.vmap(lambda image, r, c: image[r][:, c])(
        x, _mirror(rows, x.shape[1]), _mirror(columns, x.shape[2])
    )
    if mirror:
        return windows
    inside = _is_inside(rows, x.shape[1])[:, :, None] & _is_inside(columns, x.shape[2])[:, None]
    return jnp.where(inside[..., None], windows, 0)


def rotate(x: Float[Array, "B H W C"], angles: Float[Array, "B"]) -> Float[Array, "B H W C"]:
    """Rotate images about their centres, bilinearly; zeros come in from outside.

    Args:
      x: Images.
      angles: Radians, counter-clockwise as seen.

    Returns:
      The rotated images; within the range of `x` and zero.
    """
    height, width = x.shape[1:3]
    rows, columns = jnp.meshgrid(
        jnp.arange(height) - (height - 1) / 2, jnp.arange(width) - (width - 1) / 2, indexing="ij"
    )

    def rotate_one(image: Float[Array, "H W C"], angle: Float[Array, ""]):
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        places = (
            cosine * rows + sine * columns + (height - 1) / 2,
            cosine * columns - sine * rows + (width - 1) / 2,
        )
        turn = functools.partial(map_coordinates, coordinates=places, order=1, mode="constant")
        return jax.vmap(turn, in_axes=-1, out_axes=-1)(image)

    return jnp.clip(jax.vmap(rotate_one)(x, angles), 0.0, 1.0).astype(x.dtype)


def _mirror(places: Int[Array, "B H"], size: int) -> Int[Array, "B H"]:
    """Reflect places beyond either end back into [0, size)."""
    return size - 1 - jnp.abs(size - 1 - jnp.abs(places))


def _is_inside(places: Int[Array, "B H"], size: int) -> Bool[Array, "B H"]:
    return (places >= 0) & (places < size)
