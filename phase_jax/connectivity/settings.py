"""What a study of connectivity is asked for. No JAX."""

from __future__ import annotations

import dataclasses

from phase_jax.config import option
from phase_jax.requirements import require_integer, require_name, require_number
from phase_jax.types import InputError

CURVES = ("bezier", "polygon")
PAIRINGS = ("other", "same")
FILES = frozenset(
    {"result.json", "points.csv", "planes.png", "planes.svg", "profiles.png", "profiles.svg"}
)


@dataclasses.dataclass(frozen=True)
class ConnectivitySettings:
    """Which networks of a run are connected, by which curve, and where it is measured."""

    from_epsilon: float = option(
        0.0,
        "attack strength of the networks at which curves start, in pixel space [0, 1]",
        flag="from-eps",
    )
    to_epsilons: tuple[float, ...] | None = option(
        None,
        "attack strengths of the networks at which curves end: a comma list or lo:hi:n; by default "
        "all of the run",
        flag="to-eps",
    )
    seeds: tuple[int, ...] | None = option(
        None, "seeds of the networks at which curves start; by default all of the run"
    )
    pairing: str | None = option(
        None,
        "seed of the network at the end: other (the next of --seeds: initialised by itself) "
        "or same (same initialisation and order of images); by default other, with one seed same",
    )
    curve: str = option("bezier", f"form of the curve: {', '.join(CURVES)}")
    num_epochs: int | None = option(
        None, "passes over the training images; by default as many as the run's", flag="epochs"
    )
    learning_rate: float | None = option(
        None, "learning rate of SGD; by default the run's, 0.015 after adam", flag="learning-rate"
    )
    num_points: int = option(61, "points on the curve, and on the straight line", flag="points")
    grid_size: int = option(21, "points on each side of the plane", flag="grid-size")
    margin: float = option(
        0.2, "the plane reaches this share of its sides beyond the three networks"
    )
    num_images: int | None = option(
        None,
        "measure on so many of the training images, chosen at random, and of the test images; by "
        "default on all (BatchNorm's statistics always come from all training images)",
        flag="num-images",
    )
    width: int | None = option(
        None, "networks measured at once; by default chosen for the backend", flag="width"
    )
    seed: int = option(0, "decides order, points and noise of the curves' training")
    confidence: float = option(0.95, "nominal coverage of the intervals")


def validate_settings(settings: ConnectivitySettings) -> ConnectivitySettings:
    """Check every field that can be checked without the run.

    Args:
      settings: The settings.

    Returns:
      The same settings.

    Raises:
      InputError: A field has a value that is not allowed; the message names the flag.
    """
    require_number("--from-eps", settings.from_epsilon, 0)
    for epsilon in settings.to_epsilons or ():
        require_number("--to-eps", epsilon, 0)
    for seed in settings.seeds or ():
        require_integer("--seeds", seed, 0)
    if settings.seeds is not None and len(set(settings.seeds)) < max(len(settings.seeds), 1):
        raise InputError(f"--seeds: {settings.seeds} is not allowed; allowed: each seed once")
    if settings.pairing is not None:
        require_name("--pairing", settings.pairing, PAIRINGS)
    require_name("--curve", settings.curve, CURVES)
    require_integer("--epochs", settings.num_epochs, 1, optional=True)
    require_number("--learning-rate", settings.learning_rate, 1e-12, optional=True)
    require_integer("--points", settings.num_points, 3, 10_000)
    require_integer("--grid-size", settings.grid_size, 2, 1_000)
    require_number("--margin", settings.margin, 0, 10)
    require_integer("--num-images", settings.num_images, 1, optional=True)
    require_integer("--width", settings.width, 1, optional=True)
    require_integer("--seed", settings.seed, 0, 2**31 - 1)
    require_number("--confidence", settings.confidence, 0.5, 0.9999)
    return settings
