"""Refuse a configuration before anything is loaded or compiled."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import TYPE_CHECKING, Any

from phase_jax import config as known
from phase_jax.grid import complete_grid
from phase_jax.requirements import (
    require_absolute_size,
    require_integer,
    require_name,
    require_number,
)
from phase_jax.types import InputError

if TYPE_CHECKING:
    from phase_jax.config import (
        AttackConfig,
        DataConfig,
        EvaluationConfig,
        FineTuningConfig,
        ModelConfig,
        SweepConfig,
        TrainingConfig,
    )


def check_types(config: Any) -> None:
    """Refuse a field whose value is not of its declared type, groups included.

    The command line reads nothing else; a configuration made in Python may hold anything.

    Raises:
      InputError: A field has such a value; the message names the flag.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        flag = f"--{field.metadata.get('flag') or field.name.replace('_', '-')}"
        if not _fits(value, hint):
            allowed = getattr(hint, "__name__", str(hint)) if isinstance(hint, type) else hint
            raise InputError(f"{flag}: {value!r} is not allowed; allowed: {allowed}")
        if dataclasses.is_dataclass(value):
            check_types(value)


def _fits(value: Any, hint: Any) -> bool:
    """Say whether a value is of a declared type; whole numbers are numbers."""
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        return isinstance(value, tuple) and all(_fits(item, kind) for item in value)
    if isinstance(hint, types.UnionType):
        return any(_fits(value, kind) for kind in typing.get_args(hint))
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    if hint is float and isinstance(value, int):
        return abs(value) < 2**53
    return isinstance(value, hint)


def validate_config(config: SweepConfig) -> SweepConfig:
    """Check every field before anything is loaded or compiled.

    Args:
      config: The configuration.

    Returns:
      The same configuration.

    Raises:
      InputError: A field has a value that is not allowed; the message names the flag.
    """
    check_types(config)
    complete_grid(config.epsilon_grid, "--eps-grid")
    require_number("--target-eps", config.target_epsilon, 0, optional=True)
    require_integer("--seeds", config.num_seeds, 1, 10_000)
    require_integer("--seed", config.seed, 0, 2**31 - 1)
    _check_data(config.data)
    _check_model(config.model)
    _check_attack(config.attack)
    _check_evaluation(config.evaluation)
    _check_training(config.training)
    _check_start(config.attack, config.training)
    require_integer("--lane-width", config.lanes.width, 1, optional=True)
    require_integer("--epochs-per-chunk", config.lanes.epochs_per_chunk, 1)
    _check_split(config.lanes.data_devices, config.training.batch_size)
    solver = config.solver
    require_name("--solver", solver.method, known.SOLVER_METHODS)
    require_name("--train-loss", solver.train_loss, known.TRAIN_LOSSES)
    if not 0 < solver.confidence < 1:
        raise InputError(f"--confidence: {solver.confidence!r}; allowed: between 0 and 1")
    require_integer("--num-resamples", solver.num_resamples, 100)
    return config


def validate_fine_tuning(fine_tuning: FineTuningConfig) -> FineTuningConfig:
    """Check every field of a fine-tuning; see `validate_config`.

    Raises:
      InputError: A field has a value that is not allowed; the message names the flag.
    """
    complete_grid(fine_tuning.epsilon_grid, "--eps-grid")
    attacks = fine_tuning.attacks
    for attack in attacks:
        require_name("--attack", attack, known.FINE_TUNING_ATTACKS)
    if not attacks or len(set(attacks)) < len(attacks):
        raise InputError(f"--attack: {attacks!r} is not allowed; allowed: pgd, fgm, or both")
    require_integer("--fine-tune-epochs", fine_tuning.num_epochs, 1)
    require_number("--fine-tune-rate", fine_tuning.learning_rate, 0, optional=True)
    return fine_tuning


def _check_data(data: DataConfig) -> None:
    require_name("--dataset", data.name, known.DATASETS)
    require_integer("--num-train", data.num_train, 1, optional=True)
    require_integer("--num-test", data.num_test, 1, optional=True)
    require_name("--selection", data.selection, known.SELECTIONS)
    require_integer("--num-selection", data.num_selection, 1)


def _check_model(model: ModelConfig) -> None:
    require_name("--model", model.name, known.MODELS)
    for width in model.widths:
        require_integer("--widths", width, 1)
    require_integer("--hidden", model.hidden, 1)
    require_name("--conv-form", model.conv_form, known.CONV_FORMS)
    require_integer("--width", model.width, 1, optional=True)
    require_name("--dtype", model.dtype, known.COMPUTE_TYPES)


def _check_attack(attack: AttackConfig) -> None:
    require_name("--attack", attack.name, known.ATTACKS)
    require_name("--norm", attack.norm, known.NORMS)
    require_integer("--attack-steps", attack.num_steps, 1)
    require_number("--step-size", attack.step_size, 0, optional=True)
    require_name("--step-rule", attack.step_rule, known.STEP_RULES)
    require_absolute_size("--step-size", attack.step_size, attack.step_rule)
    require_integer("--attack-restarts", attack.num_restarts, 1)
    if attack.batch_norm is not None:
        require_name("--attack-batch-norm", attack.batch_norm, known.BATCH_NORM_MODES)


def _check_evaluation(evaluation: EvaluationConfig) -> None:
    require_integer("--eval-steps", evaluation.num_steps, 1)
    require_number("--eval-step-size", evaluation.step_size, 0, optional=True)
    require_name("--eval-step-rule", evaluation.step_rule, known.STEP_RULES)
    require_absolute_size("--eval-step-size", evaluation.step_size, evaluation.step_rule)
    require_integer("--eval-restarts", evaluation.num_restarts, 1)
    require_integer("--eval-batch-size", evaluation.batch_size, 1)


def _check_training(training: TrainingConfig) -> None:
    require_name("--objective", training.objective, known.OBJECTIVES)
    require_number("--beta", training.beta, 0, optional=True)
    if training.beta is not None and training.objective == "vanilla":
        raise InputError(f"--beta: {training.beta!r} means nothing to vanilla; allowed: None")
    require_integer("--epochs", training.num_epochs, 1)
    require_integer("--batch-size", training.batch_size, 1)
    require_name("--augmentation", training.augmentation, known.AUGMENTATIONS)
    require_name("--optimizer", training.optimizer, known.OPTIMIZERS)
    require_number("--learning-rate", training.learning_rate, 0)
    require_number("--momentum", training.momentum, 0, 1)
    require_number("--weight-decay", training.weight_decay, 0)
    require_name("--schedule", training.schedule, known.SCHEDULES)
    require_number("--rise-from", training.rise_from, 0, 1)
    require_number("--rise-until", training.rise_until, 0, 1)
    require_number("--fall-to", training.fall_to, 0, 1)
    for fraction in training.decay_at:
        require_number("--decay-at", fraction, 0, 1)
    require_number("--decay-factor", training.decay_factor, 0)


def _check_split(data_devices: int, batch_size: int) -> None:
    """Refuse devices that could not have equal shares of a batch."""
    require_integer("--data-devices", data_devices, 1)
    if batch_size % data_devices:
        raise InputError(
            f"--data-devices: {data_devices} does not divide the batch of {batch_size} images; "
            "allowed: a divisor of --batch-size"
        )


def _check_start(attack: AttackConfig, training: TrainingConfig) -> None:
    """Refuse attacks that could not leave the image, or that would repeat themselves."""
    if attack.random_start:
        return
    if attack.num_restarts > 1:
        raise InputError(
            f"--attack-restarts: {attack.num_restarts} needs a random start; allowed without: 1"
        )
    if training.objective == "trades" and attack.name != "gaussian":
        raise InputError(
            "--random-start: False is not allowed for trades, whose attack has no gradient at the "
            "image itself; allowed: True"
        )
