"""Find the grid as well: coarse strengths from fine-tuning, then more where the loss crosses."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from phase_jax.adaptive.settings import AdaptiveConfig, validate_adaptive
from phase_jax.config import FineTuningConfig
from phase_jax.finetune.run import run_fine_tuning
from phase_jax.report.wording import format_epsilon
from phase_jax.sweep.cost import count_gradients
from phase_jax.sweep.run import run_sweep
from phase_jax.sweep.setup import prepare_data, prepare_sweep
from phase_jax.types import EpsilonStatus, InputError, LaneStatus
from phase_jax.validation import validate_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from phase_jax.config import SweepConfig
    from phase_jax.sweep.checkpoint import CheckpointPlan
    from phase_jax.sweep.execute import SweepProgress
    from phase_jax.sweep.result import SweepResult
    from phase_jax.types import Dataset

FIRST_GRID = {"linf": (2 / 255, 8 / 255, 32 / 255), "l2": (32 / 255, 128 / 255, 512 / 255)}
"""Where to begin if fine-tuning has no answer."""
AROUND = (0.5, 1.0, 2.0)
"""Where to begin, in units of what fine-tuning extrapolates to."""
BEYOND = (2.0, 4.0)
"""Where to go on if no strength so far reaches the threshold, in units of the largest."""
BESIDE = 1.25
"""Where to go on for a seed whose loss curve ends below the threshold, when others have crossed."""
LARGEST = {"linf": 1.0, "l2": math.inf}
"""Beyond a radius of 1 pixels have nowhere left to go."""


class Bracket(NamedTuple):
    """Neighbouring attack strengths between which one seed's loss curve crosses."""

    low: float
    high: float
    value: float

    @property
    def width(self) -> float:
        """Relative width."""
        return (self.high - self.low) / self.value


@dataclasses.dataclass(frozen=True)
class AdaptiveSweep:
    """Result of an adaptive sweep.

    Attributes:
      result: All lanes, as of one sweep.
      rounds: The attack strengths that each round added.
      resolution: Largest relative width of a seed's bracket; NaN where no seed has one.
      gradients: Example gradients taken, fine-tuning included.
      fixed_gradients: Those of an even grid of the same resolution up to the largest attack
        strength trained; None without a resolution.
    """

    result: SweepResult
    rounds: tuple[tuple[float, ...], ...]
    resolution: float
    gradients: int
    fixed_gradients: int | None


def run_adaptive_sweep(
    config: SweepConfig,
    adaptive: AdaptiveConfig | None = None,
    *,
    model: Any = None,
    data: Dataset | None = None,
    objective: Any = None,
    progress_fn: Callable[[SweepProgress], None] | None = None,
    stop_fn: Callable[[], int | None] | None = None,
    round_fn: Callable[[str, SweepResult | None], None] | None = None,
    checkpoint: CheckpointPlan | None = None,
    note_fn: Callable[[str], object] | None = None,
    earlier: SweepResult | None = None,
) -> AdaptiveSweep:
    """Sweep without a grid: narrow the crossing of every seed's loss curve, round by round.

    Clean lanes fine-tuned with FGM say where to begin. Every round then adds a set of attack
    strengths to the lanes there are, which are not trained again: the result equals, bit for bit,
    one sweep over all of them (at the lane width that the first round chose).

    Args:
      config: What to sweep; its grid is not used.
      adaptive: When to stop, and how many strengths a round adds.
      model: As in `run_sweep`.
      data: As in `run_sweep`.
      objective: As in `run_sweep`.
      progress_fn: As in `run_sweep`; hears of every program.
      stop_fn: As in `run_sweep`.
      round_fn: Called with a line of text before every stage, and the lanes so far (None at first).
        Once it returns, the checkpoints of earlier stages may be gone.
      checkpoint: Where the stage under way is saved, and gone on from if something is there; the
        fine-tuning adds `-tuning` to the name, later rounds `-epsilons`.
      note_fn: As in `run_sweep`.
      earlier: The lanes that a search had after a round, from `round_fn` or `load_run`; it goes on
        from there.

    Returns:
      The lanes with epsilon* and its interval, whose width seeds decide once the brackets are
      narrow; and what it cost. A curve that does not cross ends the search with its status.

    Raises:
      InputError: As in `run_sweep`; or `earlier` is no search, or one that is over.
      StoppedRunError: `stop_fn` asked for it.
    """
    adaptive = adaptive or AdaptiveConfig()
    validate_adaptive(adaptive)
    tell = round_fn or (lambda text, result: None)
    given = {"model": model, "data": prepare_data(config, data), "objective": objective}
    first = FIRST_GRID.get(config.attack.norm, FIRST_GRID["linf"])  # other norms are refused below
    config = validate_config(dataclasses.replace(config, epsilon_grid=first))
    hearers = {"progress_fn": progress_fn, "stop_fn": stop_fn, "note_fn": note_fn}
    if earlier is None:
        tell("fine-tuning with FGM, to know where to begin", None)
        plan = None if checkpoint is None else checkpoint.name_part("tuning")
        strengths, gradients = choose_first(config, given, checkpoint=plan, **hearers)
        rounds, result = (), None
    else:
        rounds, gradients = _take_up(earlier)
        strengths, result = _choose_more(earlier, adaptive, len(rounds)), earlier
        if not strengths:
            raise InputError(
                f"--resume: the search is over after {len(rounds)} rounds; allowed: a smaller "
                "--precision, more --rounds, or --extend with strengths of your own"
            )
    while strengths:
        shown = ", ".join(map(format_epsilon, strengths))
        tell(f"round {len(rounds) + 1}: training at {shown}", result)
        wanted = dataclasses.replace(config, epsilon_grid=strengths)
        result = run_sweep(wanted, earlier=result, checkpoint=checkpoint, **hearers, **given)
        rounds += (strengths,)
        result = _note_search(result, rounds, gradients)
        strengths = _choose_more(result, adaptive, len(rounds))
    assert result is not None
    return _count(result, rounds, gradients, given)


def _choose_more(
    result: SweepResult, adaptive: AdaptiveConfig, num_rounds: int
) -> tuple[float, ...]:
    """Choose the attack strengths of the next round; none where there is none."""
    return choose_next(result, adaptive) if num_rounds < adaptive.max_rounds else ()


def _note_search(
    result: SweepResult, rounds: tuple[tuple[float, ...], ...], gradients: int
) -> SweepResult:
    """Note in a result which rounds led to it, so that the search can go on from its files."""
    search = {"rounds": [list(strengths) for strengths in rounds], "gradients": gradients}
    return dataclasses.replace(result, description={**result.description, "search": search})


def _take_up(earlier: SweepResult) -> tuple[tuple[tuple[float, ...], ...], int]:
    """Read the rounds of a search, and what its fine-tuning cost, off the lanes it had."""
    search = earlier.description.get("search")
    if search is None:
        raise InputError(
            "--resume: the finished run there was not found by --eps-grid auto; allowed: --extend "
            "with the attack strengths to add"
        )
    return tuple(map(tuple, search["rounds"])), search["gradients"]


def choose_first(
    config: SweepConfig, given: dict[str, Any], **options: Any
) -> tuple[tuple[float, ...], int]:
    """Choose the first attack strengths by fine-tuning clean lanes; count what that cost.

    Args:
      config: What to sweep.
      given: The user's own network, images and objective.
      **options: As in `run_fine_tuning`: who hears of what, and where to save.

    Returns:
      The strengths, and example gradients.
    """
    scale = FIRST_GRID[config.attack.norm][0]
    tuned = run_fine_tuning(
        dataclasses.replace(config, num_seeds=1),
        FineTuningConfig(
            epsilon_grid=(scale / 4, scale / 2, scale),
            attacks=("fgm",),
            num_epochs=max(1, config.training.num_epochs // 4),
        ),
        **options,
        **given,
    )
    value = tuned.epsilon_star.value
    largest = LARGEST[config.attack.norm]
    strengths = FIRST_GRID[config.attack.norm]
    if value is not None and value > 0:
        strengths = tuple(sorted({min(share * value, largest) for share in AROUND}))
    return strengths, sum(tuned.gradients.values())


def choose_next(result: SweepResult, adaptive: AdaptiveConfig) -> tuple[float, ...]:
    """Choose the attack strengths of the next round.

    Args:
      result: Lanes so far.
      adaptive: When to stop, and how many strengths to add.

    Returns:
      New strengths, sorted; none where every bracket is narrow enough or more would not help.
    """
    largest, star = float(result.epsilons[-1]), result.epsilon_star
    if EpsilonStatus.BEYOND_GRID in (star.status, *(seed.status for seed in star.seeds)):
        factors = BEYOND if star.status == EpsilonStatus.BEYOND_GRID else (BESIDE,)
        end = LARGEST[result.config.attack.norm]
        new = {min(factor * largest, end) for factor in factors} - {largest}
    else:
        new = set()
    wide = [bracket for bracket in bracket_seeds(result) if bracket.width > adaptive.precision]
    if not wide:
        return tuple(sorted(new))
    shares = dict.fromkeys(((bracket.low, bracket.high) for bracket in wide), 0)
    for _ in range(adaptive.num_strengths):  # always into the widest gap left
        widest = max(shares, key=lambda ends: (ends[1] - ends[0]) / (shares[ends] + 1))
        shares[widest] += 1
    for (low, high), number in shares.items():
        places = np.linspace(low, high, number + 2)[1:-1]
        if low == 0:  # of what size it is, is not known yet
            places = high * 0.5 ** np.arange(number, 0, -1)
        new |= {float(place) for place in places}
    return tuple(sorted(new))


def bracket_seeds(result: SweepResult) -> list[Bracket]:
    """List the brackets of the seeds whose loss curve crosses the threshold."""
    brackets = []
    for s, seed in enumerate(result.epsilon_star.seeds):
        if seed.status != EpsilonStatus.FOUND or not seed.value > 0:
            continue
        sound = result.epsilons[result.lanes.status[:, s] == LaneStatus.OK]
        below, above = sound[sound < seed.value], sound[sound >= seed.value]
        if below.size and above.size:
            brackets.append(Bracket(float(below[-1]), float(above[0]), float(seed.value)))
    return brackets


def _count(
    result: SweepResult,
    rounds: tuple[tuple[float, ...], ...],
    gradients: int,
    given: dict[str, Any],
) -> AdaptiveSweep:
    """Count what all lanes cost, and what those of an even grid would."""
    sweep = prepare_sweep(result.config, **given)
    num_seeds = len(result.seeds)
    gradients += count_gradients(sweep, len(result.epsilons) * num_seeds)
    brackets = bracket_seeds(result)
    resolution, fixed = math.nan, None
    if brackets:
        resolution = max(bracket.width for bracket in brackets)
        step = min(bracket.high - bracket.low for bracket in brackets)
        number = math.ceil(float(result.epsilons[-1]) / step) + 1
        fixed = count_gradients(sweep, number * num_seeds)
    note = (
        f"the grid was found in {len(rounds)} rounds, {len(result.epsilons) - 1} attack strengths "
        f"in all; {gradients:.3g} example gradients"
    )
    if fixed is not None:
        note += (
            f"; an even grid that brackets each seed's crossing to {resolution:.2g} takes "
            f"{fixed:.3g}"
        )
    result = dataclasses.replace(result, notes=(*result.notes, note))
    return AdaptiveSweep(result, rounds, resolution, gradients, fixed)
