"""Take up a finished run again: its data, network, objective and lanes, and nothing else's."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from phase_jax.data import fingerprint_dataset
from phase_jax.models import fingerprint_parameters
from phase_jax.sweep.setup import choose_objective, prepare_data, prepare_model
from phase_jax.types import InputError

if TYPE_CHECKING:
    from phase_jax.losses import Objective
    from phase_jax.models import Model
    from phase_jax.sweep.result import SweepResult
    from phase_jax.types import Dataset


def reopen_data(
    result: SweepResult, data: Dataset | None = None, *, data_dir: str | None = None
) -> Dataset:
    """Load the images that a run used, or check that those given are they.

    Args:
      result: The run.
      data: The user's own images, where the run had such.
      data_dir: Directory with prepared data, where they have moved since.

    Returns:
      The data set, before validation images are held out.

    Raises:
      InputError: They are not the run's, or are not there.
    """
    config = result.config
    if data_dir is not None:
        moved = dataclasses.replace(config.data, data_dir=data_dir)
        config = dataclasses.replace(config, data=moved)
    expected, named = result.description["data"], data is None
    if named and expected["name"] != config.data.name:
        raise InputError(
            f"data: the run used images of its own ({expected['name']!r}); allowed: those, given "
            "from Python as data="
        )
    dataset = prepare_data(config, data)
    if fingerprint_dataset(dataset) != expected["sha256"]:
        raise InputError(
            f"data: {dataset.name!r} {'as loaded' if named else 'as given'} differs from what the "
            f"run used (SHA-256 {expected['sha256'][:12]}...); allowed: the same images"
        )
    return dataset


def reopen_model(result: SweepResult, dataset: Dataset, model: Any = None) -> Model:
    """Build the network of a run, or check that the one given has its parameters.

    Args:
      result: The run.
      dataset: Its images.
      model: The user's own network, where the run had one: a `Model` or a Flax Linen module.

    Returns:
      The network.

    Raises:
      InputError: Its parameters are not those of the run.
    """
    network = prepare_model(result.config, dataset, model)
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    found, expected = fingerprint_parameters(params), result.description["model"]
    if found["sha256"] != expected["sha256"]:
        raise InputError(
            f"model: {network.name} with {found['num_parameters']:,} parameters is not the run's "
            f"network ({expected['name']}, {expected['num_parameters']:,}); allowed: the same "
            "network, from Python as model="
        )
    return network


def reopen_objective(result: SweepResult, objective: Any = None) -> Objective:
    """Build the objective of a run, or check that the one given has its name.

    Args:
      result: The run.
      objective: The user's own loss, where the run had one.

    Returns:
      The objective.

    Raises:
      InputError: It is another one.
    """
    chosen = choose_objective(result.config, objective)
    expected = result.description["objective"]
    if chosen.name != expected:
        raise InputError(
            f"objective: {chosen.name} is not the run's ({expected}); allowed: the same loss, "
            "from Python as objective="
        )
    return chosen


def find_lane(result: SweepResult, epsilon: float, *, field: str) -> int:
    """Find an attack strength among those of a run.

    Args:
      result: The run.
      epsilon: A radius in pixel space [0, 1].
      field: What a refusal calls it: the argument or flag that the user gave.

    Returns:
      Its place on the axis E.

    Raises:
      InputError: The run did not train it.
    """
    (places,) = np.nonzero(np.isclose(result.epsilons, epsilon, rtol=1e-5, atol=1e-9))
    if not places.size:
        trained = ", ".join(f"{value:.6g}" for value in result.epsilons)
        raise InputError(f"{field}: {epsilon:.6g} was not trained in this run; allowed: {trained}")
    return int(places[0])


def take_lane(tree: Any, epsilon_place: int, seed_place: int) -> Any:
    """Take one lane out of a tree with leaves [E, S, ...]."""
    return jax.tree.map(lambda leaf: leaf[epsilon_place, seed_place], tree)
