"""What starts attempts on one node of a cluster, for harnesses that come and go.

It outlives them, knows what it was told to start, and remembers how that ended until it is asked.
"""

from collections.abc import Mapping
from pathlib import Path
from signal import Signals

from ttt_config import HarnessConfig
from ttt_harness.devices import Device
from ttt_harness.launch.launcher import Ended, Order
from ttt_harness.launch.local import LocalLauncher


class Keeper:
    """The launcher `local` of a node; every method can be called from afar."""

    def __init__(self) -> None:
        self._launcher = LocalLauncher()
        self._handles: dict[str, str] = {}
        self._ended: dict[str, Ended] = {}
        self._refused: set[str] = set()

    def devices(self, settings: HarnessConfig, reserved: Mapping[str, int]) -> list[Device]:
        """The devices of this node, as `LocalLauncher.devices`."""
        return self._launcher.devices(settings, reserved)

    def start(self, order: Order) -> str:
        """Start the process of an attempt.

        Raises:
            OSError: it cannot be started, or somebody was told already that it was not.
        """
        if order.token in self._refused:
            raise InterruptedError("another harness has settled that this is not started")
        handle = self._launcher.start(order)
        self._handles[order.token] = handle
        return handle

    def settle(self, token: str, out: Path) -> str | None:
        """The handle of an attempt; after None it is not started here any more."""
        if token not in self._handles:
            handle = self._launcher.holder(out)  # begun by a keeper before this one
            if handle is None:
                self._refused.add(token)
                return None
            self._handles[token] = handle
        return self._handles[token]

    def poll(self, handle: str, token: str) -> Ended | None:
        """How an attempt ended; the same to everybody who asks."""
        if token not in self._ended:
            ended = self._launcher.poll(handle, token)
            if ended is None:
                return None
            self._ended[token] = ended
        return self._ended[token]

    def signal(self, handle: str, number: Signals) -> None:
        """Signal the group of an attempt."""
        self._launcher.signal(handle, number)

    def is_idle(self) -> bool:
        """Whether nothing that was started here goes on."""
        return all(self.poll(handle, token) for token, handle in self._handles.items())
