"""The log of a run: one JSON object a line, written while it goes on; the same for TensorBoard."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import re
import time
from typing import TYPE_CHECKING, Any

import phase_jax
from phase_jax.distributed import is_writer
from phase_jax.report.directory import LOG_FILE
from phase_jax.report.document import convert_to_plain
from phase_jax.report.page.markup import shorten_numbers
from phase_jax.report.scalars import ScalarFiles
from phase_jax.storage.atomic import explain_failures
from phase_jax.types import InterruptedRunError, StoppedRunError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from phase_jax.sweep import SweepProgress

EVENTS = {
    "compile": "compiling",
    "resume": "resumed",
    "train": "epoch",
    "save": "saved",
    "evaluate": "evaluating",
}
"""Phase of a report -> the event that it is in the log."""
CONSEQUENCE = "the last good checkpoint is kept"


class RunLog:
    """Hears what the terminal hears of a run, and appends it to `log.jsonl` in its directory.

    Nothing is written before the first event, so that a refused run leaves nothing behind. The file
    only grows: a run that goes on, or a new one in its place, adds its lines below. Of several
    processes the first one writes.
    """

    def __init__(self, path: pathlib.Path, header: dict[str, Any], scalars: ScalarFiles | None):
        self._path, self._header, self._scalars = path, header, scalars
        self._begin, self._stage = time.perf_counter(), None
        self._has_begun = self._has_failed = False

    def show(self, progress: SweepProgress) -> None:
        """Log one report: a line, or one for each epoch of the chunk that is over."""
        lanes = {"epsilons": progress.epsilons, "seeds": progress.seeds}
        place = {"num_epochs": progress.num_epochs, **lanes}
        event = EVENTS[progress.phase]
        if progress.epochs is None:
            self._write(event, epoch=progress.epoch, **place)
            return
        losses = progress.epochs._asdict()
        first = progress.epoch - progress.epochs.train_loss.shape[2]
        rates = {
            "examples_per_second": round(progress.examples_per_second, 1),
            "seconds_left": round(progress.seconds_left, 1),
        }
        for t in range(progress.epoch - first):
            values = {name: shorten_numbers(array[:, :, t], 6) for name, array in losses.items()}
            self._write(event, epoch=first + t + 1, **place, **values, **rates)
        if self._scalars is not None and is_writer():
            self._scalars.write(self._stage, progress)

    def note(self, text: str) -> None:
        """Log a line of text that the terminal keeps."""
        self._write("note", text=text)

    def enter_stage(self, stage: str) -> None:
        """Let all later lines carry the name of a stage: its text up to a comma or colon."""
        self._stage = re.split("[,:]", stage)[0]

    def end(self, event: str, **fields: Any) -> None:
        """Log how the run ended, if anything of it was logged and can be."""
        if self._has_begun and not self._has_failed:
            self._write(event, **fields)

    def _write(self, event: str, **fields: Any) -> None:
        if not is_writer():
            return
        with explain_failures(self._path, CONSEQUENCE):
            try:
                if not self._has_begun:
                    self._has_begun = True
                    _remove_half_line(self._path)
                    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
                    self._append("started", {"time": now, **self._header})
                self._append(event, fields)
            except OSError:
                self._has_failed = True
                raise

    def _append(self, event: str, fields: dict[str, Any]) -> None:
        seconds = round(time.perf_counter() - self._begin, 3)
        stage = {} if self._stage is None else {"stage": self._stage}
        line = convert_to_plain({"event": event, "seconds": seconds, **stage, **fields})
        text = json.dumps(line, allow_nan=False, ensure_ascii=False)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


@contextlib.contextmanager
def open_log(
    out: pathlib.Path, command: str, log_dir: str | None = None, **settings: Any
) -> Iterator[RunLog]:
    """Log a run while this context is open, and how it ended.

    Args:
      out: The run's directory, claimed.
      command: What runs: `sweep`, `finetune`, ...
      log_dir: Where TensorBoard will look for it; None for nowhere.
      **settings: Name -> what it runs with, a dataclass.

    Yields:
      The log, which hears what the terminal hears.

    Raises:
      InputError: `log_dir` cannot be written to.
      InterruptedRunError: The disk is full or the directory cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        scalars = None
        if log_dir is not None:
            scalars = stack.enter_context(contextlib.closing(ScalarFiles(log_dir)))
        header = {"command": command, "version": phase_jax.__version__}
        header |= {name: dataclasses.asdict(value) for name, value in settings.items()}
        log = RunLog(out / LOG_FILE, header, scalars)
        try:
            yield log
        except BaseException as error:
            with contextlib.suppress(InterruptedRunError):
                is_stop = isinstance(error, (StoppedRunError, KeyboardInterrupt))
                log.end("stopped" if is_stop else "failed", text=str(error))
            raise
        log.end("finished")


def _remove_half_line(path: pathlib.Path) -> None:
    """Remove what a killed process, or a full disk, left of a line at the end of a file."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
