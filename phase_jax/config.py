"""Configuration: a tree of frozen dataclasses of scalars and tuples, read by the command line.

Values that differ between lanes (attack strength, key) are arguments of the compiled program and
never live here; what shapes the program (step counts, widths, batch sizes) does. Every field
carries its help text; `option(..., flag=...)` names the command-line flag where it differs from
the field's own path.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from phase_jax.grid import complete_grid

if TYPE_CHECKING:
    from collections.abc import Iterator

DATASETS = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "svhn_cropped")
RESIDUAL_MODELS = ("preactresnet10", "preactresnet18", "wideresnet10", "wideresnet34")
MODELS = ("mlp", "mnist_cnn", "mnist_cnn_small", *RESIDUAL_MODELS)
ATTACKS = ("pgd", "fgm", "gaussian")
FINE_TUNING_ATTACKS = ("pgd", "fgm")
NORMS = ("linf", "l2")
STEP_RULES = ("relative", "absolute")
OPTIMIZERS = ("sgd", "adam")
OBJECTIVES = ("vanilla", "trades", "mart")
BATCH_NORM_MODES = ("batch", "running")
AUGMENTATIONS = ("none", "crop_flip", "crop_flip_rotate")
SCHEDULES = ("steps", "rise_fall")
SELECTIONS = ("test", "validation")
SOLVER_METHODS = ("interpolation", "line", "regression", "isotonic", "monotone_spline")
TRAIN_LOSSES = ("logged", "evaluated")
CONV_FORMS = ("auto", "lax", "matmul")
COMPUTE_TYPES = ("float32", "bfloat16")


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
        "how convolutions are computed: lax, matmul (for CPUs), or auto by backend",
        flag="conv-form",
    )
    width: int | None = option(
        None,
        "residual networks: channels of the first stage of preactresnet, factor k of wideresnet; "
        "by default the usual 64 and 10",
        flag="width",
    )
    dtype: str = option(
        "float32",
        "residual networks: type of the computation, float32 or bfloat16; parameters, BatchNorm "
        "statistics and logits are float32 always",
        flag="dtype",
    )
    normalise: bool = option(
        True,
        "residual networks: standardise pixels inside the network, by the usual mean and standard "
        "deviation of the named data set where it has them (cifar10, cifar100, svhn_cropped)",
        flag="normalise",
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
    num_restarts: int = option(
        1, "random restarts; the worst per image counts", flag="attack-restarts"
    )
    batch_norm: str | None = option(
        None,
        "statistics of BatchNorm during the attack: batch, or running (evaluation mode); by "
        "default batch for vanilla, running for trades and mart",
        flag="attack-batch-norm",
    )

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
        "vanilla",
        "loss: vanilla (adversarial cross-entropy), trades (clean cross-entropy + beta KL), or "
        "mart (boosted adversarial cross-entropy + beta weighted KL)",
        flag="objective",
    )
    beta: float | None = option(
        None, "weight of the KL term; by default 6 for trades, 5 for mart", flag="beta"
    )
    num_epochs: int = option(20, "passes over the training images", flag="epochs")
    batch_size: int = option(64, "images per step, in the last perhaps fewer", flag="batch-size")
    augmentation: str = option(
        "none",
        "of every training image, each epoch anew: none, crop_flip (reflecting pad of 4), or "
        "crop_flip_rotate (zero pad of 4, up to 15 degrees)",
        flag="augmentation",
    )
    optimizer: str = option("sgd", "sgd or adam", flag="optimizer")
    learning_rate: float = option(
        0.1, "learning rate, to be multiplied by the schedule", flag="learning-rate"
    )
    momentum: float = option(0.9, "momentum of sgd", flag="momentum")
    weight_decay: float = option(
        5e-4, "L2 penalty on all parameters, added to the gradient", flag="weight-decay"
    )
    schedule: str = option(
        "steps",
        "learning rate: steps (drops at --decay-at), or rise_fall (straight up to its full value, "
        "then down along half a cosine)",
        flag="schedule",
    )
    decay_at: tuple[float, ...] = option(
        (0.5, 0.75), "steps: fractions of training after which the rate drops", flag="decay-at"
    )
    decay_factor: float = option(0.1, "steps: factor of each drop", flag="decay-factor")
    rise_from: float = option(0.0, "rise_fall: first multiple of the rate", flag="rise-from")
    rise_until: float = option(
        0.4, "rise_fall: fraction of training at which the rate is full", flag="rise-until"
    )
    fall_to: float = option(0.0, "rise_fall: last multiple of the rate", flag="fall-to")


@dataclasses.dataclass(frozen=True)
class LanesConfig:
    """How lanes (attack strength x seed) are executed."""

    width: int | None = option(
        None,
        "lanes vectorised together; chunks of this width follow one another inside the program. "
        "Bits are equal only at equal width. By default chosen for the backend and network",
        flag="lane-width",
    )
    epochs_per_chunk: int = option(
        1,
        "epochs between two returns to the host: for progress, to save, to stop",
        flag="epochs-per-chunk",
    )
    data_devices: int = option(1, "devices that share each batch of a lane", flag="data-devices")


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
        "list; every number may be a fraction such as 8/255; 0 (clean training) is always added; "
        "auto: found by the sweep itself",
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


@dataclasses.dataclass(frozen=True)
class FineTuningConfig:
    """Fine-tune a clean model at a few small attack strengths, and extrapolate (Algorithm A.1).

    Network, data and the shape of the schedule are a `SweepConfig`'s.
    """

    epsilon_grid: tuple[float, ...] = option(
        (0.25 / 255, 0.5 / 255, 1 / 255),
        "attack strengths to fine-tune at, as radii in pixel space [0, 1]: lo:hi:n or a comma list",
        flag="eps-grid",
    )
    attacks: tuple[str, ...] = option(
        ("pgd", "fgm"), "attacks to fine-tune with: pgd, fgm, or both", flag="attack"
    )
    num_epochs: int = option(40, "epochs of fine-tuning", flag="fine-tune-epochs")
    learning_rate: float | None = option(
        None,
        "full learning rate of fine-tuning; by default that of clean training",
        flag="fine-tune-rate",
    )
    sequential: bool = option(
        False,
        "start each strength from the model of the one before; the paper warns of it",
        flag="sequential",
    )

    @property
    def epsilons(self) -> tuple[float, ...]:
        """What is fine-tuned: the positive strengths of the grid, sorted."""
        return complete_grid(self.epsilon_grid)[1:]


def flatten_tree(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every field of nested settings with its path, such as `training.beta`."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flatten_tree(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
