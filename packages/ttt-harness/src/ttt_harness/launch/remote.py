"""A launcher for nodes that each have a keeper: it places runs on their devices, by memory.

The run's directory and the command that trains are at the same path on each node.
"""

import json
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ttt_config import HarnessConfig, HarnessError
from ttt_harness.devices import Device
from ttt_harness.launch.launcher import Ended, Order

_POLL_S = 0.2
_SETTLE_WITHIN_S = 120.0

Answer = TypeVar("Answer")


class UnreachableError(Exception):
    """A node does not answer."""


class Nodes(Protocol):
    """Machines with a keeper on each."""

    def names(self) -> list[str]:
        """Those that are up."""
        ...

    def ask(self, node: str, method: str, *args: object) -> Any:  # noqa: ANN401  (by method)
        """Call a method of a node's `Keeper`, made if there is none.

        Raises:
            UnreachableError: it does not answer; it may have done it or not.
        """
        ...


class RemoteLauncher:
    """Starts attempts on the nodes of a cluster."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._known: dict[str, list[Device]] = {}

    def devices(self, settings: HarnessConfig, reserved: Mapping[str, int]) -> list[Device]:
        """The GPUs of all nodes, or their CPUs; those of a node that is away have no room.

        Raises:
            HarnessError: no node has ever answered.
        """

        def ask(node: str) -> list[Device] | None:
            held = {
                name.partition("@")[0]: size
                for name, size in reserved.items()
                if name.partition("@")[2] == node
            }
            try:
                found = self._nodes.ask(node, "devices", settings, held)
            except UnreachableError:
                return None
            return [each._replace(name=f"{each.name}@{node}") for each in found]

        names = self._nodes.names()
        asked = zip(names, self._each(ask, names), strict=True)
        answers = {name: found for name, found in asked if found}
        self._known |= answers
        if not self._known:
            raise HarnessError("no node of the cluster answers that has a CPU to give; try again")
        return [
            device if node in answers else device._replace(capacity_bytes=0)
            for node, devices in self._known.items()
            for device in devices
        ]

    def start(self, order: Order) -> str:
        """Start an attempt on the node of its device.

        Raises:
            OSError: it cannot be started.
        """
        node = order.device.name.partition("@")[2]
        try:
            handle = self._nodes.ask(node, "start", order)
        except UnreachableError as error:
            raise ConnectionError(str(error)) from error
        return _handle(node, handle)

    def find(self, token: str, out: Path) -> str | None:
        """The attempt on whatever node it is.

        Raises:
            HarnessError: a node that is up does not say.
        """

        def ask(node: str) -> str | None:
            begun_s = time.monotonic()
            while True:
                try:
                    handle = self._nodes.ask(node, "settle", token, out)
                    return None if handle is None else _handle(node, handle)
                except UnreachableError as error:
                    if node not in self._nodes.names():
                        return None
                    if time.monotonic() - begun_s > _SETTLE_WITHIN_S:
                        raise HarnessError(f"{error}; what runs there cannot be told") from error

        return next(
            (handle for handle in self._each(ask, self._nodes.names()) if handle is not None), None
        )

    def has_begun(self, handle: str) -> bool:
        """Always: there is no queue."""
        del handle
        return True

    def poll(self, handle: str, token: str) -> Ended | None:
        """How an attempt ended; with its node, if that is down."""
        node, process = _parts(handle)
        try:
            return self._nodes.ask(node, "poll", process, token)
        except UnreachableError:
            return None if node in self._nodes.names() else Ended(None)

    def signal(self, handle: str, number: signal.Signals) -> None:
        """Signal the group of an attempt; lost if its node does not answer."""
        node, process = _parts(handle)
        try:
            self._nodes.ask(node, "signal", process, number)
        except UnreachableError:
            return

    def wait(self, handles: Sequence[str], timeout_s: float) -> None:
        """Sleep a little."""
        time.sleep(min(timeout_s, _POLL_S) if handles else timeout_s)

    def _each(self, ask: Callable[[str], Answer], names: Sequence[str]) -> list[Answer]:
        """Ask nodes at once."""
        with ThreadPoolExecutor(max_workers=max(1, min(len(names), 32))) as pool:
            return list(pool.map(ask, names))


def _handle(node: str, process: str) -> str:
    return json.dumps({"node": node, "process": process})


def _parts(handle: str) -> tuple[str, str]:
    values = json.loads(handle)
    return values["node"], values["process"]
