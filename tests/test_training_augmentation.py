"""Crops, flips and rotations: frequencies, conserved pixels, independence, determinism."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from phase_jax.config import AUGMENTATIONS
from phase_jax.training.augmentation import (
    MAX_ROTATION,
    PADDING,
    check_augmentation,
    crop_and_flip,
    make_augment,
    rotate,
)
from phase_jax.types import InputError

SIDE = 9
NUM_WINDOWS = 2 * PADDING + 1
KEY = jax.random.key(4)
REAL = AUGMENTATIONS[1:]


def draw_images(number=6, side=SIDE, channels=3):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.uniform(0.1, 1.0, (number, side, side, channels)), jnp.float32)


def pad_by_hand(image, *, mirror):
    sides = ((PADDING, PADDING), (PADDING, PADDING), (0, 0))
    return np.pad(image, sides, mode="reflect" if mirror else "constant")


@pytest.mark.parametrize("mirror", [True, False])
def test_every_window_is_a_slice_of_the_padded_image(mirror):
    image = draw_images(1)[0]
    padded = pad_by_hand(image, mirror=mirror)
    shifts = np.indices((NUM_WINDOWS, NUM_WINDOWS)).reshape(2, -1).T - PADDING
    shifts, flips = np.repeat(shifts, 2, axis=0), np.tile([False, True], len(shifts))
    x = jnp.broadcast_to(image, (len(shifts), *image.shape))
    windows = crop_and_flip(x, jnp.asarray(shifts), jnp.asarray(flips), mirror=mirror)
    for window, (row, column), flip in zip(windows, shifts + PADDING, flips, strict=True):
        expected = padded[row : row + SIDE, column : column + SIDE]
        np.testing.assert_array_equal(window, expected[:, ::-1] if flip else expected)


def test_every_window_and_flip_is_equally_frequent():
    """81 windows x 2 flips over 16,200 images: chi-square with 161 degrees of freedom."""
    num_images = 100 * 2 * NUM_WINDOWS**2
    # One bright pixel in the middle of a dark image tells where the window lay; a second, darker
    # one to its right, tells whether it was flipped.
    side = 2 * PADDING + 3
    middle = side // 2
    image = np.zeros((side, side, 1), np.float32)
    image[middle, middle], image[middle, middle + 1] = 1.0, 0.5
    x = jnp.broadcast_to(jnp.asarray(image), (num_images, *image.shape))
    augmented = np.asarray(jax.jit(make_augment("crop_flip"))(KEY, x))[..., 0]
    bright = augmented.reshape(num_images, -1).argmax(axis=1)
    rows, columns = np.divmod(bright, side)
    left = np.take_along_axis(augmented[np.arange(num_images), rows], columns[:, None] - 1, 1)
    flips = left[:, 0] == 0.5
    cells = ((rows - middle + PADDING) * NUM_WINDOWS + columns - middle + PADDING) * 2 + flips
    counts = np.bincount(cells, minlength=2 * NUM_WINDOWS**2)
    assert len(counts) == 162
    statistic = ((counts - 100) ** 2 / 100).sum()
    assert abs(statistic - 161) < 4 * np.sqrt(2 * 161)


@pytest.mark.parametrize("name", REAL)
def test_images_are_drawn_for_themselves_and_the_key_decides(name):
    x = jnp.broadcast_to(draw_images(1), (64, SIDE, SIDE, 3))
    augment = jax.jit(make_augment(name))
    first, again, other = augment(KEY, x), augment(KEY, x), augment(jax.random.key(5), x)
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(np.asarray(first).reshape(64, -1), axis=0)) > 40
    assert (np.asarray(first) != np.asarray(other)).any(axis=(1, 2, 3)).mean() > 0.9
    np.testing.assert_allclose(make_augment(name)(KEY, x), first, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", REAL)
def test_an_image_is_augmented_alike_whatever_the_others_hold(name):
    x = draw_images()
    changed = x.at[1:].set(0.3)
    augment = make_augment(name)
    np.testing.assert_array_equal(augment(KEY, x)[0], augment(KEY, changed)[0])


def test_crops_and_flips_only_move_pixels():
    x = draw_images(64)
    mirrored = np.asarray(make_augment("crop_flip")(KEY, x))
    padded = np.asarray(crop_and_flip(x, jnp.full((64, 2), 3), jnp.zeros(64, bool), mirror=False))
    for i in range(64):
        assert np.isin(mirrored[i], x[i]).all()
        assert np.isin(padded[i], np.append(x[i], 0.0)).all()


def test_lanes_of_one_key_see_the_same_images():
    x = draw_images()
    lanes = jax.vmap(lambda epsilon: make_augment("crop_flip_rotate")(KEY, x) + 0 * epsilon)
    augmented = lanes(jnp.array([0.0, 0.1, 0.3]))
    np.testing.assert_array_equal(augmented[0], augmented[1])
    np.testing.assert_array_equal(augmented[0], augmented[2])


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_quarter_turns_only_move_pixels(turns):
    x = draw_images()
    turned = rotate(x, jnp.full(len(x), turns * np.pi / 2))
    expected = np.rot90(x, turns, axes=(1, 2))
    np.testing.assert_allclose(turned, expected, rtol=0, atol=1e-5)


def test_rotations_are_those_of_scipy():
    x, degrees = draw_images(4), np.array([-15.0, -4.0, 7.0, 15.0])
    turned = rotate(x, jnp.deg2rad(degrees))
    for image, own, angle in zip(x, turned, degrees, strict=True):
        expected = scipy.ndimage.rotate(image, angle, order=1, reshape=False, mode="grid-constant")
        np.testing.assert_allclose(own, expected, rtol=0, atol=1e-4)


def test_rotations_are_small_and_uniform():
    """A pixel far from the centre tells the angle; it is uniform: mean and spread."""
    side = 41
    image = np.zeros((side, side, 1), np.float32)
    columns = np.indices((side, side))[1]
    image[..., 0] = np.clip(0.5 + (columns - side // 2) / side, 0, 1)  # a ramp to the right
    x = jnp.broadcast_to(jnp.asarray(image), (500, *image.shape))
    turned = np.asarray(jax.jit(make_augment("crop_flip_rotate"))(KEY, x))[:, 12:29, 12:29, 0]
    down, right = np.gradient(turned, axis=(1, 2))
    degrees = np.rad2deg(np.arctan(down.mean(axis=(1, 2)) / right.mean(axis=(1, 2))))
    assert np.abs(degrees).max() <= MAX_ROTATION + 0.01
    deviation = MAX_ROTATION / np.sqrt(3)
    assert abs(degrees.mean()) < 4 * deviation / np.sqrt(500)
    assert abs(degrees.std() - deviation) < 4 * deviation * np.sqrt(0.2 / 500)  # kurtosis 1.8


def test_pixels_stay_in_the_box():
    x = draw_images().at[:2].set(1.0)
    augmented = make_augment("crop_flip_rotate")(KEY, x)
    assert augmented.dtype == x.dtype
    assert ((augmented >= 0) & (augmented <= 1)).all()


def test_none_changes_nothing():
    x = draw_images()
    assert make_augment("none")(KEY, x) is x
    check_augmentation("none", (64,))


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("shape", [(64,), (4, 9, 3), (9, 9)])
def test_what_cannot_be_augmented_is_refused_in_one_line(name, shape):
    with pytest.raises(InputError, match=rf"\A--augmentation: '{name}' [^\n]*\Z"):
        check_augmentation(name, shape)
    with pytest.raises(InputError, match="--augmentation"):
        make_augment(name)(KEY, jnp.zeros((2, *shape)))
