"""What a sweep saves between two chunks of epochs, and continues from."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from phase_jax.config import flatten_tree
from phase_jax.distributed import agree, require_same, run_once, share, share_arrays
from phase_jax.storage.checkpoint import CheckpointFile, Saved, compute_digest
from phase_jax.types import InputError, StoppedRunError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from phase_jax.config import SweepConfig
    from phase_jax.sweep.lanes import LaneLayout

SWEEP = "sweep"
SCHEMA_VERSION = 1
# What may differ between a run and the one it continues: it changes no bit of a lane.
FREE_FIELDS = ("data.data_dir", "target_epsilon", "solver.")


class Training(NamedTuple):
    """Lanes under way: in a sweep, say `LaneState` and `EpochInfo`."""

    states: Any
    """Every leaf [L, ...]; on the devices with the padding of their layout."""
    history: Any
    """Of the epochs done, NumPy arrays [L, t], one of them `train_loss`."""

    @property
    def num_epochs(self) -> int:
        """Epochs done, t."""
        return self.history.train_loss.shape[1]


@dataclasses.dataclass(frozen=True)
class CheckpointPlan:
    """Where a sweep saves what it has, and when.

    Attributes:
      path: The file; the one before is kept beside it, with `.previous` added to its name.
      minutes: Save at the first chunk's end after so many minutes; None for never.
      epochs: Save at the first chunk's end after so many epochs; None for never.
    """

    path: str | os.PathLike
    minutes: float | None = 10.0
    epochs: int | None = None

    def name_part(self, part: str) -> CheckpointPlan:
        """Name the checkpoint of one part of a run; that of the whole, or the first, has none."""
        path = pathlib.Path(self.path)
        named = path.with_stem(f"{path.stem}-{part}") if part else path
        return dataclasses.replace(self, path=named)


class SweepFile:
    """Saves lanes at the ends of chunks of epochs, and stops them there when it is asked to."""

    def __init__(
        self,
        plan: CheckpointPlan | None,
        identity: dict[str, Any],
        origin: str,
        *,
        kind: str = SWEEP,
        unit: str = "epoch",
        stop_fn: Callable[[], int | None] | None = None,
        note_fn: Callable[[str], object] | None = None,
    ):
        """Read what is there.

        Args:
          plan: Where and when to save; None for never.
          identity: What must be equal for a checkpoint to be continued.
          origin: Device and versions of this run.
          kind: What kind of run this is; a checkpoint of another is refused.
          unit: What the lanes' steps are called.
          stop_fn: Asked at the end of every chunk; a signal's number stops the run.
          note_fn: Hears every note.

        Raises:
          InputError: See `CheckpointFile`; or the checkpoint belongs to another run.
        """
        self._plan, self._identity, self._origin = plan, identity, origin
        self._kind, self._unit = kind, unit
        self._stop_fn, self._note_fn = stop_fn, note_fn
        self._saved_at, self._num_saved = time.monotonic(), 0
        self._file: CheckpointFile | None = None  # of the process that writes
        require_same({**identity, "device and versions": origin})
        if plan is not None:
            self._tell(*run_once(lambda: self._open(plan)))

    def restore(self, layout: LaneLayout, fresh: Training) -> Training:
        """Bring what was saved to the devices; a new run has the fresh lanes.

        Args:
          layout: How the lanes lie on the devices.
          fresh: These lanes before their first epoch; their keys are taken over, not saved.

        Raises:
          InputError: The checkpoint's arrays are not those of such lanes.
        """
        saved = self._file.saved if self._file is not None else None
        found_origin = share(None if saved is None else saved.origin)
        if found_origin is None:
            return fresh
        arrays = share_arrays(None if saved is None else saved.arrays)
        lanes = fresh._replace(states=fresh.states._replace(key=None))
        training = _unpack(lanes, arrays, layout.num_lanes)
        states = layout.spread(training.states)._replace(key=fresh.states.key)
        self._num_saved = training.num_epochs
        note = f"going on after {self._unit} {training.num_epochs}"
        if found_origin != self._origin:
            note += f"; begun on {found_origin}, here is {self._origin}: last digits may differ"
        self._tell(note)
        return Training(states, training.history)

    def close_chunk(
        self,
        layout: LaneLayout,
        training: Training,
        num_epochs: int,
        notify: Callable[..., None],
    ) -> None:
        """Save if it is time to, and after the last chunk; stop if asked to.

        A stop after the last chunk leaves what follows, such as the evaluation, to the next start.

        Args:
          layout: How the lanes lie on the devices.
          training: Lanes under way, on the devices.
          num_epochs: Length of the whole training.
          notify: Hears `("save", epochs done)` when they are saved.

        Raises:
          InterruptedRunError: The checkpoint cannot be written.
          StoppedRunError: A signal asked for a stop.
        """
        done = training.num_epochs
        stop = agree(self._stop_fn() if self._stop_fn else None)
        if self._plan is not None and (stop or done == num_epochs or self._is_due(done)):
            lanes = layout.collect(training.states._replace(key=None))
            run_once(lambda: self._save(Training(lanes, training.history)))
            self._saved_at, self._num_saved = time.monotonic(), done
            notify("save", done)
        if stop:
            then = "it can be resumed" if self._plan else "nothing is saved"
            place = f"{self._unit} {done} of {num_epochs}"
            raise StoppedRunError(f"stopped after {place}; {then}", stop)

    def _tell(self, *notes: str) -> None:
        if self._note_fn is not None:
            for note in notes:
                self._note_fn(note)

    def _open(self, plan: CheckpointPlan) -> tuple[str, ...]:
        """Read what is there; return notes about it."""
        self._file = CheckpointFile(plan.path, kind=self._kind, version=SCHEMA_VERSION)
        self._file.check_identity(self._identity)
        return self._file.notes

    def _save(self, lanes: Training) -> None:
        assert self._file is not None
        progress = f"{self._unit} {lanes.num_epochs}"
        self._file.save(Saved(self._identity, progress, _pack(lanes), self._origin))

    def _is_due(self, done: int) -> bool:
        assert self._plan is not None
        minutes, epochs = self._plan.minutes, self._plan.epochs
        late = minutes is not None and time.monotonic() - self._saved_at >= 60 * minutes
        by_epochs = epochs is not None and done - self._num_saved >= epochs
        return bool(agree(late)) or by_epochs


def describe_identity(config: SweepConfig, description: dict[str, Any]) -> dict[str, Any]:
    """Describe what must be equal in two sweeps of which one continues the other."""
    fields = dict(flatten_tree({**dataclasses.asdict(config), "given": description}))
    return {name: value for name, value in fields.items() if not name.startswith(FREE_FIELDS)}


def describe_origin(environment: dict[str, Any]) -> str:
    """Describe what may decide the last digits of a number: device and compiler."""
    device, versions = environment["device"], environment["versions"]
    return f"{device['kind']} with jaxlib {versions['jaxlib']}"


def fingerprint_arrays(tree: Any) -> str:
    """Compute the SHA-256 of the leaves of a pytree."""
    return compute_digest(_pack(tree))


def _pack(tree: Any) -> dict[str, np.ndarray]:
    """Name every leaf by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def _unpack(lanes: Training, arrays: dict[str, np.ndarray], num_lanes: int) -> Training:
    """Find every leaf by its path; one epoch more or less makes no difference."""

    def find(path: Any, leaf: Any) -> np.ndarray:
        name = jax.tree_util.keystr(path)
        array = arrays.get(name)
        if array is not None and array.dtype.kind == "V":
            array = array.view(leaf.dtype)  # bfloat16 and its like are unknown to a file
        if array is None or array.dtype != leaf.dtype or len(array) != num_lanes:
            raise InputError(f"checkpoint: {name} does not fit these lanes; give another place")
        return array

    return jax.tree_util.tree_map_with_path(find, lanes)
