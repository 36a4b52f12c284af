"""One lane: adversarial training at one attack strength from one key.

Nothing here knows that there are other lanes. A lane's key decides its initialisation, batch
order and attack noise, and no key depends on the attack strength, so lanes of one seed share all
their randomness (common random numbers).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from phase_jax.attacks import make_attack
from phase_jax.losses import VANILLA
from phase_jax.training.evaluate import make_evaluate, make_perturb
from phase_jax.training.optimizer import build_optimizer
from phase_jax.training.step import check_restarts, make_step

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

    from phase_jax.config import SweepConfig
    from phase_jax.losses import Objective
    from phase_jax.models import Model
    from phase_jax.training.evaluate import Evaluation


class TrainData(NamedTuple):
    """Images as stored (uint8, or float32 in [0, 1]); arguments of the program, never constants."""

    train_images: Array | np.ndarray  # [N, ...]
    train_labels: Array | np.ndarray  # [N]
    selection_images: Array | np.ndarray  # [N, ...], their own N; choose the epoch
    selection_labels: Array | np.ndarray  # [N]


class LaneState(NamedTuple):
    """What a lane carries from epoch to epoch."""

    key: PRNGKeyArray
    epoch: Int[Array, ""]  # epochs done
    params: Any
    model_state: Any
    optimizer_state: Any
    selected_params: Any
    selected_model_state: Any
    selected_epoch: Int[Array, ""]  # counted from 1; 0 before the first
    selected_test_loss: Float[Array, ""]
    diverged: Bool[Array, ""]


class EpochInfo(NamedTuple):
    """What a lane reports of an epoch.

    Train values are weighted means over the epoch's examples, under attack, of the network as it
    was before each update, in training mode. Test values are those of the selection images under
    the evaluation attack after the epoch. Losses are the objective's own; beside them stands the
    plain cross-entropy of the same attacked images, by which objectives can be compared.
    """

    train_loss: Float[Array | np.ndarray, "..."]
    train_accuracy: Float[Array | np.ndarray, "..."]
    test_loss: Float[Array | np.ndarray, "..."]
    test_accuracy: Float[Array | np.ndarray, "..."]
    train_cross_entropy: Float[Array | np.ndarray, "..."]
    test_cross_entropy: Float[Array | np.ndarray, "..."]


class LaneFns(NamedTuple):
    """The pure functions of a lane.

    Attributes:
      init: `init(key) -> LaneState`.
      run_epochs: `run_epochs(state, epsilon, data, num_epochs) -> (LaneState, EpochInfo [T])`;
        `num_epochs` is static.
      evaluate: `evaluate(params, state, images, labels, key, epsilon) -> Evaluation`.
      perturb: `perturb(params, state, images, labels, key, epsilon) -> Perturbed`.
    """

    init: Callable[[PRNGKeyArray], LaneState]
    run_epochs: Callable[..., tuple[LaneState, EpochInfo]]
    evaluate: Callable[..., Any]
    perturb: Callable[..., Any]


def make_train(
    config: SweepConfig,
    model: Model,
    objective: Objective = VANILLA,
    *,
    pixel_scale: float = 255.0,
) -> Callable[[Float[Array, ""], PRNGKeyArray, TrainData], tuple[LaneState, EpochInfo]]:
    """Make a pure function that trains one lane from start to end.

    Args:
      config: Attack, evaluation and training; its grid and seeds are not used.
      model: The network.
      objective: The loss.
      pixel_scale: Stored value that stands for 1.0: 255 for uint8 images, 1 for floats.

    Returns:
      `train(epsilon, key, data) -> (LaneState, EpochInfo [T])`. Epsilon is a radius in pixel
      space [0, 1]; zero is clean training. `jax.vmap` it over epsilons and keys.
    """
    lane = make_lane_fns(config, model, objective, pixel_scale=pixel_scale)

    def train(
        epsilon: Float[Array, ""], key: PRNGKeyArray, data: TrainData
    ) -> tuple[LaneState, EpochInfo]:
        return lane.run_epochs(lane.init(key), epsilon, data, config.training.num_epochs)

    return train


def make_lane_fns(
    config: SweepConfig, model: Model, objective: Objective, *, pixel_scale: float
) -> LaneFns:
    """Make the pure functions of a lane; see `LaneFns` and `make_train`.

    Raises:
      InputError: Restarts of the training attack do not go with batch statistics.
    """
    check_restarts(config, model, objective)
    attack = make_evaluation_attack(config)
    evaluate = make_evaluate(
        model,
        objective,
        attack,
        batch_size=config.evaluation.batch_size,
        pixel_scale=pixel_scale,
    )

    # The state of the optimiser does not depend on the length of an epoch, which data decide.
    initial_optimizer = build_optimizer(config.training, steps_per_epoch=1)

    def init(key: PRNGKeyArray) -> LaneState:
        params, model_state = model.init(jax.random.fold_in(key, 0))
        return LaneState(
            key=key,
            epoch=jnp.zeros((), jnp.int32),
            params=params,
            model_state=model_state,
            optimizer_state=initial_optimizer.init(params),
            selected_params=params,
            selected_model_state=model_state,
            selected_epoch=jnp.zeros((), jnp.int32),
            selected_test_loss=jnp.asarray(jnp.inf, jnp.float32),
            diverged=jnp.zeros((), bool),
        )

    def run_epochs(
        state: LaneState, epsilon: Float[Array, ""], data: TrainData, num_epochs: int
    ) -> tuple[LaneState, EpochInfo]:
        num_batches = math.ceil(data.train_labels.shape[0] / config.training.batch_size)
        optimizer = build_optimizer(config.training, num_batches)
        step = make_step(config, model, objective, optimizer, pixel_scale)
        run_epoch = _make_epoch(config, step, evaluate)
        return jax.lax.scan(
            lambda carry, _: run_epoch(carry, epsilon, data), state, length=num_epochs
        )

    perturb = make_perturb(model, objective, attack, pixel_scale=pixel_scale)
    return LaneFns(init, run_epochs, evaluate, perturb)


def _make_epoch(config: SweepConfig, step: Callable[..., Any], evaluate: Callable[..., Evaluation]):
    """Make one epoch: every training image once, then the selection images under attack."""

    def run_epoch(
        state: LaneState, epsilon: Float[Array, ""], data: TrainData
    ) -> tuple[LaneState, EpochInfo]:
        num_train = data.train_labels.shape[0]
        epoch_key = jax.random.fold_in(jax.random.fold_in(state.key, 1), state.epoch)
        order_key, step_key, test_key = jax.random.split(epoch_key, 3)
        places, weights = draw_batches(order_key, num_train, config.training.batch_size)

        def train_batch(carry, i):
            images, labels = data.train_images[places[i]], data.train_labels[places[i]]
            batch_key = jax.random.fold_in(step_key, i)
            return step(carry, epsilon, images, labels, weights[i], batch_key)

        carry = (state.params, state.model_state, state.optimizer_state)
        carry, steps = jax.lax.scan(train_batch, carry, jnp.arange(len(places)))
        params, model_state, optimizer_state = carry
        test = evaluate(
            params, model_state, data.selection_images, data.selection_labels, test_key, epsilon
        )
        info = EpochInfo(
            train_loss=steps.loss.sum() / num_train,
            train_accuracy=steps.correct.sum() / num_train,
            test_loss=test.loss.mean(),
            test_accuracy=test.correct.mean(dtype=jnp.float32),
            train_cross_entropy=steps.cross_entropy.sum() / num_train,
            test_cross_entropy=test.cross_entropy.mean(),
        )
        state = state._replace(
            epoch=state.epoch + 1,
            params=params,
            model_state=model_state,
            optimizer_state=optimizer_state,
            diverged=state.diverged | ~jnp.isfinite(info.train_loss),
        )
        return _select(state, info), info

    return run_epoch


def make_evaluation_attack(config: SweepConfig):
    """Make the PGD attack that every lane is evaluated with."""
    evaluation = config.evaluation
    return make_attack(
        "pgd",
        norm=config.attack.norm,
        num_steps=evaluation.num_steps,
        step_length=evaluation.step_length(),
        step_rule=evaluation.step_rule,
        random_start=evaluation.random_start,
        num_restarts=evaluation.num_restarts,
    )


def draw_batches(
    key: PRNGKeyArray, num_train: int, batch_size: int
) -> tuple[Int[Array, "T B"], Float[Array, "T B"]]:
    """Shuffle the training images into batches.

    The last, partial batch is filled with images from the front of the order at weight zero: they
    count neither in the loss nor in batch statistics. A network that takes no weights sees them in
    its batch statistics, as real images.

    Args:
      key: Decides the order.
      num_train: Number of images (static).
      batch_size: Images per step (static).

    Returns:
      Positions of the images of every step, and their weights, 0 or 1.
    """
    num_batches = math.ceil(num_train / batch_size)
    order = jax.random.permutation(key, num_train)
    slots = jnp.arange(num_batches * batch_size)
    places = order[slots % num_train].reshape(num_batches, batch_size)
    weights = (slots < num_train).astype(jnp.float32).reshape(num_batches, batch_size)
    return places, weights


def _select(state: LaneState, info: EpochInfo) -> LaneState:
    """Keep the parameters of the epoch with the smallest adversarial test loss (section 5.1)."""
    better = (info.test_loss < state.selected_test_loss) & jnp.isfinite(info.train_loss)

    def choose(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(better, a, b), new, old)

    return state._replace(
        selected_params=choose(state.params, state.selected_params),
        selected_model_state=choose(state.model_state, state.selected_model_state),
        selected_epoch=jnp.where(better, state.epoch, state.selected_epoch),
        selected_test_loss=jnp.where(better, info.test_loss, state.selected_test_loss),
    )
