"""Connectivity: curves, planes, BatchNorm's statistics, barriers, and a real pair of networks."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from small_problem import small_digits, small_run

from phase_jax import InputError, build_model, cross_entropy
from phase_jax.connectivity import ConnectivitySettings, run_connectivity
from phase_jax.connectivity.curve import WEIGH_FNS, Networks, combine_networks, weigh_line
from phase_jax.connectivity.pairs import Pair, choose_pairs
from phase_jax.connectivity.plane import build_plane, lay_out_grid, weigh_place
from phase_jax.connectivity.result import measure_barriers
from phase_jax.connectivity.train import make_schedule
from phase_jax.models import wrap_linen
from phase_jax.models.batch_norm import BatchNorm
from phase_jax.report.mean import average
from phase_jax.training.batch_statistics import make_recompute_statistics
from phase_jax.types import LaneStatus

SETTINGS = ConnectivitySettings(num_epochs=3, num_points=11, grid_size=4)


def draw_networks(seed=0, scale=1.0):
    """Draw three networks of two leaves that lie near each other, far from the origin."""
    rng = np.random.default_rng(seed)
    base = [rng.normal(size=(40, 30)), rng.normal(size=50)]
    return Networks(
        *(
            [jnp.asarray(leaf + scale * rng.normal(size=leaf.shape), jnp.float32) for leaf in base]
            for _ in range(3)
        )
    )


def flatten(tree):
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


@pytest.fixture(scope="module")
def run():
    return small_run()


@pytest.fixture(scope="module")
def connected(run):
    return run_connectivity(run, SETTINGS, data=small_digits())


def measure_directly(run, params):
    """Measure clean train loss and accuracy of one network without the code under test."""
    data = small_digits()
    network = build_model("mlp", num_classes=10, input_shape=(8, 8, 1), widths=(16,))
    x = data.train_images.astype(np.float32) / data.pixel_scale
    logits, _ = network.apply(params, {}, x, train=False)
    labels = data.train_labels
    return float(cross_entropy(logits, labels).mean()), np.mean(np.argmax(logits, 1) == labels)


@pytest.mark.parametrize("curve", WEIGH_FNS)
def test_a_curve_begins_and_ends_at_the_networks_to_the_bit(curve):
    networks = draw_networks()
    for t, expected in ((0.0, networks.start), (1.0, networks.end)):
        point = combine_networks(WEIGH_FNS[curve](jnp.asarray(t)), networks)
        for left, right in zip(point, expected, strict=True):
            np.testing.assert_array_equal(left, right)


def test_the_curves_are_the_formulas():
    w0, w1, w2 = (flatten(network) for network in draw_networks())
    t = 0.3
    for curve, expected in (
        ("bezier", 0.49 * w0 + 0.42 * w1 + 0.09 * w2),
        ("polygon", 0.4 * w0 + 0.6 * w1),
    ):
        point = combine_networks(WEIGH_FNS[curve](jnp.asarray(t)), draw_networks())
        np.testing.assert_allclose(flatten(point), expected, atol=1e-5)
    np.testing.assert_allclose(WEIGH_FNS["polygon"](jnp.asarray(0.75)), [0, 0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(weigh_line(jnp.asarray(0.25)), [0.75, 0, 0.25], atol=1e-6)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 100.0])
def test_the_basis_of_the_plane_is_orthonormal(scale):
    networks = draw_networks(scale=scale)
    plane = jax.jit(build_plane)(networks)
    w0, w1, w2 = (flatten(network) for network in networks)
    u, v = (np.asarray(weights, np.float64) @ [w0, w1, w2] for weights in plane[:2])
    gram = np.array([[u @ u, u @ v], [v @ u, v @ v]])
    np.testing.assert_allclose(gram, np.eye(2), atol=1e-5)
    places = [[(w - w0) @ u, (w - w0) @ v] for w in (w0, w1, w2)]
    np.testing.assert_allclose(plane.anchors, places, atol=1e-4 * scale * np.linalg.norm(u * 40))


def test_the_anchors_are_the_networks_and_the_grid_reaches_beyond_them():
    networks = draw_networks()
    plane = build_plane(networks)
    for place, network in zip(plane.anchors, networks, strict=True):
        point = combine_networks(weigh_place(plane, place), networks)
        np.testing.assert_allclose(flatten(point), flatten(network), atol=1e-5)
    along, up = lay_out_grid(plane, 21, 0.2)
    np.testing.assert_allclose(along, np.linspace(-0.2, 1.2, 21) * plane.anchors[2, 0], rtol=1e-5)
    np.testing.assert_allclose(up, np.linspace(-0.2, 1.2, 21) * plane.anchors[1, 1], rtol=1e-5)


def test_the_learning_rate_holds_falls_and_stays_at_one_percent():
    schedule = make_schedule(0.2, 1000)
    found = [float(schedule(step)) for step in (0, 500, 700, 900, 999)]
    np.testing.assert_allclose(found, [0.2, 0.2, 0.2 * (1 - 0.99 / 2), 0.002, 0.002], rtol=1e-5)


def test_a_barrier_is_the_rise_above_the_line_between_the_ends():
    points = np.array([0.0, 0.25, 0.5, 1.0])
    losses = np.array([[1.0, 1.0, 3.0, 5.0], [1.0, 4.0, 2.0, 3.0], [0.0, np.nan, 0.0, 0.0]])
    np.testing.assert_allclose(measure_barriers(points, losses), [0.0, 2.5, np.nan])


def test_the_interval_over_pairs_is_students():
    values = np.array([1.0, 2.0, 4.0, np.nan])
    half = stats.t.ppf(0.975, 2) * np.std([1, 2, 4], ddof=1) / np.sqrt(3)
    found = average(values, 0.95)
    np.testing.assert_allclose(found[:3], [7 / 3, 7 / 3 - half, 7 / 3 + half])
    assert found.number == 3
    assert average(values, 0.95, floor=0.0).low == 0.0
    assert average(values[:1], 0.95) == (1.0, None, None, 1)
    assert average(values[3:], 0.95) == (None, None, None, 0)


class Normalised(nn.Module):
    """A dense layer between two normalisations that keep other shares than our own layer."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.7)(x.reshape(len(x), -1))
        return nn.BatchNorm(use_running_average=not train, momentum=0.99)(nn.Dense(3)(x))


def test_batch_statistics_are_the_mean_over_one_pass_whatever_the_momentum():
    model = wrap_linen(Normalised(), (5,))
    params, state = model.init(jax.random.key(0))
    images = np.random.default_rng(0).random((12, 5), np.float32) + 3.0
    recompute = make_recompute_statistics(model, batch_size=4, pixel_scale=1.0)
    found = jax.jit(recompute)(params, state, images)["batch_stats"]
    batches = images.reshape(3, 4, 5).astype(np.float64)
    first, second = found["BatchNorm_0"], found["BatchNorm_1"]
    np.testing.assert_allclose(first["mean"], images.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(first["var"], batches.var(axis=1).mean(axis=0), rtol=1e-4)
    normalised = (batches - batches.mean(1, keepdims=True)) / np.sqrt(
        batches.var(1, keepdims=True) + 1e-5
    )
    hidden = normalised @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
    np.testing.assert_allclose(second["var"], hidden.var(axis=1).mean(axis=0), rtol=1e-4)


class Centred(nn.Module):
    """Our own normalisation, of images."""

    @nn.compact
    def __call__(self, x, *, train, weights=None):
        return nn.Dense(3)(BatchNorm()(x, train=train, weights=weights).reshape(len(x), -1))


def test_batch_statistics_weigh_a_partial_batch_by_its_images():
    model = wrap_linen(Centred(), (2, 2, 1))
    params, state = model.init(jax.random.key(0))
    images = np.random.default_rng(0).random((5, 2, 2, 1), np.float32)
    recompute = make_recompute_statistics(model, batch_size=3, pixel_scale=1.0)
    found = jax.jit(recompute)(params, state, images)["batch_stats"]["BatchNorm_0"]
    variances = [images[:3].var(ddof=1), images[3:].var(ddof=1)]
    np.testing.assert_allclose(found["mean"], [images.mean()], rtol=1e-5)
    np.testing.assert_allclose(found["var"], [(3 * variances[0] + 2 * variances[1]) / 5], rtol=1e-5)


def test_a_network_without_batch_statistics_keeps_its_state():
    model = build_model("mlp", num_classes=3, input_shape=(4,), widths=(2,))
    recompute = make_recompute_statistics(model, batch_size=3, pixel_scale=1.0)
    assert recompute({}, {"counts": 7}, np.zeros((5, 4))) == {"counts": 7}


def test_the_ends_of_the_curve_are_the_end_networks(run, connected):
    for i, epsilon in enumerate(connected.epsilons):
        e = int(np.flatnonzero(run.epsilons == epsilon)[0])
        for place, (e_end, s) in (
            (0, (0, connected.seeds[i, 0])),
            (-1, (e, connected.seeds[i, 1])),
        ):
            params = jax.tree.map(lambda leaf, e=e_end, s=s: leaf[e, s], run.params)
            loss, accuracy = measure_directly(run, params)
            assert connected.curve.train_loss[i, place] == pytest.approx(loss, rel=1e-5)
            assert connected.curve.train_accuracy[i, place] == pytest.approx(accuracy)
            assert connected.line.train_loss[i, place] == connected.curve.train_loss[i, place]


def test_the_plane_at_the_three_networks_is_what_they_achieve(run, connected):
    for i in range(len(connected.epsilons)):
        bend = jax.tree.map(lambda leaf, i=i: leaf[i], connected.bends)
        ends = connected.curve.train_loss[i, [0, -1]]
        expected = [ends[0], measure_directly(run, bend)[0], ends[1]]
        np.testing.assert_allclose(connected.anchors.train_loss[i], expected, rtol=1e-4)


def test_training_lowers_the_loss_between_networks_of_different_seeds(connected):
    clean = connected.summaries[0]
    assert clean.epsilon == 0
    assert np.isfinite(clean.highest_loss.value)
    assert clean.barrier.value < 0.5 * clean.line_barrier.value
    assert (connected.training_losses[:, -1] < connected.training_losses[:, 0]).all()


def test_summaries_and_shapes(connected):
    # From seed 0 to seed 1 among clean networks, which is not run both ways; both ways to 0.1.
    np.testing.assert_allclose(connected.epsilons, [0, 0.1, 0.1])
    np.testing.assert_array_equal(connected.seeds, [[0, 1], [0, 1], [1, 0]])
    assert connected.plane.test_loss.shape == (3, 4, 4)
    assert connected.grid.shape == (3, 2, 4)
    assert connected.sound.all()
    barriers = measure_barriers(connected.points, connected.curve.train_loss)
    assert connected.summaries[1].barrier.value == pytest.approx(barriers[1:].mean())
    assert connected.summaries[0].barrier.low is None
    assert connected.settings.learning_rate == 0.1


def test_a_pair_among_others_gives_what_it_gives_alone(run, connected):
    settings = dataclasses.replace(SETTINGS, to_epsilons=(0.0,), width=1)
    alone = run_connectivity(run, settings, data=small_digits())
    np.testing.assert_allclose(
        alone.curve.train_loss[0], connected.curve.train_loss[0], rtol=1e-3, atol=1e-5
    )


def fail_lane(run, *lanes):
    status = np.array(run.lanes.status)
    for lane in lanes:
        status[lane] = LaneStatus.COLLAPSED
    return dataclasses.replace(run, lanes=dataclasses.replace(run.lanes, status=status))


def test_networks_that_failed_are_left_out_and_named(run):
    pairs, cautions = choose_pairs(fail_lane(run, (1, 0)), SETTINGS)
    assert pairs == (Pair((0, 0), (0, 1)), Pair((0, 0), (1, 1)))
    assert cautions == ("left out: epsilon 0.1, seed 0, which is COLLAPSED",)


def test_networks_of_one_seed_are_paired_when_asked(run):
    pairs, _ = choose_pairs(run, dataclasses.replace(SETTINGS, pairing="same"))
    assert pairs == (Pair((0, 0), (1, 0)), Pair((0, 1), (1, 1)))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"from_epsilon": 0.05}, "--from-eps: 0.05 was not trained in this run; allowed: 0, 0.1"),
        ({"to_epsilons": (0.1, 0.2)}, "--to-eps: 0.2 was not trained"),
        ({"seeds": (0, 5)}, "--seeds: 5 was not trained in this run; allowed: 0, 1"),
        ({"seeds": (0, 0)}, "--seeds: .* each seed once"),
        ({"seeds": (0,), "pairing": "other"}, "--pairing: 'other' needs two seeds"),
        ({"to_epsilons": (0.0,), "pairing": "same"}, "--to-eps: no two different networks"),
        ({"pairing": "both"}, "--pairing: 'both' is not known"),
        ({"curve": "spline"}, "--curve: 'spline' is not known"),
        ({"num_points": 1}, "--points: 1 is not allowed"),
        ({"learning_rate": 0.0}, "--learning-rate: 0.0 is not allowed"),
    ],
)
def test_what_cannot_be_connected_is_one_line(run, changes, named):
    with pytest.raises(InputError, match=named) as caught:
        run_connectivity(run, dataclasses.replace(SETTINGS, **changes), data=small_digits())
    assert "\n" not in str(caught.value)
