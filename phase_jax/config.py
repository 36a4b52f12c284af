"""Configuration: a tree of frozen dataclasses of scalars and tuples, read by the command line.

Values that differ between lanes (attack strength, key) are arguments of the compiled program and
never live here; what shapes the program (step counts, widths, batch sizes) does. Every field
carries its help text; `option(..., flag=...)` names the command-line flag where it differs from
the field's own path.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from phase_jax.grid import complete_grid
from phase_jax.types import InputError

DATASETS = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "svhn_cropped")
MODELS = ("mlp", "mnist_cnn", "mnist_cnn_small")
ATTACKS = ("pgd", "fgm", "gaussian")
NORMS = ("linf", "l2")
STEP_RULES = ("relative", "absolute")
OPTIMIZERS = ("sgd", "adam")
OBJECTIVES = ("vanilla",)
SELECTIONS = ("test", "validation")
SOLVER_METHODS = ("interpolation", "line", "regression", "isotonic", "monotone_spline")
TRAIN_LOSSES = ("logged", "evaluated")
CONV_FORMS = ("auto", "lax", "matmul")


def option(default: Any, text: str, *, flag: str | None = None) -> Any:
    """Declare a configuration field with its help text and, if it differs, its flag."""
    return dataclasses.field(default=default, metadata={"help": text, "flag": flag})


def group(config_type: type, text: str) -> Any:
    """Declare a nested configuration with its help text."""
    return dataclasses.field(default_factory=config_type, metadata={"help": text, "flag": None})


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images, and how many."""

    name: str = option("digits", f"data set: {', '.join(DATASETS)}", flag="dataset")
    data_dir: str | None = option(
        None,
        "directory with prepared TFDS data; by default $TFDS_DATA_DIR or ~/tensorflow_datasets",
        flag="data-dir",
    )
    num_train: int | None = option(
        None, "train on a stratified, seeded subset of this size; by default all", flag="num-train"
    )
    num_test: int | None = option(
        None, "test on a stratified, seeded subset of this size; by default all", flag="num-test"
    )
    selection: str = option(
        "test",
        "images that choose the epoch: test (as in the paper), or validation (held out of the "
        "training set)",
        flag="selection",
    )
    num_selection: int = option(
        2_000,
        "number of images that choose the epoch (at most what there is)",
        flag="num-selection",
    )


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Which network."""

    name: str = option("mlp", f"network: {', '.join(MODELS)}", flag="model")
    widths: tuple[int, ...] = option((64, 64), "hidden widths of mlp", flag="widths")
    hidden: int = option(
        128, "hidden units of the first fully connected layer of the MNIST networks", flag="hidden"
    )
    conv_form: str = option(
        "auto",
        "how convolutions are computed: lax, matmul (fast on a CPU), or auto by backend",
        flag="conv-form",
    )


@dataclasses.dataclass(frozen=True)
class AttackConfig:
    """The attack of adversarial training."""

    name: str = option(
        "pgd", "pgd, fgm (one step), or gaussian (noise of the same radius)", flag="attack"
    )
    norm: str = option("linf", "norm of the attack ball: linf or l2", flag="norm")
    num_steps: int = option(10, "gradient steps of pgd (fgm always takes one)", flag="attack-steps")
    step_size: float | None = option(
        None,
        "step length, in units of epsilon (relative) or of pixels (absolute); by default "
        "2.5/steps for pgd and 1.25 for fgm, relative",
        flag="step-size",
    )
    step_rule: str = option(
        "relative", "unit of --step-size: relative to epsilon, or absolute", flag="step-rule"
    )
    random_start: bool = option(True, "start from a random point of the ball", flag="random-start")

    def step_length(self) -> float:
        """Step length in the unit named by `step_rule`."""
        if self.step_size is not None:
            return self.step_size
        return 1.25 if self.name == "fgm" else 2.5 / self.num_steps


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """The PGD attack that every lane is evaluated with (same norm as training)."""

    num_steps: int = option(10, "gradient steps", flag="eval-steps")
    step_size: float | None = option(
        None, "step length; by default 2.5/steps, relative", flag="eval-step-size"
    )
    step_rule: str = option(
        "relative", "unit of --eval-step-size: relative or absolute", flag="eval-step-rule"
    )
    random_start: bool = option(
        True, "start from a random point of the ball", flag="eval-random-start"
    )
    num_restarts: int = option(
        1, "random restarts; the worst per image counts", flag="eval-restarts"
    )
    batch_size: int = option(500, "images evaluated at once", flag="eval-batch-size")

    def step_length(self) -> float:
        """Step length in the unit named by `step_rule`."""
        return 2.5 / self.num_steps if self.step_size is None else self.step_size


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How each lane is trained."""

    objective: str = option(
        "vanilla", "loss: vanilla (adversarial cross-entropy)", flag="objective"
    )
    num_epochs: int = option(20, "passes over the training images", flag="epochs")
    batch_size: int = option(
        64, "images per step; the last batch may be smaller", flag="batch-size"
    )
    optimizer: str = option("sgd", "sgd or adam", flag="optimizer")
    learning_rate: float = option(0.1, "initial learning rate", flag="learning-rate")
    momentum: float = option(0.9, "momentum of sgd", flag="momentum")
    weight_decay: float = option(
        5e-4, "L2 penalty on all parameters, added to the gradient", flag="weight-decay"
    )
    decay_at: tuple[float, ...] = option(
        (0.5, 0.75), "fractions of training after which the learning rate drops", flag="decay-at"
    )
    decay_factor: float = option(0.1, "factor of each drop", flag="decay-factor")


@dataclasses.dataclass(frozen=True)
class LanesConfig:
    """How lanes (attack strength x seed) are executed."""

    width: int | None = option(
        None,
        "lanes vectorised together; chunks of this width follow one another inside the program. "
        "Bits are equal only at equal width. By default chosen for the backend and network",
        flag="lane-width",
    )
    epochs_per_chunk: int | None = option(
        None,
        "epochs between two returns to the host (progress); by default about 20 returns a run",
        flag="epochs-per-chunk",
    )


@dataclasses.dataclass(frozen=True)
class SolverConfig:
    """How the loss curve becomes epsilon*."""

    method: str = option("interpolation", f"{', '.join(SOLVER_METHODS)}", flag="solver")
    train_loss: str = option(
        "logged",
        "curve to solve: the train loss logged during the selected epoch (as the paper's tables) "
        "or the one evaluated with the selected parameters (as its definition)",
        flag="train-loss",
    )
    confidence: float = option(0.95, "nominal coverage of the interval", flag="confidence")
    num_resamples: int = option(
        2_000, "bootstrap resamples of the test images", flag="num-resamples"
    )


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """Train one network at many attack strengths and seeds; solve for epsilon*.

    Every attack strength is a radius in pixel space [0, 1]. Zero (clean training) is always added
    to the grid. The defaults are the default run: scikit-learn's digits on a small network.
    """

    epsilon_grid: tuple[float, ...] = option(
        tuple(round(0.01 * i, 2) for i in range(11)),
        "attack strengths, as radii in pixel space [0, 1]: lo:hi:n (ends included) or a comma "
        "list; every number may be a fraction such as 8/255; 0 (clean training) is always added",
        flag="eps-grid",
    )
    num_seeds: int = option(4, "independent repetitions of every attack strength", flag="seeds")
    seed: int = option(0, "master seed: data subset, initialisation, order, noise", flag="seed")
    target_epsilon: float | None = option(
        None,
        "an attack strength to compare with epsilon*, in pixel space [0, 1]",
        flag="target-eps",
    )
    data: DataConfig = group(DataConfig, "Images, and how many")
    model: ModelConfig = group(ModelConfig, "The network")
    attack: AttackConfig = group(AttackConfig, "The attack in adversarial training")
    evaluation: EvaluationConfig = group(
        EvaluationConfig, "The PGD attack that lanes are evaluated with (same norm)"
    )
    training: TrainingConfig = group(TrainingConfig, "How every lane is trained")
    lanes: LanesConfig = group(LanesConfig, "How lanes (attack strength x seed) are executed")
    solver: SolverConfig = group(SolverConfig, "How the loss curve becomes epsilon*")

    @property
    def epsilons(self) -> tuple[float, ...]:
        """The grid, sorted, with zero: what is trained."""
        return complete_grid(self.epsilon_grid)


def validate_config(config: SweepConfig) -> SweepConfig:
    """Check every field before anything is loaded or compiled.

    Args:
      config: The configuration.

    Returns:
      The same configuration.

    Raises:
      InputError: A field has a value that is not allowed; the message names the flag.
    """
    data, model, attack, evaluation = config.data, config.model, config.attack, config.evaluation
    training, lanes, solver = config.training, config.lanes, config.solver
    complete_grid(config.epsilon_grid, "--eps-grid")
    _require_number("--target-eps", config.target_epsilon, 0, optional=True)
    _require_integer("--seeds", config.num_seeds, 1, 10_000)
    _require_integer("--seed", config.seed, 0, 2**31 - 1)
    _require_name("--dataset", data.name, DATASETS)
    _require_integer("--num-train", data.num_train, 1, optional=True)
    _require_integer("--num-test", data.num_test, 1, optional=True)
    _require_name("--selection", data.selection, SELECTIONS)
    _require_integer("--num-selection", data.num_selection, 1)
    _require_name("--model", model.name, MODELS)
    for width in model.widths:
        _require_integer("--widths", width, 1)
    _require_integer("--hidden", model.hidden, 1)
    _require_name("--conv-form", model.conv_form, CONV_FORMS)
    _require_name("--attack", attack.name, ATTACKS)
    _require_name("--norm", attack.norm, NORMS)
    _require_integer("--attack-steps", attack.num_steps, 1)
    _require_number("--step-size", attack.step_size, 0, optional=True)
    _require_name("--step-rule", attack.step_rule, STEP_RULES)
    _require_absolute_size("--step-size", attack.step_size, attack.step_rule)
    _require_integer("--eval-steps", evaluation.num_steps, 1)
    _require_number("--eval-step-size", evaluation.step_size, 0, optional=True)
    _require_name("--eval-step-rule", evaluation.step_rule, STEP_RULES)
    _require_absolute_size("--eval-step-size", evaluation.step_size, evaluation.step_rule)
    _require_integer("--eval-restarts", evaluation.num_restarts, 1)
    _require_integer("--eval-batch-size", evaluation.batch_size, 1)
    _require_name("--objective", training.objective, OBJECTIVES)
    _require_integer("--epochs", training.num_epochs, 1)
    _require_integer("--batch-size", training.batch_size, 1)
    _require_name("--optimizer", training.optimizer, OPTIMIZERS)
    _require_number("--learning-rate", training.learning_rate, 0)
    _require_number("--momentum", training.momentum, 0, 1)
    _require_number("--weight-decay", training.weight_decay, 0)
    for fraction in training.decay_at:
        _require_number("--decay-at", fraction, 0, 1)
    _require_number("--decay-factor", training.decay_factor, 0)
    _require_integer("--lane-width", lanes.width, 1, optional=True)
    _require_integer("--epochs-per-chunk", lanes.epochs_per_chunk, 1, optional=True)
    _require_name("--solver", solver.method, SOLVER_METHODS)
    _require_name("--train-loss", solver.train_loss, TRAIN_LOSSES)
    if not 0 < solver.confidence < 1:
        raise InputError(f"--confidence: {solver.confidence!r}; allowed: between 0 and 1")
    _require_integer("--num-resamples", solver.num_resamples, 100)
    return config


def _require_name(field: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{field}: {value!r} is not known; allowed: {', '.join(allowed)}")


def _require_integer(
    field: str, value: Any, low: int, high: float = math.inf, *, optional: bool = False
) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        bound = f"at least {low}" if math.isinf(high) else f"{low} to {high}"
        raise InputError(f"{field}: {value!r} is not allowed; allowed: a whole number, {bound}")


def _require_number(
    field: str, value: Any, low: float, high: float = math.inf, *, optional: bool = False
) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{field}: {value!r} is not allowed; allowed: a number")
    if not math.isfinite(value) or not low <= value <= high:
        bound = f"at least {low}" if math.isinf(high) else f"{low} to {high}"
        raise InputError(f"{field}: {value!r} is not allowed; allowed: a finite number, {bound}")


def _require_absolute_size(field: str, size: float | None, rule: str) -> None:
    if rule == "absolute" and size is None:
        raise InputError(
            f"{field}: an absolute step rule needs it; allowed: a number of pixels > 0"
        )
