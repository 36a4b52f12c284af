"""Where the trainings of a fine-tuning save, one after another."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from phase_jax.config import flatten_tree
from phase_jax.sweep.checkpoint import (
    SweepFile,
    describe_identity,
    describe_origin,
    fingerprint_arrays,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from phase_jax.config import FineTuningConfig, SweepConfig
    from phase_jax.sweep.checkpoint import CheckpointPlan
    from phase_jax.sweep.setup import PreparedSweep

KIND = "fine_tuning"


class StageFiles:
    """Opens a checkpoint for every training in turn; those of finished ones stay until the end.

    A run that goes on opens them again: what was trained to its end is only evaluated, which gives
    the same numbers, and the one that was interrupted is continued. The first file is the plan's,
    the others have its name and a number. Each belongs to the settings of the whole run.

    Attributes:
      notes: What the user should know about what was found.
    """

    def __init__(
        self,
        plan: CheckpointPlan | None,
        config: SweepConfig,
        fine_tuning: FineTuningConfig,
        start: Any,
        *,
        environment: dict[str, Any],
        stop_fn: Callable[[], int | None] | None,
        note_fn: Callable[[str], object] | None,
    ):
        """Prepare; nothing is read yet.

        Args:
          plan: Where and when to save; None for never.
          config: As given.
          fine_tuning: What is fine-tuned.
          start: Parameters and state to start from, a pytree; None where they are trained.
          environment: Versions and device.
          stop_fn: As in `run_sweep`.
          note_fn: As in `run_sweep`.
        """
        self._plan, self._config = plan, config
        self._settings = {
            "fine_tuning": dataclasses.asdict(fine_tuning),
            "start": {"sha256": None if start is None else fingerprint_arrays(start)},
        }
        self._origin = describe_origin(environment)
        self._stop_fn, self._note_fn = stop_fn, note_fn
        self._num_opened = 0
        self.notes: tuple[str, ...] = ()

    def open(self, stage: str, sweep: PreparedSweep, epsilons: Sequence[float]) -> SweepFile:
        """Open the file of the next training.

        Args:
          stage: `clean` or an attack's name, for the notes.
          sweep: What is trained.
          epsilons: At these attack strengths.

        Raises:
          InputError: The checkpoint there is damaged beyond use or belongs to another run.
        """

        def note(text: str) -> None:
            self.notes += (f"{stage}: {text}",)
            if self._note_fn is not None:
                self._note_fn(self.notes[-1])

        self._num_opened += 1
        part = "" if self._num_opened == 1 else str(self._num_opened)
        config = dataclasses.replace(self._config, lanes=sweep.config.lanes)
        training = {"stage": stage, "epsilons": list(epsilons)}
        return SweepFile(
            None if self._plan is None else self._plan.name_part(part),
            {
                **describe_identity(config, sweep.description),
                **dict(flatten_tree(self._settings)),
                **training,
            },
            self._origin,
            kind=KIND,
            stop_fn=self._stop_fn,
            note_fn=note,
        )
