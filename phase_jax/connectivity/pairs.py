"""Which networks of a run are connected."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from phase_jax.sweep.reopen import find_lane
from phase_jax.types import InputError, LaneStatus

if TYPE_CHECKING:
    from phase_jax.connectivity.settings import ConnectivitySettings
    from phase_jax.sweep.result import SweepResult


class Pair(NamedTuple):
    """The two ends of a curve, as places on the axes E and S of a run."""

    start: tuple[int, int]
    end: tuple[int, int]


def choose_pairs(
    result: SweepResult, settings: ConnectivitySettings
) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """Choose the networks to connect, those that failed left out.

    With `other` seeds the start of seed i is connected to the end of the next seed, the last to
    the first. A curve between networks of one attack strength is not run both ways, and none runs
    from a network to itself.

    Args:
      result: The run.
      settings: What is asked for.

    Returns:
      The pairs, ordered by the end's attack strength, and in words what was left out.

    Raises:
      InputError: The run lacks an attack strength or seed, or no pair is left.
    """
    start = find_lane(result, settings.from_epsilon, field="--from-eps")
    wanted = result.epsilons if settings.to_epsilons is None else settings.to_epsilons
    ends = dict.fromkeys(find_lane(result, float(e), field="--to-eps") for e in wanted)
    seeds = _choose_seeds(result, settings)
    pairing = settings.pairing or ("other" if len(seeds) > 1 else "same")
    if pairing == "other" and len(seeds) < 2:
        raise InputError("--pairing: 'other' needs two seeds; allowed: same, or a run with more")
    partners = seeds[1:] + seeds[:1] if pairing == "other" else seeds
    pairs: list[Pair] = []
    cautions: list[str] = []
    for end in ends:
        for first, second in zip(seeds, partners, strict=True):
            pair = Pair((start, first), (end, second))
            if pair.start == pair.end or Pair(pair.end, pair.start) in pairs:
                continue
            failed = [lane for lane in pair if result.lanes.status[lane] != LaneStatus.OK]
            if not failed:
                pairs.append(pair)
            for e, s in failed:
                name = LaneStatus(int(result.lanes.status[e, s])).name
                cautions.append(
                    f"left out: epsilon {result.epsilons[e]:.6g}, seed {s}, which is {name}"
                )
    if not pairs:
        raise InputError(
            "--to-eps: no two different networks that trained well are left to connect; allowed: "
            "another attack strength, or --pairing other with two seeds"
        )
    return tuple(pairs), tuple(dict.fromkeys(cautions))


def _choose_seeds(result: SweepResult, settings: ConnectivitySettings) -> list[int]:
    """Find the places of the seeds asked for."""
    known = [int(seed) for seed in result.seeds]
    for seed in settings.seeds or ():
        if seed not in known:
            allowed = ", ".join(map(str, known))
            raise InputError(f"--seeds: {seed} was not trained in this run; allowed: {allowed}")
    return [known.index(seed) for seed in settings.seeds or known]
