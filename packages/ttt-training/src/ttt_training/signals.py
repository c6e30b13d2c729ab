"""Stopping a run in order: the signal is noted, and heeded between two pieces of work."""

import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import TypeVar

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
"""What schedulers and people send to end a process that may still save."""

_Item = TypeVar("_Item")


class StopRequested(BaseException):
    """A signal asks the run to end."""


class StopSignals:
    """Notes the signals that end a run; a context manager that gives the handlers back.

    A second Ctrl-C is a KeyboardInterrupt, wherever the process is. Outside the main thread, where
    Python lets nobody handle signals, none is noted.

    Attributes:
        received: the first signal noted; None until then.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._earlier: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                self._earlier[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def check(self) -> None:
        """Heed a signal here.

        Raises:
            StopRequested: one was received.
        """
        if self.received is not None:
            raise StopRequested

    def between(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Heed signals before each item."""
        for item in items:
            self.check()
            yield item

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
