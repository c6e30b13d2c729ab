"""The nodes of a Ray cluster, with a detached actor on each as its keeper.

Ray carries calls between processes that live, by its own serialization; nothing that it wrote is
ever read from a disk. It takes no part in placing: the harness knows what memory runs need, so a
keeper asks Ray for no resources and stays on its node.
"""

import logging
import os
import socket
import threading
import time
from importlib.metadata import version
from typing import Any

from ttt_config import ConfigError
from ttt_harness.launch.keeper import Keeper
from ttt_harness.launch.remote import UnreachableError

NAMESPACE = "ttt-harness"
_CONNECT_WITHIN_S = 10.0
_ANSWER_WITHIN_S = 60.0
_IDLE_S = 600.0
"""A keeper that nobody has called for so long, and that keeps nothing, ends."""
_OF_THE_NODE = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
)
"""Variables that Ray sets for what asks for no resources."""


class RayCluster:
    """The nodes of a cluster that has been started.

    Args:
        address: host:port of its head, or `auto`.

    Raises:
        ConfigError: Ray is missing, or there is no cluster.
    """

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError as error:
            raise ConfigError(
                "harness.launcher ray: Ray is missing; install `ttt-harness[ray]`"
            ) from error
        _check_answers(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
        try:
            ray.init(
                address=address,
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level=logging.ERROR,
                ignore_reinit_error=True,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(_none_there(address)) from error
        self._ray = ray
        self._nodes: dict[str, str] = {}
        """Ray's numbers of the nodes, by name."""
        self._keepers: dict[str, Any] = {}  # Ray's handles have no type
        self.names()

    def names(self) -> list[str]:
        """The nodes that are up and have a CPU to give, as a head may have none."""
        up = [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        self._nodes |= {
            f"{node['NodeManagerHostname']}-{node['NodeID'][:6]}": node["NodeID"] for node in up
        }
        numbers = {node["NodeID"] for node in up}
        return [name for name, number in self._nodes.items() if number in numbers]

    def ask(self, node: str, method: str, *args: object) -> Any:  # noqa: ANN401  (by method)
        """Call a method of a node's keeper.

        Raises:
            UnreachableError: it does not answer.
            OSError: the method raised it.
        """
        errors = self._ray.exceptions
        try:
            answer = self._keeper(node).call.remote(method, *args)
            return self._ray.get(answer, timeout=_ANSWER_WITHIN_S)
        except errors.RayTaskError as error:
            if isinstance(error.cause, OSError):
                raise error.cause from None
            raise
        except (errors.RayError, ValueError, KeyError) as error:
            self._keepers.pop(node, None)
            raise UnreachableError(f"node {node} does not answer: {error}") from error

    def _keeper(self, node: str) -> Any:  # noqa: ANN401  (Ray's)
        """The keeper of a node, begun if there is none, and named so that all find the same."""
        if node not in self._keepers:
            number = self._nodes[node]
            place = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
            options = {
                "name": f"keeper-{version('ttt-harness')}-{number}",
                "get_if_exists": True,
                "lifetime": "detached",
                "num_cpus": 0,
                "max_restarts": 0,
                "scheduling_strategy": place(number, soft=False),
            }
            self._keepers[node] = self._ray.remote(NodeKeeper).options(**options).remote()
        return self._keepers[node]


def _check_answers(address: str) -> None:
    """Make sure that somebody listens, which Ray would wait for, and then end this process.

    Raises:
        ConfigError: nobody does.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return  # `auto` without RAY_ADDRESS: Ray knows what runs here
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_WITHIN_S).close()
    except OSError as error:
        raise ConfigError(f"{_none_there(address)} ({error.strerror or error})") from error


def _none_there(address: str) -> str:
    return (
        f"harness.ray.address: no Ray cluster at `{address}`; `ray start --head` on one machine "
        "starts it"
    )


class NodeKeeper:
    """The keeper of a node, in a process of Ray's there; an actor."""

    def __init__(self) -> None:
        _restore_environment()
        self._keeper = Keeper()
        self._lock = threading.Lock()
        self._called_s = time.monotonic()
        threading.Thread(target=self._end_when_idle, daemon=True).start()

    def call(self, method: str, *args: object) -> object:
        """Call a method of the keeper."""
        with self._lock:
            self._called_s = time.monotonic()
            return getattr(self._keeper, method)(*args)

    def _end_when_idle(self) -> None:
        while True:
            time.sleep(_IDLE_S / 10)
            with self._lock:
                if time.monotonic() - self._called_s > _IDLE_S and self._keeper.is_idle():
                    os._exit(0)


def _restore_environment() -> None:
    """Give runs the environment that the node was started in, where Ray has another for actors."""
    import psutil

    node = psutil.Process(os.getppid()).environ()
    for name in _OF_THE_NODE:
        if name in node:
            os.environ[name] = node[name]
        else:
            os.environ.pop(name, None)
