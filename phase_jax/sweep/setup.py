"""What a sweep needs before anything is compiled: data, network, resolved choices, lanes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.config import RESIDUAL_MODELS
from phase_jax.data import (
    PIXEL_STATISTICS,
    fingerprint_dataset,
    hold_out_validation,
    load_dataset,
)
from phase_jax.losses import BETAS, build_objective
from phase_jax.models import build_model, fingerprint_parameters, wrap_model
from phase_jax.models.build import resolve_conv_form
from phase_jax.sweep.lanes import choose_lane_width
from phase_jax.sweep.memory import estimate_memory, fit_memory
from phase_jax.training import LaneFns, TrainData, make_lane_fns
from phase_jax.training.augmentation import check_augmentation
from phase_jax.training.step import resolve_batch_norm
from phase_jax.types import Dataset, InputError
from phase_jax.validation import validate_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.config import SweepConfig
    from phase_jax.losses import Objective
    from phase_jax.models import Model

VALIDATION_SHARE = 5  # validation takes at most one fifth of the training images


class PreparedSweep(NamedTuple):
    """A sweep before its first compilation: everything is chosen and checked."""

    config: SweepConfig
    """Resolved: every automatic choice filled in."""
    lane: LaneFns
    arrays: TrainData
    tests: tuple[np.ndarray, np.ndarray]
    """Test images and labels."""
    objective: Objective
    frequencies: np.ndarray
    """[K], of the classes among the training images."""
    description: dict[str, Any]
    """Names and fingerprints."""


def prepare_sweep(
    config: SweepConfig,
    *,
    model: Model | Any,
    data: Dataset | None,
    objective: str | Objective | Callable[..., Any] | None,
) -> PreparedSweep:
    """Load the data and settle every choice; see `run_sweep` for arguments and refusals."""
    validate_config(config)
    dataset = prepare_data(config, data)
    train_set, selection = split_selection(config, dataset)
    objective = choose_objective(config, objective)
    network = prepare_model(config, dataset, model)
    asked = config.lanes.width
    config, params_shape = resolve_config(config, dataset, network, objective)
    lane = make_lane_fns(config, network, objective, pixel_scale=dataset.pixel_scale)
    arrays = TrainData(train_set.train_images, train_set.train_labels, *selection)
    lanes = fit_memory(config, estimate_memory(lane, arrays), is_chosen=asked is not None)
    return PreparedSweep(
        dataclasses.replace(config, lanes=lanes),
        lane,
        arrays,
        (dataset.test_images, dataset.test_labels),
        objective,
        count_classes(train_set),
        {
            "data": {
                "name": dataset.name,
                "num_train": len(train_set.train_labels),
                "num_test": len(dataset.test_labels),
                "num_selection": len(selection[1]),
                "num_classes": dataset.num_classes,
                "input_shape": list(dataset.input_shape),
                "sha256": fingerprint_dataset(dataset),
            },
            "model": {"name": network.name, **fingerprint_parameters(params_shape)},
            "objective": objective.name,
            "train_loss": objective.description,
        },
    )


def prepare_data(config: SweepConfig, data: Dataset | None) -> Dataset:
    """Load the named data set, or take the user's own."""
    if data is None:
        return load_dataset(
            config.data.name,
            data_dir=config.data.data_dir,
            num_train=config.data.num_train,
            num_test=config.data.num_test,
            seed=config.seed,
        )
    if not isinstance(data, Dataset):
        raise InputError(f"data: {type(data).__name__} is not allowed; allowed: a Dataset")
    return data


def split_selection(
    config: SweepConfig, dataset: Dataset
) -> tuple[Dataset, tuple[np.ndarray, np.ndarray]]:
    """Decide which images train and which choose the epoch."""
    if config.data.selection == "validation":
        largest = max(len(dataset.train_labels) // VALIDATION_SHARE, 1)
        train_set, images, labels = hold_out_validation(
            dataset, min(config.data.num_selection, largest), config.seed
        )
    else:
        order = np.random.default_rng(config.seed).permutation(len(dataset.test_labels))
        places = np.sort(order[: config.data.num_selection])
        train_set = dataset
        images, labels = dataset.test_images[places], dataset.test_labels[places]
    num_train = len(train_set.train_labels)
    if config.training.batch_size > num_train:
        raise InputError(
            f"--batch-size: {config.training.batch_size} is larger than the {num_train} training "
            f"images; allowed: 1 to {num_train}"
        )
    return train_set, (images, labels)


def prepare_model(config: SweepConfig, dataset: Dataset, model: Any) -> Model:
    """Build the named network, or wrap the user's own."""
    if model is not None:
        return wrap_model(model, dataset.input_shape)
    chosen = config.model
    options: dict[str, Any] = {"hidden": chosen.hidden, "conv_form": chosen.conv_form}
    if chosen.name == "mlp":
        options = {"widths": chosen.widths}
    elif chosen.name in RESIDUAL_MODELS:
        options = {"width": chosen.width, "dtype": chosen.dtype, "conv_form": chosen.conv_form}
        if chosen.normalise and dataset.name in PIXEL_STATISTICS:
            options["mean"], options["std"] = PIXEL_STATISTICS[dataset.name]
    return build_model(
        chosen.name,
        num_classes=dataset.num_classes,
        input_shape=dataset.input_shape,
        **options,
    )


def choose_objective(config: SweepConfig, objective: Any) -> Objective:
    """Build the named objective, or wrap the user's own."""
    if objective is None:
        return build_objective(config.training.objective, beta=config.training.beta)
    return build_objective(objective)


def choose_beta(config: SweepConfig) -> float | None:
    """Fill in the weight of the KL term; None for an objective that has none."""
    beta = config.training.beta
    return BETAS.get(config.training.objective) if beta is None else beta


def resolve_config(
    config: SweepConfig, dataset: Dataset, network: Model, objective: Objective
) -> tuple[SweepConfig, Any]:
    """Fill in every automatic choice and check that the network fits the data.

    Running the resolved configuration on the same data gives the same result.

    Args:
      config: As the user gave it.
      dataset: Loaded or the user's own, before validation images are held out.
      network: The network.
      objective: The objective.

    Returns:
      The resolved configuration and the shapes of one lane's parameters.

    Raises:
      InputError: The network's logits do not fit the classes, or the augmentation the images.
    """
    check_augmentation(config.training.augmentation, dataset.input_shape)
    params_shape, state_shape = jax.eval_shape(network.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((2, *dataset.input_shape), jnp.float32)
    logits, _ = jax.eval_shape(
        lambda params, state, x: network.apply(params, state, x, train=False),
        params_shape,
        state_shape,
        image,
    )
    if logits.shape != (2, dataset.num_classes):
        raise InputError(
            f"model: gives logits of shape {list(logits.shape)} for 2 images; allowed: "
            f"[2, {dataset.num_classes}], one logit a class"
        )
    num_lanes = len(config.epsilons) * config.num_seeds
    lanes = config.lanes
    if lanes.width is None:
        num_groups = max(1, jax.device_count() // lanes.data_devices)
        width = choose_lane_width(num_lanes, params_shape, jax.default_backend(), num_groups)
        lanes = dataclasses.replace(lanes, width=width)
    form = resolve_conv_form(config.model.conv_form)
    config = dataclasses.replace(
        config,
        epsilon_grid=config.epsilons,
        lanes=lanes,
        data=dataclasses.replace(
            config.data,
            num_train=len(dataset.train_labels),
            num_test=len(dataset.test_labels),
        ),
        model=dataclasses.replace(config.model, conv_form=form),
        attack=dataclasses.replace(
            config.attack,
            step_size=config.attack.step_length(),
            batch_norm=resolve_batch_norm(config, objective),
        ),
        training=dataclasses.replace(config.training, beta=choose_beta(config)),
        evaluation=dataclasses.replace(
            config.evaluation, step_size=config.evaluation.step_length()
        ),
    )
    return config, params_shape


def order_lanes(
    config: SweepConfig, epsilons: np.ndarray, seeds: np.ndarray
) -> tuple[np.ndarray, jax.Array]:
    """Order lanes as (E, S): epsilons and keys [L]; a seed has one key at every attack strength."""
    seed_keys = jax.vmap(lambda s: jax.random.fold_in(jax.random.key(config.seed), s))(
        jnp.asarray(seeds)
    )
    keys = jnp.tile(seed_keys, len(epsilons))
    return np.repeat(np.asarray(epsilons, np.float32), len(seeds)), keys


def count_classes(train_set: Dataset) -> np.ndarray:
    """Compute the frequencies [K] of the classes among the training images."""
    counts = np.bincount(train_set.train_labels, minlength=train_set.num_classes)
    return counts / counts.sum()
