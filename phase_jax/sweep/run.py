"""Run a sweep: data and network in, lanes trained and evaluated, epsilon* solved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

from phase_jax.data import fingerprint_dataset
from phase_jax.environment import describe_environment
from phase_jax.models import fingerprint_parameters
from phase_jax.sweep.assemble import assemble_result
from phase_jax.sweep.execute import (
    Clock,
    SweepProgress,
    evaluate_lanes,
    make_notifier,
    train_lanes,
)
from phase_jax.sweep.setup import (
    choose_objective,
    count_classes,
    lay_out_lanes,
    prepare_data,
    prepare_model,
    resolve_config,
    split_selection,
)
from phase_jax.training import TrainData, make_lane_fns
from phase_jax.validation import validate_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.config import SweepConfig
    from phase_jax.losses import Objective
    from phase_jax.models import Model
    from phase_jax.sweep.result import SweepResult
    from phase_jax.types import Dataset


def run_sweep(
    config: SweepConfig,
    *,
    model: Model | Any = None,
    data: Dataset | None = None,
    objective: str | Objective | Callable[..., Any] | None = None,
    progress_fn: Callable[[SweepProgress], None] | None = None,
) -> SweepResult:
    """Train every attack strength and seed as lanes of one program; solve for epsilon*.

    Args:
      config: What to run. Attack strengths are radii in pixel space [0, 1].
      model: The user's own network in place of the named one: a `Model` or a Flax Linen module.
      data: The user's own images in place of the named data set.
      objective: The user's own loss `(logits [B, K], labels [B]) -> [B]`, or an `Objective`, in
        place of the named one.
      progress_fn: Called at the start of each phase and after each chunk of epochs.

    Returns:
      The result; `phase_jax.report.write_result` writes it to a directory.

    Raises:
      InputError: A field of the configuration, or an argument, is not allowed.
    """
    validate_config(config)
    clock = Clock()
    environment = describe_environment()
    dataset = prepare_data(config, data)
    train_set, selection = split_selection(config, dataset)
    objective = choose_objective(config, objective)
    network = prepare_model(config, dataset, model)
    config, params_shape = resolve_config(config, dataset, network, objective)
    lane = make_lane_fns(
        config,
        network,
        objective,
        pixel_scale=dataset.pixel_scale,
    )
    arrays = jax.device_put(TrainData(train_set.train_images, train_set.train_labels, *selection))
    tests = jax.device_put((dataset.test_images, dataset.test_labels))
    epsilons, keys = lay_out_lanes(config)
    notify = make_notifier(config, progress_fn, clock, num_train=len(train_set.train_labels))
    states, history = train_lanes(config, lane, epsilons, keys, arrays, clock, notify)
    final = evaluate_lanes(config, lane, states, epsilons, arrays, tests, clock, notify)
    return assemble_result(
        config,
        states,
        history,
        final,
        objective=objective,
        frequencies=count_classes(train_set),
        description={
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
        environment=environment,
        clock=clock,
    )
