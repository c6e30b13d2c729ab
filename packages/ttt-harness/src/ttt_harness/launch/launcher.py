"""What a launcher is: it starts attempts, finds them again, and says when they end.

The supervisor decides and remembers; a launcher acts and remembers nothing. Whatever it needs to
know an attempt by is in its handle, a text that the state keeps, so that the next supervisor can
go on with it.
"""

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from ttt_config import HarnessConfig
from ttt_harness.devices import Device


class Order(NamedTuple):
    """An attempt to be started."""

    name: str
    """Of the run."""
    token: str
    """Of the attempt; unlike any other, ever."""
    command: tuple[str, ...]
    out: Path
    """Directory of the run; both logs are appended to there."""
    environment: Mapping[str, str]
    """What is added to the environment."""
    device: Device
    memory_bytes: int


class Ended(NamedTuple):
    """An attempt that is over."""

    code: int | None
    """Exit code, negative for a signal; None if nobody knows."""
    out_of_memory: bool = False
    """Whether the system killed it for want of memory."""


class Launcher(Protocol):
    """Starts attempts somewhere."""

    def devices(self, settings: HarnessConfig, reserved: Mapping[str, int]) -> list[Device]:
        """What runs can be placed on now.

        Args:
            settings: limits and margin.
            reserved: bytes that active runs hold already, by the name of the device.
        """
        ...

    def start(self, order: Order) -> str:
        """Start an attempt and give its handle.

        Raises:
            OSError: it cannot be started.
        """
        ...

    def find(self, token: str, out: Path) -> str | None:
        """The handle of an attempt that may have been started; None if it was not, or is over.

        After None it does not start any more, even if the order is still on its way.

        Raises:
            HarnessError: it cannot be told.
        """
        ...

    def has_begun(self, handle: str) -> bool:
        """Whether an attempt that has not ended works; False while it waits in a queue."""
        ...

    def poll(self, handle: str, token: str) -> Ended | None:
        """How an attempt ended; None while any of it goes on. Nothing of it is left behind."""
        ...

    def signal(self, handle: str, number: signal.Signals) -> None:
        """Send a signal to an attempt and all it started, if it still goes on."""
        ...

    def wait(self, handles: Sequence[str], timeout_s: float) -> None:
        """Come back when one of the attempts may have ended, at the latest after the time."""
        ...
