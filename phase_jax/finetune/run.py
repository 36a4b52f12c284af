"""Run Algorithm A.1: a clean model, lanes fine-tuned from it, epsilon* extrapolated."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from phase_jax.config import FineTuningConfig
from phase_jax.environment import describe_environment
from phase_jax.finetune.cautions import describe_cautions
from phase_jax.finetune.configure import build_clean_config, build_tuned_config
from phase_jax.finetune.extrapolate import extrapolate, fit_line, take_train_losses
from phase_jax.finetune.result import FineTuningResult
from phase_jax.finetune.stages import StageFiles
from phase_jax.sweep.assemble import join_lanes, solve_lanes, take_clean_lanes
from phase_jax.sweep.cost import count_gradients
from phase_jax.sweep.execute import Clock, Start
from phase_jax.sweep.reopen import reopen_data, reopen_model, reopen_objective
from phase_jax.sweep.result import SweepResult
from phase_jax.sweep.run import run_lanes
from phase_jax.sweep.setup import prepare_data, prepare_sweep
from phase_jax.sweep.stability import assess_stability
from phase_jax.types import InputError, LaneStatus
from phase_jax.validation import validate_config, validate_fine_tuning

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.config import SweepConfig
    from phase_jax.finetune.result import Extrapolation
    from phase_jax.sweep.checkpoint import CheckpointPlan
    from phase_jax.sweep.execute import SweepProgress
    from phase_jax.sweep.result import LaneResults
    from phase_jax.sweep.setup import PreparedSweep
    from phase_jax.types import Dataset

TRAINED, RUN, IMPORTED = "trained", "run", "imported"
CLEAN = "clean"
CLEAN_COST = "clean_gradients"
"""Entry of a fine-tuned run's description."""


class ImportedModel(NamedTuple):
    """One clean model from elsewhere, such as `load_torch_parameters` returns."""

    params: Any
    model_state: Any


class _Problem(NamedTuple):
    """What all stages share: the user's own objects, and images that are loaded once."""

    config: SweepConfig
    model: Any
    dataset: Dataset
    objective: Any
    progress_fn: Callable[[SweepProgress], None] | None
    files: StageFiles

    def prepare(self, config: SweepConfig) -> PreparedSweep:
        return prepare_sweep(config, model=self.model, data=self.dataset, objective=self.objective)


def run_fine_tuning(
    config: SweepConfig,
    fine_tuning: FineTuningConfig | None = None,
    *,
    clean: SweepResult | ImportedModel | None = None,
    model: Any = None,
    data: Dataset | None = None,
    objective: Any = None,
    progress_fn: Callable[[SweepProgress], None] | None = None,
    stage_fn: Callable[[str], None] | None = None,
    checkpoint: CheckpointPlan | None = None,
    stop_fn: Callable[[], int | None] | None = None,
    note_fn: Callable[[str], object] | None = None,
) -> FineTuningResult:
    """Fine-tune a clean model at small attack strengths and extrapolate to epsilon*.

    Every attack is one program, with every attack strength and seed a lane of it. The threshold is
    the clean model's clean test loss, and its train loss the point at epsilon = 0.

    Args:
      config: Network, data, seeds, attack steps, evaluation, and the training of the clean model;
        its grid, the name of its attack and its solver method are not used.
      fine_tuning: What is fine-tuned, by default `FineTuningConfig()`.
      clean: Where to start: the result of a sweep, whose clean lanes are taken, seed by seed; one
        imported model, for all seeds; by default clean lanes are trained.
      model: As in `run_sweep`.
      data: As in `run_sweep`.
      objective: As in `run_sweep`.
      progress_fn: As in `run_sweep`; hears of every stage's program.
      stage_fn: Called with `clean` or an attack's name when its stage begins.
      checkpoint: Where to save, and to go on from if something is there; every training after the
        first adds a number to the name. Nothing is removed at the end.
      stop_fn: As in `run_sweep`.
      note_fn: As in `run_sweep`.

    Returns:
      The result; `write_fine_tuning` writes it to a directory.

    Raises:
      InputError: A field or an argument is not allowed, the run is of other data or another
        network, or has no clean lane to start from; or the checkpoint belongs to another run.
      InterruptedRunError: A checkpoint cannot be written.
      StoppedRunError: `stop_fn` asked for it.
    """
    fine_tuning = FineTuningConfig() if fine_tuning is None else fine_tuning
    validate_config(config)
    validate_fine_tuning(fine_tuning)
    environment = describe_environment()
    files = StageFiles(
        checkpoint,
        config,
        fine_tuning,
        _take_start(clean, config),
        environment=environment,
        stop_fn=stop_fn,
        note_fn=note_fn,
    )
    problem = _settle_problem(config, clean, model, data, objective, progress_fn, files)
    tell = stage_fn or (lambda stage: None)
    tell(CLEAN)
    clock = Clock()
    lanes, origin, num_gradients = _get_clean_lanes(problem, clean, clock)
    gradients, seconds = {CLEAN: num_gradients}, {CLEAN: clock.finish()["total"]}
    runs, extrapolations = {}, ()
    for attack in fine_tuning.attacks:
        tell(attack)
        sweep = problem.prepare(build_tuned_config(config, fine_tuning, attack))
        origins = {"fine_tuned_from": origin["kind"], CLEAN_COST: num_gradients}
        sweep = sweep._replace(description={**sweep.description, **origins})
        run = _fine_tune(problem, fine_tuning, sweep, lanes, environment)
        runs[attack], seconds[attack] = run, run.seconds["total"]
        gradients[attack] = count_gradients(sweep, len(fine_tuning.epsilons) * config.num_seeds)
        find_fn = sweep.objective.supremum_fn
        supremum = np.inf if find_fn is None else find_fn(sweep.frequencies)
        extrapolations += extrapolate(run, supremum)
    result = _gather(config, fine_tuning, origin, runs, extrapolations, gradients, seconds)
    return dataclasses.replace(result, notes=files.notes)


def _take_start(clean: Any, config: SweepConfig) -> Any:
    """Take the parameters and state that lanes start from; None where they are trained first."""
    if not isinstance(clean, SweepResult):
        return clean
    return jax.tree.map(lambda leaf: leaf[0, : config.num_seeds], (clean.params, clean.model_state))


def _settle_problem(
    config: SweepConfig,
    clean: Any,
    model: Any,
    data: Any,
    objective: Any,
    progress_fn: Any,
    files: StageFiles,
) -> _Problem:
    """Load the images once; hold a run that is started from to the same images and network."""
    if not isinstance(clean, SweepResult):
        return _Problem(config, model, prepare_data(config, data), objective, progress_fn, files)
    if config.num_seeds > len(clean.seeds):
        raise InputError(
            f"--seeds: {config.num_seeds} is not allowed, the run that is started from has "
            f"{len(clean.seeds)}; allowed: 1 to {len(clean.seeds)}"
        )
    sound = clean.lanes.status[0, : config.num_seeds] == LaneStatus.OK
    if clean.epsilons[0] != 0 or not sound.any():
        raise InputError(
            "--from: the run has no clean lane to start from (epsilon = 0, neither diverged nor "
            "collapsed); give a run that has one, or none"
        )
    wanted = dataclasses.replace(clean, config=config)
    dataset = reopen_data(wanted, data)
    network = reopen_model(wanted, dataset, model)
    objective = reopen_objective(wanted, objective)
    return _Problem(config, network, dataset, objective, progress_fn, files)


def _get_clean_lanes(
    problem: _Problem, clean: Any, clock: Clock
) -> tuple[LaneResults, dict[str, Any], int]:
    """Take, evaluate or train the clean lanes; say where they come from and what they cost."""
    config = problem.config
    if isinstance(clean, SweepResult):
        lanes = take_clean_lanes(clean, config.num_seeds)
        if CLEAN_COST in clean.description:  # itself fine-tuned: its schedule is not the clean one
            per_seed = clean.description[CLEAN_COST] // len(clean.seeds)
            return lanes, {"kind": RUN}, per_seed * config.num_seeds
        trained = dataclasses.replace(config, training=clean.config.training)
        sweep = problem.prepare(build_clean_config(trained))
        return lanes, {"kind": RUN}, count_gradients(sweep, config.num_seeds)
    sweep = problem.prepare(build_clean_config(config))
    if clean is None:
        file = problem.files.open(CLEAN, sweep, [0.0])
        lanes = run_lanes(sweep, [0.0], clock, file=file, progress_fn=problem.progress_fn)
        return lanes, {"kind": TRAINED}, count_gradients(sweep, config.num_seeds)
    lanes = run_lanes(
        sweep,
        [0.0],
        clock,
        starts=_spread_model(sweep, clean),
        train=False,
        progress_fn=problem.progress_fn,
    )
    return lanes, {"kind": IMPORTED}, count_gradients(sweep, config.num_seeds, train=False)


def _spread_model(sweep: PreparedSweep, clean: ImportedModel) -> Start:
    """Start every seed at one imported model; refuse variables of another network."""
    expected = jax.eval_shape(sweep.lane.init, jax.random.key(0))
    name = sweep.description["model"]["name"]
    _refuse_misfit("params", clean.params, expected.params, name)
    _refuse_misfit("model_state", clean.model_state, expected.model_state, name)
    return Start(
        *jax.tree.map(lambda leaf: np.stack([leaf] * sweep.config.num_seeds), tuple(clean))
    )


def _refuse_misfit(field: str, given: Any, expected: Any, name: str) -> None:
    """Refuse a tree of arrays that lacks a leaf, or has one too many or of another shape."""
    found, wanted = (
        {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (given, expected))
    )
    for path in sorted({*found, *wanted}):
        if found.get(path) != wanted.get(path):
            have, want = (
                f"of shape {list(shapes[path])}" if path in shapes else "missing"
                for shapes in (found, wanted)
            )
            rule = want if path in wanted else "no such variable"
            raise InputError(f"{field}: {path} is {have}; allowed: {rule}, the network is {name}")


def _fine_tune(
    problem: _Problem,
    fine_tuning: FineTuningConfig,
    sweep: PreparedSweep,
    clean: LaneResults,
    environment: dict[str, Any],
) -> SweepResult:
    """Fine-tune the lanes of one attack, and solve with the clean lanes before them."""
    clock = Clock()
    epsilons = fine_tuning.epsilons
    rounds = [[epsilon] for epsilon in epsilons] if fine_tuning.sequential else [epsilons]
    parts = [
        dataclasses.replace(  # the starting point: before the first epoch of this training
            clean,
            history={name: values[:, :, :0] for name, values in clean.history.items()},
            lanes=dataclasses.replace(
                clean.lanes, selected_epoch=np.zeros_like(clean.lanes.selected_epoch)
            ),
        )
    ]
    for strengths in rounds:
        before = parts[-1]
        starts = Start(*jax.tree.map(lambda leaf: leaf[0], (before.params, before.model_state)))
        file = problem.files.open(sweep.config.attack.name, sweep, strengths)
        parts.append(
            run_lanes(
                sweep,
                strengths,
                clock,
                starts=starts,
                file=file,
                progress_fn=problem.progress_fn,
            )
        )
    notes = problem.files.notes
    return solve_lanes(sweep, join_lanes(parts), environment, clock, notes=notes)


def _gather(
    config: SweepConfig,
    fine_tuning: FineTuningConfig,
    origin: dict[str, Any],
    runs: dict[str, SweepResult],
    extrapolations: tuple[Extrapolation, ...],
    gradients: dict[str, int],
    seconds: dict[str, float],
) -> FineTuningResult:
    """Fit the lines, assess the stability, and say what a reader must know."""
    result = FineTuningResult(
        config=config,
        fine_tuning=fine_tuning,
        origin=origin,
        runs=runs,
        extrapolations=extrapolations,
        fits={
            attack: fit_line(run.epsilons, take_train_losses(run)) for attack, run in runs.items()
        },
        stability={attack: assess_stability(run) for attack, run in runs.items()},
        cautions=(),
        gradients=gradients,
        seconds=seconds,
    )
    return dataclasses.replace(result, cautions=tuple(describe_cautions(result)))
