"""A few test images under attack, kept with the result so that people can look at them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from phase_jax.compilation import choose_compiler_options
from phase_jax.sweep.lanes import map_lanes
from phase_jax.sweep.result import AdversarialExamples
from phase_jax.types import LaneStatus

if TYPE_CHECKING:
    from phase_jax.sweep.execute import Clock
    from phase_jax.sweep.result import LaneResults
    from phase_jax.sweep.setup import PreparedSweep

NUM_EXAMPLES = 6


def attack_examples(
    sweep: PreparedSweep, results: LaneResults, clock: Clock
) -> AdversarialExamples:
    """Attack a few test images with one lane's selected parameters at every attack strength.

    Args:
      sweep: Its test images and its functions of a lane.
      results: Lanes, trained.
      clock: Takes the seconds spent.

    Returns:
      The images, clean and attacked, and what the lanes make of them.
    """
    since = time.perf_counter()
    sound = results.lanes.status == LaneStatus.OK
    seeds = np.argmax(sound, axis=1)  # the first that is OK, or 0
    places = np.arange(len(seeds))
    params, state = jax.tree.map(
        lambda leaf: leaf[places, seeds], (results.params, results.model_state)
    )
    chosen = choose_examples(sweep.tests[1])
    images, labels = (array[chosen] for array in sweep.tests)

    def perturb(params: Any, state: Any, epsilon: Any, images: Any, labels: Any, key: Any) -> Any:
        return sweep.lane.perturb(params, state, images, labels, key, epsilon)

    width = min(sweep.config.lanes.width or 1, len(seeds))
    epsilons = jnp.asarray(results.epsilons, jnp.float32)
    run = jax.jit(
        map_lanes(perturb, width=width, num_shared=3),
        compiler_options=choose_compiler_options(jax.default_backend()),
    )
    key = jax.random.key(sweep.config.seed)
    shown = jax.device_get(run(params, state, epsilons, images, labels, key))
    clock.add("evaluate", since)
    return AdversarialExamples(
        images=shown.clean_images[0],
        labels=labels,
        seeds=np.where(sound.any(axis=1), seeds, -1),
        adversarial=shown.images,
        probabilities=shown.probabilities,
        clean_probabilities=shown.clean_probabilities,
    )


def choose_examples(labels: np.ndarray) -> np.ndarray:
    """Choose images to show: the first of each class, then the second of each, up to six.

    Args:
      labels: [N].

    Returns:
      Their places, at most `NUM_EXAMPLES`.
    """
    ranks = np.zeros(len(labels), int)  # how many earlier images have the same label
    for label in np.unique(labels):
        (places,) = np.nonzero(labels == label)
        ranks[places] = np.arange(len(places))
    return np.lexsort((labels, ranks))[:NUM_EXAMPLES]
