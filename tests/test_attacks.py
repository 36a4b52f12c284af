"""The contract of every attack in both norms, and what can be derived about single attacks."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, NamedTuple

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phase_jax.attacks import NORMS, fgm, gaussian, make_attack, pgd, project
from phase_jax.sweep import map_lanes
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

ATTACKS = {
    "pgd": functools.partial(pgd, num_steps=4),
    "pgd with restarts": functools.partial(pgd, num_steps=2, num_restarts=3),
    "pgd without random start": functools.partial(pgd, num_steps=4, random_start=False),
    "fgm": fgm,
    "fgm with random start": functools.partial(fgm, random_start=True),
    "gaussian": gaussian,
}
DETERMINISTIC = ("pgd without random start", "fgm")
EPSILONS = (0.0, 1e-6, 8 / 255, 0.3, 2.0)
KEY = jax.random.key(11)
SHAPE = (2, 2, 5)  # as many channels as images: B numbers aligned with the wrong axis show
NUM_PIXELS = 20

every_norm = pytest.mark.parametrize("norm", NORMS)


def draw_images():
    """One image inside the box, one black, one white, one of both, one with 8-bit values."""
    rng = np.random.default_rng(0)
    rows = [
        rng.uniform(0.1, 0.9, SHAPE),
        np.zeros(SHAPE),
        np.ones(SHAPE),
        rng.integers(0, 2, SHAPE),
        rng.choice([0, 1, 2, 127, 128, 254, 255], SHAPE) / 255,
    ]
    return np.stack(rows).astype(np.float32)


IMAGES = draw_images()
FIRST_LAYER, SECOND_LAYER = (
    np.random.default_rng(1).normal(0, 0.5, shape).astype(np.float32)
    for shape in ((NUM_PIXELS, 8), (8, 3))
)
WEIGHTS = np.random.default_rng(2).normal(size=NUM_PIXELS).astype(np.float32)


def network_loss(images):
    """Cross-entropy of a small tanh network, class 0."""
    hidden = jnp.tanh(images.reshape(len(images), -1) @ FIRST_LAYER)
    return -jax.nn.log_softmax(hidden @ SECOND_LAYER)[:, 0]


def linear_loss(images):
    return images.reshape(len(images), -1) @ WEIGHTS


def run_attack(name, norm, loss_fn, images, key, epsilon):
    return ATTACKS[name](loss_fn, images, key, epsilon=epsilon, norm=norm)


def measure(delta, norm):
    """Norm of each perturbation, in double precision."""
    delta = np.asarray(delta, np.float64).reshape(len(delta), -1)
    return np.abs(delta).max(axis=1) if norm == "linf" else np.linalg.norm(delta, axis=1)


def assert_inside(adversarial, images, epsilon, norm):
    """Check the box exactly, and the ball up to the rounding of x + delta."""
    adversarial = np.asarray(adversarial)
    assert adversarial.shape == images.shape
    assert adversarial.dtype == images.dtype
    assert np.all((adversarial >= 0) & (adversarial <= 1))
    rounding = 1e-7 if norm == "linf" else 1e-7 * np.sqrt(images[0].size)
    assert np.all(measure(np.float64(adversarial) - images, norm) <= epsilon + rounding)


# The contract: every attack in both norms, compiled once, as sweeps do: lanes, two at a time.


class Lanes(NamedTuple):
    """What the lanes attack, each with images, a key and a strength of its own."""

    images: np.ndarray = np.stack([np.roll(IMAGES, place, axis=0) for place in range(5)])
    keys: jax.Array = jax.random.split(KEY, 5)
    epsilons: np.ndarray = np.array(EPSILONS, np.float32)
    scales: np.ndarray = np.ones(5, np.float32)
    """Factors of the loss, and so of its gradient."""


class Contract(NamedTuple):
    """An attack in one norm, of one lane and of many; the latter may be traced once."""

    name: str
    norm: str
    run_lane: Callable[..., jax.Array]
    run_lanes: Callable[..., jax.Array]


@pytest.fixture(scope="module", params=list(itertools.product(ATTACKS, NORMS)), ids=", ".join)
def contract(request):
    name, norm = request.param

    def run_lane(images, key, epsilon, scale):
        return run_attack(name, norm, lambda x: scale * network_loss(x), images, key, epsilon)

    traces = []

    def run_lanes(*lanes):
        traces.append(lanes)
        assert len(traces) == 1, "compiled again"
        return map_lanes(run_lane, width=2)(*lanes)

    return Contract(name, norm, run_lane, jax.jit(run_lanes))


def take(lanes, places):
    return Lanes(*(leaf[places] for leaf in lanes))


@pytest.mark.parametrize("scale", [0.0, 1e-36, 1.0, 1e36])
def test_attack_stays_in_the_ball_and_in_the_pixel_box(contract, scale):
    lanes = Lanes(scales=np.full(5, scale, np.float32))
    adversarial = contract.run_lanes(*lanes)
    for place, epsilon in enumerate(EPSILONS):
        assert_inside(adversarial[place], lanes.images[place], epsilon, contract.norm)


def test_images_without_gradient_stay_as_they_are_without_a_random_start(contract):
    adversarial = contract.run_lanes(*Lanes(scales=np.zeros(5, np.float32)))
    same = np.array_equal(adversarial, Lanes().images)
    assert same == (contract.name in DETERMINISTIC)


def test_epsilon_zero_gives_back_the_images_bit_for_bit(contract):
    adversarial = contract.run_lanes(*Lanes(epsilons=np.zeros(5, np.float32)))
    assert np.asarray(adversarial).tobytes() == Lanes().images.tobytes()


def test_compiled_attack_equals_the_eager_one(contract):
    compiled = contract.run_lanes(*Lanes())
    with jax.disable_jit():
        eager = contract.run_lane(*take(Lanes(), 3))
    np.testing.assert_allclose(compiled[3], eager, rtol=0, atol=1e-6)


def test_lane_among_others_equals_the_lane_alone_at_equal_width(contract):
    together = contract.run_lanes(*Lanes())
    for place in range(5):
        copies = contract.run_lanes(*take(Lanes(), np.full(5, place)))
        np.testing.assert_array_equal(copies[place], together[place])
    if contract.name in DETERMINISTIC:  # for each of the others another second of compilation
        mapped = jax.jit(map_lanes(contract.run_lane, width=2))
        for place in range(5):
            alone = mapped(*take(Lanes(), np.array([place])))
            np.testing.assert_array_equal(alone[0], together[place])


def test_another_epsilon_does_not_compile_again(contract):
    first = contract.run_lanes(*Lanes())  # fails when it is traced a second time
    second = contract.run_lanes(*Lanes(epsilons=np.float32(EPSILONS[::-1])))
    assert not np.array_equal(first, second)


def test_attack_is_a_function_of_its_key(contract):
    other_keys = jax.random.split(jax.random.key(12), 5)
    first, again, other = (
        contract.run_lanes(*Lanes(keys=keys, scales=np.zeros(5, np.float32)))
        for keys in (Lanes().keys, Lanes().keys, other_keys)
    )
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) == (contract.name in DETERMINISTIC)


def test_each_image_may_have_its_own_epsilon(contract):
    same_images = take(Lanes(), np.zeros(5, int))
    expected = contract.run_lanes(*same_images._replace(epsilons=Lanes().epsilons))
    with jax.disable_jit():
        adversarial = contract.run_lane(*take(Lanes(), 0)._replace(epsilons=Lanes().epsilons))
    for place in range(5):
        np.testing.assert_allclose(adversarial[place], expected[place, place], rtol=0, atol=1e-6)


@every_norm
@pytest.mark.parametrize("attack_fn", [fgm, gaussian], ids=["fgm", "gaussian"])
def test_other_bounds_than_zero_and_one_hold_exactly(attack_fn, norm):
    low, high = np.float32(-0.7), np.float32(1.3)
    images = np.random.default_rng(4).uniform(low, high, IMAGES.shape).astype(np.float32)
    options = {"epsilon": 50.0, "norm": norm, "bounds": (float(low), float(high))}
    with jax.disable_jit():
        adversarial = attack_fn(network_loss, images, KEY, **options)
    assert np.all((adversarial >= low) & (adversarial <= high))
    assert np.any(adversarial == low)
    assert np.any(adversarial == high)


# What can be derived on linear losses.


def reach_optimum(norm, images, epsilon):
    """Largest w.x over the ball around each image: w.x + epsilon |w|_dual."""
    dual = np.abs(WEIGHTS).sum() if norm == "linf" else np.linalg.norm(WEIGHTS)
    return images.reshape(len(images), -1) @ WEIGHTS + epsilon * dual


OPTIMAL = {
    "fgm": fgm,
    "pgd": functools.partial(pgd, num_steps=20, random_start=False),
    "pgd with random start and long steps": lambda *arguments, epsilon, **options: pgd(
        *arguments, epsilon=epsilon, step_size=epsilon, num_steps=60, **options
    ),
}


@every_norm
@pytest.mark.parametrize("name", OPTIMAL)
def test_attack_reaches_the_optimum_of_a_linear_loss(name, norm):
    options = {"norm": norm, "bounds": (-100.0, 100.0)}
    attack_fn = jax.jit(
        lambda epsilon: OPTIMAL[name](linear_loss, IMAGES, KEY, epsilon=epsilon, **options)
    )
    for epsilon in (0.01, 0.3, 2.0):
        losses = np.asarray(attack_fn(epsilon), np.float64).reshape(5, -1) @ WEIGHTS
        optimum = reach_optimum(norm, IMAGES, epsilon)
        np.testing.assert_allclose(losses, optimum, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("epsilon", [8 / 255, 0.3, 2.0])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_linf_attack_of_a_linear_loss_is_exact_in_the_pixel_box(name, epsilon):
    adversarial = run_attack(name, "linf", linear_loss, IMAGES, None, epsilon)
    corner = np.clip(IMAGES + epsilon * np.sign(WEIGHTS).reshape(SHAPE), 0, 1)
    np.testing.assert_allclose(adversarial, corner, rtol=0, atol=2e-7)


@every_norm
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_attack_of_a_linear_loss_is_never_below_the_clean_loss(name, norm):
    attack_fn = jax.jit(functools.partial(run_attack, name, norm, linear_loss, IMAGES, KEY))
    for epsilon in EPSILONS:
        gained = (np.float64(attack_fn(epsilon)) - IMAGES).reshape(5, -1) @ WEIGHTS
        assert np.all(gained >= -1e-7)


# The iterates of PGD, against a reference in NumPy.

MATRIX = np.random.default_rng(3).normal(size=(NUM_PIXELS, NUM_PIXELS)) / NUM_PIXELS
SYMMETRIC = MATRIX + MATRIX.T
LOSSES = {
    "linear": (
        lambda x: x @ np.float64(WEIGHTS),
        lambda x: np.broadcast_to(np.float64(WEIGHTS), x.shape),
    ),
    "quadratic": (
        lambda x: 0.5 * jnp.sum(x * (x @ SYMMETRIC), axis=1) + x @ np.float64(WEIGHTS) / 10,
        lambda x: x @ SYMMETRIC + np.float64(WEIGHTS) / 10,
    ),
}


def iterate_reference(gradient_fn, x, epsilon, step_size, norm, num_steps):
    """Yield the iterates of projected gradient ascent on rows of `x` in [0, 1]."""
    delta = np.zeros_like(x)
    for _ in range(num_steps):
        gradient = gradient_fn(x + delta)
        if norm == "linf":
            delta = np.clip(delta + step_size * np.sign(gradient), -epsilon, epsilon)
        else:
            length = np.linalg.norm(gradient, axis=1, keepdims=True)
            delta = delta + step_size * gradient / (length + 1e-10)
            delta *= np.minimum(1, epsilon / np.linalg.norm(delta, axis=1, keepdims=True))
        delta = np.clip(x + delta, 0, 1) - x
        yield x + delta


@every_norm
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("step_size", [0.03, 0.25])
def test_every_iterate_of_pgd_equals_the_reference(loss, norm, step_size):
    loss_fn, gradient_fn = LOSSES[loss]
    x = IMAGES.reshape(5, -1).astype(np.float64)
    reference = iterate_reference(gradient_fn, x, 0.2, step_size, norm, num_steps=5)
    with jax.enable_x64(True), jax.disable_jit():
        for num_steps, expected in enumerate(reference, start=1):
            iterate = pgd(
                loss_fn,
                jnp.asarray(x),
                epsilon=0.2,
                step_size=step_size,
                num_steps=num_steps,
                norm=norm,
                random_start=False,
            )
            np.testing.assert_allclose(iterate, expected, rtol=0, atol=1e-12)


@every_norm
def test_default_step_is_two_and_a_half_times_epsilon_over_the_number_of_steps(norm):
    options = {"epsilon": 0.2, "num_steps": 5, "norm": norm, "random_start": False}
    with jax.disable_jit():
        by_default = pgd(network_loss, IMAGES, **options)
        explicit = pgd(network_loss, IMAGES, step_size=0.1, **options)
    np.testing.assert_allclose(by_default, explicit, rtol=0, atol=1e-6)


@every_norm
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_huge_gradients_stay_in_the_ball(name, norm):
    adversarial = run_attack(name, norm, lambda x: 1e38 * linear_loss(x), IMAGES, None, 0.1)
    assert_inside(adversarial, IMAGES, 0.1, norm)


# Starts and restarts.


@every_norm
def test_restarts_keep_the_largest_loss_of_each_image(norm):
    options = {"epsilon": 0.3, "step_size": 0.03, "num_steps": 1, "norm": norm}
    with jax.disable_jit():
        kept = network_loss(pgd(network_loss, IMAGES, KEY, num_restarts=4, **options))
        singles = [
            network_loss(pgd(network_loss, IMAGES, key, **options))
            for key in jax.random.split(KEY, 4)
        ]
    np.testing.assert_allclose(kept, np.max(singles, axis=0), rtol=0, atol=1e-6)
    assert np.all(kept >= singles[0])  # never worse than the first key alone
    assert len(set(np.argmax(singles, axis=0))) > 1  # no key is the best for all images


GREY_IMAGES = np.full((3000, 6), 0.5, np.float32)


def draw_starts(norm):
    """Random starts in units of epsilon, [N, D], far from the box."""
    options = {"epsilon": 0.25, "num_steps": 1, "norm": norm}
    start = pgd(lambda x: jnp.zeros(len(x)), GREY_IMAGES, KEY, **options)
    return (np.asarray(start, np.float64) - 0.5) / 0.25


def assert_mean_is(samples, mean):
    """Compare the mean over the first axis with its expectation, within 4 standard errors."""
    standard_error = samples.std(axis=0) / np.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(axis=0) - mean) < 4 * standard_error)


def test_linf_start_is_uniform_in_the_cube():
    start = draw_starts("linf")
    assert_mean_is(start, 0)
    assert_mean_is(start**2, 1 / 3)
    assert_mean_is(start**4, 1 / 5)


def test_l2_start_has_a_uniform_radius_and_no_preferred_direction():
    start = draw_starts("l2")
    radius = np.linalg.norm(start, axis=1)
    assert_mean_is(radius, 1 / 2)
    assert_mean_is(radius**2, 1 / 3)
    assert_mean_is(start, 0)
    assert_mean_is((start / radius[:, None]) ** 2, 1 / 6)


# Gaussian noise.


@every_norm
def test_gaussian_noise_has_length_epsilon_where_the_box_is_not_hit(norm):
    delta = np.float64(gaussian(None, GREY_IMAGES, KEY, epsilon=0.1, norm=norm)) - 0.5
    np.testing.assert_allclose(measure(delta, norm), 0.1, rtol=0, atol=1e-7 * np.sqrt(6))


@every_norm
def test_gaussian_noise_has_mean_zero(norm):
    delta = np.float64(gaussian(None, GREY_IMAGES, KEY, epsilon=0.1, norm=norm)) - 0.5
    assert_mean_is(delta, 0)


# Attacks by name.


def run_made(name, norm, *, epsilon=0.1, **options):
    attack_fn = make_attack(name, norm=norm, num_steps=3, **options)
    with jax.disable_jit():
        return np.asarray(attack_fn(network_loss, IMAGES, KEY, epsilon=epsilon))


@every_norm
@pytest.mark.parametrize("name", ["pgd", "fgm"])
def test_absolute_and_relative_steps_of_equal_length_agree(name, norm):
    absolute = run_made(name, norm, step_rule="absolute", step_length=0.05)
    relative = run_made(name, norm, step_rule="relative", step_length=0.5)
    np.testing.assert_allclose(absolute, relative, rtol=0, atol=1e-6)


@every_norm
def test_absolute_step_leaves_the_images_alone_at_epsilon_zero(norm):
    adversarial = run_made("pgd", norm, epsilon=0.0, step_rule="absolute", step_length=0.1)
    assert adversarial.tobytes() == IMAGES.tobytes()


@every_norm
@pytest.mark.parametrize(
    ("name", "attack_fn"),
    [
        ("pgd", functools.partial(pgd, num_steps=3, step_size=0.1)),
        ("fgm", functools.partial(fgm, random_start=True)),
        ("gaussian", gaussian),
    ],
)
def test_attack_made_by_name_is_the_function_of_that_name(name, attack_fn, norm):
    with jax.disable_jit():
        direct = attack_fn(network_loss, IMAGES, KEY, epsilon=0.1, norm=norm)
    np.testing.assert_array_equal(run_made(name, norm), direct)


# Bad arguments.


BAD_ARGUMENTS = [
    *[
        (attack_fn, *row)
        for attack_fn in (pgd, functools.partial(fgm, random_start=True), gaussian)
        for row in (
            ("norm", {"norm": "l1"}),
            ("x", {"x": np.zeros((2, 3), np.uint8)}),
            ("x", {"x": np.zeros(3, np.float32)}),
            ("key", {"key": None}),
        )
    ],
    (pgd, "num_steps", {"num_steps": 0}),
    (pgd, "num_restarts", {"num_restarts": 0}),
    (pgd, "num_restarts", {"num_restarts": 2, "random_start": False}),
]


@pytest.mark.parametrize(("attack_fn", "field", "wrong"), BAD_ARGUMENTS)
def test_bad_argument_is_named_in_one_line(attack_fn, field, wrong):
    arguments = {"x": IMAGES, "key": KEY, "epsilon": 0.1} | wrong
    with pytest.raises(InputError, match=rf"\A[^\n]*\b{field}\b[^\n]*\Z"):
        attack_fn(network_loss, **arguments)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("attack", {"name": "deepfool"}),
        ("step_rule", {"name": "pgd", "step_rule": "relativ"}),
    ],
)
def test_bad_attack_by_name_is_named_in_one_line(field, arguments):
    with pytest.raises(InputError, match=rf"\A{field}\b[^\n]*\Z"):
        make_attack(norm="linf", **arguments)


# Projection.

LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).tiny)  # compiled programs may flush what is below
check_property = hypothesis.settings(
    derandomize=True, deadline=None, max_examples=60, database=None
)
project_rows = jax.jit(project, static_argnames="norm")
draw_epsilon = st.sampled_from([0.0, 1e-6, 8 / 255, 0.3, 2.0]) | st.floats(2.0**-20, 8, width=32)


def draw_rows(largest):
    """Draw three perturbations; half of the numbers are of the order of 1."""
    numbers = st.floats(-largest, largest, width=32) | st.floats(-2, 2, width=32)
    return hypothesis.extra.numpy.arrays(np.float32, (3, 5), elements=numbers)


@every_norm
@check_property
@hypothesis.given(data=st.data(), epsilon=draw_epsilon)
def test_projection_ends_in_the_ball_and_is_idempotent(norm, data, epsilon):
    delta = data.draw(draw_rows(LARGEST))
    once = np.asarray(project_rows(delta, np.float32(epsilon), norm=norm))
    assert np.all(measure(once, norm) <= epsilon * (1 + 1e-6) + 5 * SMALLEST)
    twice = project_rows(once, np.float32(epsilon), norm=norm)
    np.testing.assert_allclose(twice, once, rtol=1e-6, atol=SMALLEST)


@every_norm
@check_property
@hypothesis.given(data=st.data(), epsilon=draw_epsilon)
def test_projection_is_nonexpansive(norm, data, epsilon):
    deltas = [data.draw(draw_rows(LARGEST)) for _ in range(2)]
    first, second = (
        np.float64(project_rows(delta, np.float32(epsilon), norm=norm)) for delta in deltas
    )
    distance = measure(np.float64(deltas[0]) - deltas[1], norm)
    rounding = 1e-6 * epsilon + 5 * SMALLEST
    assert np.all(measure(first - second, norm) <= distance * (1 + 1e-6) + rounding)


@every_norm
@check_property
@hypothesis.given(delta=draw_rows(2.0**100), epsilon=draw_epsilon)
def test_projection_is_the_nearest_point(norm, delta, epsilon):
    if norm == "linf":
        nearest = np.clip(np.float64(delta), -epsilon, epsilon)
    else:
        length = np.maximum(measure(delta, norm), epsilon)[:, None]
        nearest = delta * np.divide(epsilon, length, out=np.ones_like(length), where=length > 0)
    projected = project_rows(delta, np.float32(epsilon), norm=norm)
    np.testing.assert_allclose(projected, nearest, rtol=1e-6, atol=SMALLEST)


@every_norm
@pytest.mark.parametrize("value", [1e38, 3e38])  # its reciprocal, its length are out of range
def test_projection_brings_the_largest_numbers_into_the_ball(value, norm):
    delta = np.array([[value, 0.0, -value]], np.float32)
    assert measure(project_rows(delta, 0.1, norm=norm), norm) <= 0.1 * (1 + 1e-6)
