"""Learning curves as TensorBoard reads them; needs the optional dependency `tensorboardX`."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import tempfile
import time
from typing import TYPE_CHECKING, Any

from phase_jax.storage.atomic import explain_failures
from phase_jax.types import InputError

if TYPE_CHECKING:
    from phase_jax.sweep import SweepProgress

LIBRARY = "tensorboardX"
FIELD = "--log-dir"


def check_log_dir(log_dir: str | None, out: str | None) -> None:
    """Refuse a directory for TensorBoard without the library, or within that of the results.

    Raises:
      InputError: So it is.
    """
    if log_dir is None:
        return
    if importlib.util.find_spec(LIBRARY) is None:
        raise InputError(
            f"{FIELD}: {log_dir!r} needs {LIBRARY}, which is not installed; allowed: with "
            "phase-jax[tensorboard]"
        )
    if out is not None and pathlib.Path(log_dir).resolve().is_relative_to(
        pathlib.Path(out).resolve()
    ):
        raise InputError(
            f"{FIELD}: {log_dir!r} lies in --out, which holds results alone; allowed: a directory "
            "outside"
        )


class ScalarFiles:
    """One run of TensorBoard for every attack strength: a point an epoch, mean over seeds.

    Events are written here and now: the library's own writer does so in a thread, whose failure
    (a full disk, say) would make the run wait for ever.
    """

    def __init__(self, folder: str):
        """Make the directory.

        Raises:
          InputError: It cannot be made or written to.
        """
        self._folder = pathlib.Path(folder)
        self._files: dict[pathlib.Path, Any] = {}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder):
                pass
        except OSError as error:
            raise InputError(
                f"{FIELD}: {folder!r} cannot be written to ({error.strerror}); allowed: a "
                "directory where you may write"
            ) from None

    def write(self, stage: str | None, progress: SweepProgress) -> None:
        """Write the epochs of a chunk.

        Raises:
          InterruptedRunError: The disk is full or the directory cannot be written to.
        """
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore
        from tensorboardX.summary import scalar  # pyright: ignore[reportMissingImports]

        if progress.epochs is None:
            return
        place = self._folder / (stage or "").replace(" ", "-")
        num_new = progress.epochs.train_loss.shape[2]
        with explain_failures(self._folder, "the last good checkpoint is kept"):
            for e, epsilon in enumerate(progress.epsilons):
                file = self._open(place / f"epsilon-{epsilon:.6f}")
                for name, values in progress.epochs._asdict().items():
                    for t, value in enumerate(values[e].mean(axis=0)):
                        step = progress.epoch - num_new + t + 1
                        summary = scalar(name, value)
                        file.write_event(Event(wall_time=time.time(), step=step, summary=summary))
                file.flush()

    def close(self) -> None:
        """Close all files; what a full disk does not take is lost."""
        for file in self._files.values():
            try:
                file.close()
            except OSError:
                continue

    def _open(self, place: pathlib.Path) -> Any:
        from tensorboardX.event_file_writer import EventsWriter  # pyright: ignore[reportMissingImports]

        if place not in self._files:
            place.mkdir(parents=True, exist_ok=True)
            suffix = f".{os.getpid()}"  # a run that goes on within the same second
            self._files[place] = EventsWriter(str(place / "events"), suffix)
        return self._files[place]
