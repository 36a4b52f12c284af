"""The contract of every attack in both norms, attacks by name, and bad arguments."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
import pytest

from phase_jax.attacks import NORMS, fgm, gaussian, make_attack, pgd
from phase_jax.sweep import map_lanes
from phase_jax.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
from attack_cases import (
    ATTACKS,
    DETERMINISTIC,
    EPSILONS,
    IMAGES,
    KEY,
    assert_inside,
    every_norm,
    network_loss,
    run_attack,
)

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
