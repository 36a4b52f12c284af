"""SIGTERM and SIGINT: a run stops where nothing is lost, within a stated time."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS = 20.0


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived, where SIGINT would have raised KeyboardInterrupt."""


class StopSignals:
    """What becomes of SIGTERM and SIGINT while this context is open.

    Python runs its signal handlers between two of its own instructions, never inside a compiled
    program, which may go on for hours. A thread therefore watches the signals as they arrive and
    ends the process when the grace is over. A second signal ends it at once.
    """

    def __init__(self, grace_seconds: float = GRACE_SECONDS, *, raise_at_once: bool = False):
        """Prepare; nothing changes before the context is entered.

        Args:
          grace_seconds: Time from the first signal to the end of the process.
          raise_at_once: Whether the first signal raises KeyboardInterrupt (`Terminated` for
            SIGTERM), for code that saves when it is interrupted; otherwise that code asks `poll`.
        """
        self._grace_seconds = grace_seconds
        self._raise_at_once = raise_at_once
        self._received: int | None = None
        self._is_stopping = threading.Event()
        self._stack = contextlib.ExitStack()

    def poll(self) -> int | None:
        """Return the signal that asked for a stop, or None.

        Whoever is told of a signal has reached a place to stop at, and may take its time to save.
        """
        if self._received is not None:
            self._is_stopping.set()
        return self._received

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread may decide what signals do
        with contextlib.ExitStack() as stack:
            stack.callback(self._is_stopping.set)
            reader, writer = os.pipe()
            os.set_blocking(writer, False)
            watcher = threading.Thread(target=self._watch, args=(reader,), daemon=True)
            watcher.start()
            stack.callback(os.close, writer)  # ends the watcher
            stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writer))
            for number in SIGNALS:
                stack.callback(signal.signal, number, signal.signal(number, self._note))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal; handle a second as if nobody watched."""
        is_first, self._received = self._received is None, number
        if not is_first or self._raise_at_once:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    def _watch(self, reader: int) -> None:
        """End the process when a signal has arrived and the grace is over."""
        with os.fdopen(reader, "rb", buffering=0) as signals:
            number = _read_signal(signals)
            if number is None:
                return
            second = threading.Thread(target=self._await_second, args=(signals,), daemon=True)
            second.start()
            if not self._is_stopping.wait(self._grace_seconds):
                _leave(number, f"not at a place to stop within {self._grace_seconds:g} s")
            second.join()

    def _await_second(self, signals: Any) -> None:
        if (number := _read_signal(signals)) is not None:
            _leave(number, "asked twice")


def _read_signal(signals: Any) -> int | None:
    """Wait for one of our signals; None when the context is over."""
    while byte := signals.read(1):
        if byte[0] in SIGNALS:
            return byte[0]
    return None


def _leave(number: int, reason: str) -> None:
    """End the process from a thread; what is on the disk is complete at any moment."""
    name = signal.Signals(number).name
    print(
        f"phase-jax: {name}: {reason}; what was saved last is what can be resumed", file=sys.stderr
    )
    sys.stderr.flush()
    os._exit(128 + number)
