"""TRADES and MART: what can be derived, what PyTorch says, and what breaks at saturated logits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.special
from goldens.make_loss_goldens import (
    BETAS,
    EPOCHS,
    MOMENTUM,
    NUM_EXAMPLES,
    NUM_STEPS,
    OPTIMIZERS,
    PATH,
    PGD,
    STEPS_PER_EPOCH,
    WEIGHT_DECAY,
    apply_network,
    draw_problem,
)
from small_problem import small_config

from phase_jax.attacks import pgd
from phase_jax.losses import (
    VANILLA,
    boosted_cross_entropy,
    build_mart,
    build_objective,
    build_trades,
    cross_entropy,
    kl_divergence,
)
from phase_jax.training.optimizer import build_optimizer
from phase_jax.types import InputError

NAMES = ("trades", "mart")
LABELS = np.array([0, 1, 2, 3, 3, 0])
EXTREMES = (-1e4, 0.0, 1e4)


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def goldens():
    with np.load(PATH, allow_pickle=False) as stored:
        return dict(stored)


def draw_logits(seed, spread=1.0, num_classes=4):
    rng = np.random.default_rng(seed)
    return jnp.asarray(spread * rng.normal(size=(len(LABELS), num_classes)), jnp.float32)


def measure(name, logits, labels, clean_logits):
    return build_objective(name).measure_train_loss(logits, labels, clean_logits)


# Against PyTorch.


def flatten_parameters(parameters):
    return np.concatenate([np.ravel(parameters[name]) for name in ("w1", "b1", "w2", "b2")])


def problem_arrays():
    return jax.tree.map(jnp.asarray, draw_problem())


def apply(parameters, x):
    hidden = jnp.tanh(x.reshape(len(x), -1) @ parameters["w1"] + parameters["b1"])
    return hidden @ parameters["w2"] + parameters["b2"]


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", NAMES)
def test_loss_and_parameter_gradients_are_those_of_the_reference(name, goldens):
    weights, images, perturbed, labels = problem_arrays()
    objective = build_objective(name, beta=BETAS[name])

    def mean_loss(weights):
        logits = apply(weights, perturbed)
        return objective.measure_train_loss(logits, labels, apply(weights, images)).mean()

    loss, gradients = jax.value_and_grad(mean_loss)(weights)
    np.testing.assert_allclose(loss, goldens[f"{name}_loss"], rtol=1e-9)
    for key, gradient in gradients.items():
        expected = goldens[f"{name}_{key}"]
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("norm", PGD)
def test_iterates_of_pgd_are_those_of_the_reference_step_by_step(norm, goldens):
    weights, images, _, labels = problem_arrays()
    radius, length = PGD[norm]
    for num_steps in range(1, NUM_STEPS + 1):
        iterate = pgd(
            lambda x: cross_entropy(apply(weights, x), labels),
            images,
            epsilon=radius,
            step_size=length,
            num_steps=num_steps,
            norm=norm,
            random_start=False,
        )
        np.testing.assert_allclose(
            iterate, goldens[f"pgd_{norm}"][num_steps - 1], rtol=0, atol=1e-7
        )


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_step_of_a_recipe_is_that_of_the_reference(name, goldens):
    parameters, images, _, labels = problem_arrays()
    changes = {"optimizer": name, "learning_rate": OPTIMIZERS[name], "num_epochs": EPOCHS}
    changes |= {"momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY}
    optimizer = build_optimizer(small_config(training=changes).training, STEPS_PER_EPOCH)
    state = optimizer.init(parameters)
    for step in range(EPOCHS * STEPS_PER_EPOCH):
        half = NUM_EXAMPLES // 2 * (step % STEPS_PER_EPOCH) + np.arange(NUM_EXAMPLES // 2)
        gradients = jax.grad(
            lambda p, half=half: cross_entropy(apply(p, images[half]), labels[half]).mean()
        )(parameters)
        updates, state = optimizer.update(gradients, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        flat = flatten_parameters(parameters)
        np.testing.assert_allclose(flat, goldens[name][step], rtol=0, atol=1e-6)


def test_the_reference_network_is_that_of_the_tests():
    weights, images, *_ = draw_problem()

    class Array(np.ndarray):
        def tanh(self):
            return np.tanh(self)

    logits = apply_network(weights, images.view(Array))
    np.testing.assert_allclose(apply(weights, images), logits, rtol=1e-4, atol=1e-5)


# What can be derived.


@pytest.mark.parametrize("beta", [0.0, 1.0, 6.0])
def test_trades_at_the_clean_point_is_clean_cross_entropy(beta):
    logits = draw_logits(0, spread=5.0)
    assert not kl_divergence(logits, logits).any()
    losses = build_trades(beta).measure_train_loss(logits, LABELS, logits)
    np.testing.assert_array_equal(losses, cross_entropy(logits, LABELS))


def test_the_divergence_is_that_of_the_distributions_and_not_symmetric():
    p, q = draw_logits(0), draw_logits(1)
    expected = scipy.special.rel_entr(scipy.special.softmax(p, 1), scipy.special.softmax(q, 1))
    np.testing.assert_allclose(kl_divergence(p, q), expected.sum(axis=1), rtol=1e-5)
    assert not np.allclose(kl_divergence(p, q), kl_divergence(q, p), rtol=1e-2)
    assert kl_divergence(p.astype(jnp.bfloat16), q).dtype == jnp.float32


def test_mart_of_a_confident_correct_clean_prediction_is_the_boosted_cross_entropy():
    clean = 30.0 * jax.nn.one_hot(LABELS, 4)
    logits = draw_logits(0)
    np.testing.assert_allclose(
        measure("mart", logits, LABELS, clean), boosted_cross_entropy(logits, LABELS), rtol=1e-4
    )


def test_the_boosted_cross_entropy_of_hand_made_probabilities():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.05, 0.9, 0.05]])
    losses = boosted_cross_entropy(jnp.log(probabilities), np.array([0, 2, 1]))
    expected = [
        -np.log(0.7) - np.log(1.0001 - 0.2),
        -np.log(0.3) - np.log(1.0001 - 0.6),
        -np.log(0.9) - np.log(1.0001 - 0.05),
    ]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_beta_weighs_the_divergence():
    logits, clean = draw_logits(0), draw_logits(1)
    divergence = kl_divergence(clean, logits)
    for build, share in ((build_trades, 1.0), (build_mart, None)):
        one, two = (build(beta).measure_train_loss(logits, LABELS, clean) for beta in (1.0, 2.0))
        if share is None:
            share = 1.0000001 - jnp.exp(-cross_entropy(clean, LABELS))
        np.testing.assert_allclose(two - one, share * divergence, rtol=1e-4, atol=1e-6)


def test_trades_is_attacked_by_its_divergence_and_mart_by_cross_entropy():
    logits, clean = draw_logits(0), draw_logits(1)
    for name, expected in (
        ("trades", kl_divergence(clean, logits)),
        ("mart", cross_entropy(logits, LABELS)),
    ):
        objective = build_objective(name)
        losses = objective.measure_attack_loss(logits, LABELS, clean)
        np.testing.assert_array_equal(losses, expected)
        assert (objective.attack_train_mode, objective.start_noise) == (False, 0.001)


@pytest.mark.parametrize("name", NAMES)
def test_both_arguments_are_differentiated(name):
    logits, clean = draw_logits(0), draw_logits(1)
    gradients = jax.grad(lambda pair: measure(name, pair[0], LABELS, pair[1]).sum())(
        (logits, clean)
    )
    for gradient in gradients:
        assert (jnp.abs(gradient).max(axis=1) > 1e-3).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_losses_and_gradients_are_finite_at_saturated_logits(name, dtype):
    """Every pair of clean and attacked logits from {-1e4, 0, 1e4}^3, every label."""
    rows = jnp.array(np.stack(np.meshgrid(*[EXTREMES] * 3), -1).reshape(-1, 3), dtype)
    places = np.indices((27, 27, 3)).reshape(3, -1)
    clean, logits, labels = rows[places[0]], rows[places[1]], places[2]
    objective = build_objective(name)
    for loss_fn in (objective.measure_train_loss, objective.measure_attack_loss):
        losses, gradients = jax.value_and_grad(
            lambda pair, fn=loss_fn: fn(pair[0], labels, pair[1]).astype(jnp.float32).sum()
        )((logits, clean))
        assert np.isfinite(np.float64(losses)), name
        for gradient in gradients:
            assert gradient.dtype == dtype
            assert np.isfinite(np.float64(gradient)).all()
    assert (measure(name, logits, labels, clean) >= -1e-3).all()


@pytest.mark.parametrize("name", NAMES)
def test_examples_do_not_influence_one_another_and_compiled_equals_eager(name):
    logits, clean = draw_logits(0), draw_logits(1)
    losses = measure(name, logits, LABELS, clean)
    others = measure(name, logits.at[1:].set(3.0), LABELS, clean.at[1:].set(-1e4))
    assert losses[0] == others[0]
    compiled = jax.jit(lambda *arguments: measure(name, *arguments))(logits, LABELS, clean)
    np.testing.assert_allclose(compiled, losses, rtol=1e-5)


def constant_losses(name, frequencies):
    """Return the best mean train loss that a constant prediction can have, found numerically."""
    labels = np.arange(len(frequencies))

    @jax.jit
    @jax.value_and_grad
    def mean_loss(logits):
        rows = jnp.tile(logits, (len(frequencies), 1))
        return frequencies @ measure(name, rows, labels, rows)

    start = np.log(frequencies) + 0.1 * np.arange(len(frequencies))
    best = scipy.optimize.minimize(mean_loss, start, jac=True, method="L-BFGS-B")
    return best.fun


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    ("name", "frequencies", "slack"),
    [
        ("trades", [0.25] * 4, 1e-6),
        ("trades", [0.5, 0.3, 0.2], 1e-6),
        ("mart", [0.25] * 4, 1e-6),
        ("mart", [0.28, 0.25, 0.24, 0.23], 1e-6),
        ("mart", [0.7, 0.2, 0.1], 0.05),  # an upper bound, not the best
    ],
)
def test_the_supremum_is_what_a_constant_prediction_achieves(name, frequencies, slack):
    frequencies = np.array(frequencies)
    best = constant_losses(name, frequencies)
    assert best - 1e-6 <= build_objective(name).supremum_fn(frequencies) <= best + slack


# By name.


def test_betas_by_default_and_as_given():
    assert "6 KL" in build_objective("trades").description
    assert "5 KL" in build_objective("mart").description
    assert "1.5 KL" in build_objective("trades", beta=1.5).description


@pytest.mark.parametrize("objective", ["vanilla", VANILLA, cross_entropy])
def test_a_beta_without_a_place_is_refused_in_one_line(objective):
    with pytest.raises(InputError, match=r"\Abeta: 6.0 [^\n]*trades, mart\Z"):
        build_objective(objective, beta=6.0)
