"""The launcher `ray`: its logic with keepers in this process, and on two real nodes of Ray's."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from harness_bench import Bench

from ttt_config import ConfigError, HarnessError
from ttt_config.harness import HarnessConfig
from ttt_harness.devices import Device
from ttt_harness.launch.keeper import Keeper
from ttt_harness.launch.launcher import Ended, Order
from ttt_harness.launch.ray_cluster import RayCluster
from ttt_harness.launch.remote import RemoteLauncher, UnreachableError
from ttt_harness.process import identify

Until = Callable[[Callable[[], object]], None]
HELPER = Path(__file__).parent / "helpers" / "ray_nodes.py"


class SmallKeeper(Keeper):
    """A keeper of a node with a GiB."""

    def devices(self, settings: HarnessConfig, reserved: object) -> list[Device]:
        del settings, reserved
        return [Device("cpu", "cpu", "made up", 2**30, 2**30)]


class InProcess:
    """Nodes that are objects of this process."""

    def __init__(self, *names: str) -> None:
        self.keepers: dict[str, Keeper] = {name: SmallKeeper() for name in names}
        self.silent: set[str] = set()

    def names(self) -> list[str]:
        return list(self.keepers)

    def ask(self, node: str, method: str, *args: object) -> Any:
        if node in self.silent or node not in self.keepers:
            raise UnreachableError(f"node {node} does not answer")
        return getattr(self.keepers[node], method)(*args)


class TwoNodes(Bench):
    """A state whose runs go to two nodes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.nodes = InProcess("one", "two")
        self.launcher = RemoteLauncher(self.nodes)  # type: ignore

    def order(self, name: str, node: str, *behaviours: str) -> Order:
        self.add(name, *behaviours)
        out = self.folder / name
        out.mkdir()
        device = Device(f"cpu@{node}", "cpu", "", 0, 0)
        return Order(
            name,
            f"token-{name}",
            (str(self.trainer), "train", "--out", str(out)),
            out,
            {},
            device,
            0,
        )


@pytest.fixture
def two(tmp_path: Path) -> Iterator[TwoNodes]:
    two = TwoNodes(tmp_path)
    yield two
    two.store.close()
    for path in tmp_path.glob("*/pid"):
        if identify(int(path.read_text())) is not None:
            os.killpg(int(path.read_text()), 9)


def stepping(bench: Bench, name: str) -> bool:
    log = bench.folder / name / "stdout.log"
    return log.exists() and '"step"' in log.read_text()


def test_runs_are_placed_by_memory_on_every_node(two: TwoNodes) -> None:
    for name in "abc":
        two.add(name, "wait", gib=0.8)
    supervisor = two.supervisor()

    def turn() -> None:
        if two.started() == ["a", "b"] and stepping(two, "a") and stepping(two, "b"):
            assert [two.record(name).device for name in "ab"] == ["cpu@one", "cpu@two"]
            for name in "abc":
                two.folder.joinpath(name).mkdir(exist_ok=True)
                two.go(name)

    assert supervisor.run(turn).counts == {"completed": 3}


def test_an_attempt_is_found_on_its_node(two: TwoNodes, until: Until) -> None:
    handle = two.launcher.start(two.order("a", "two", "wait"))
    process = json.loads(handle)["process"]
    for _ in range(2):
        found = two.launcher.find("token-a", two.folder / "a")
        assert found is not None
        assert json.loads(found)["process"] == process
        two.nodes.keepers |= {"one": SmallKeeper(), "two": SmallKeeper()}  # as if both had died
    until(lambda: stepping(two, "a"))
    two.go("a")


def test_how_an_attempt_ended_is_told_to_everybody(two: TwoNodes, until: Until) -> None:
    handle = two.launcher.start(two.order("a", "one", "configuration"))
    until(lambda: two.launcher.poll(handle, "token-a") is not None)
    assert two.launcher.poll(handle, "token-a") == Ended(3)
    assert RemoteLauncher(two.nodes).poll(handle, "token-a") == Ended(3)


def test_what_was_settled_as_not_started_does_not_start(two: TwoNodes) -> None:
    order = two.order("a", "one", "ok")
    assert two.launcher.find(order.token, order.out) is None
    with pytest.raises(InterruptedError, match="has settled"):
        two.launcher.start(order)
    assert not (order.out / "history").exists()


def test_a_node_that_is_down_ends_its_runs_and_one_that_is_silent_does_not(two: TwoNodes) -> None:
    handle = json.dumps({"node": "one", "process": "[1, '', '']"})
    two.nodes.silent.add("one")
    assert two.launcher.poll(handle, "t") is None
    two.launcher.signal(handle, signal.SIGTERM)  # into the void
    del two.nodes.keepers["one"]
    assert two.launcher.poll(handle, "t") == Ended(None)
    with pytest.raises(ConnectionError, match="node one does not answer"):
        two.launcher.start(two.order("a", "one"))


def test_a_node_that_is_away_has_no_room_and_is_not_forgotten(two: TwoNodes) -> None:
    settings = HarnessConfig()
    two.nodes.silent |= {"one", "two"}
    with pytest.raises(HarnessError, match="no node of the cluster answers"):
        two.launcher.devices(settings, {})
    two.nodes.silent.clear()
    both = two.launcher.devices(settings, {})
    assert [(each.name, each.capacity_bytes) for each in both] == [
        ("cpu@one", 2**30),
        ("cpu@two", 2**30),
    ]
    two.nodes.silent.add("one")
    del two.nodes.keepers["two"]
    away = two.launcher.devices(settings, {})  # so what only fits there waits
    assert away == [each._replace(capacity_bytes=0) for each in both]


def test_a_keeper_with_nothing_to_keep_ends() -> None:
    program = (
        "import time; from ttt_harness.launch import ray_cluster; ray_cluster._IDLE_S = 0.1;"
        "keeper = ray_cluster.NodeKeeper(); print(keeper.call('is_idle'), flush=True);"
        "time.sleep(1000)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True\n")


def test_ray_is_not_imported_before_it_is_asked_for() -> None:
    program = (
        "import sys, ttt_harness.launch.ray_cluster, ttt_harness.launch.slurm;"
        "sys.exit(any(name in sys.modules for name in ('ray', 'submitit')))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize("given", ["127.0.0.2:1", "auto"])
def test_no_cluster_is_one_clear_line(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.2:1")
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    with pytest.raises(ConfigError, match=r"no Ray cluster at `127\.0\.0\.2:1`; `ray start"):
        RayCluster(given)


def test_a_missing_library_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"install `ttt-harness\[ray\]`"):
        RayCluster("auto")


class Cluster(Bench):
    """A state whose runs go to a real cluster, each harness a process of its own."""

    address = ""

    def plan(self, *names: str, **settings: object) -> None:
        told = {"launcher": "ray", "state_file": "state.json", "retry_backoff_s": 0, **settings}
        lines = [f"{key} = {json.dumps(value)}" for key, value in told.items()]
        runs = [f'[[runs]]\nname = "{name}"\n' for name in names]
        (self.folder / "harness.toml").write_text(
            "\n".join(["[harness]", *lines, f'ray.address = "{self.address}"', "[defaults]"])
            + f'\nmemory_gb = 0.7\nout_prefix = "."\n{"".join(runs)}'
        )
        (self.folder / "behaviour.json").write_text(json.dumps(self.behaviours))

    def harness(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "ttt_harness", "run", "--ttt-binary", str(self.trainer)],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
        )

    def stop(self, name: str) -> None:
        command = [sys.executable, "-m", "ttt_harness", "stop", name, "--state", "state.json"]
        subprocess.run(command, cwd=self.folder, check=True, timeout=60)


@pytest.fixture(scope="module")
def nodes() -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, str(HELPER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def address(nodes: "subprocess.Popen[str]") -> str:
    assert nodes.stdout is not None
    return nodes.stdout.readline().strip()


@pytest.fixture
def cluster(address: str, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    cluster.address = address
    yield cluster
    cluster.store.close()
    for path in tmp_path.glob("*/pid"):
        if identify(int(path.read_text())) is not None:
            os.killpg(int(path.read_text()), 9)


def wait(condition: Callable[[], object], limit_s: float = 90.0) -> None:
    begun_s = time.monotonic()
    while not condition():
        assert time.monotonic() - begun_s < limit_s
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_harness_finds_its_runs_again_on_two_nodes(cluster: Cluster) -> None:
    cluster.behaviours = {"a": ["wait"], "b": ["wait"], "c": ["save-then-crash", "ok"]}
    cluster.plan(*"abc", total_vram_gb=0.8)  # room for one on each node
    for _ in range(2):
        harness = cluster.harness()
        wait(lambda: stepping(cluster, "a") and stepping(cluster, "b"))
        harness.kill()
        harness.wait()
    assert len({cluster.record(name).device for name in "ab"}) == 2
    cluster.store.save(cluster.record("b")._replace(status="starting", handle=""))
    cluster.go("a")
    cluster.go("b")
    assert cluster.harness().wait(90) == 0
    for name in "ab":
        assert (cluster.folder / name / "history").read_text() == "wait\n"
        assert cluster.causes(name) == ["completed"]
    assert cluster.causes("c") == ["crash", "completed"]
    assert '"event": "resume"' in (cluster.folder / "c" / "stdout.log").read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_is_stopped_with_a_harness_and_without(cluster: Cluster) -> None:
    cluster.behaviours = {"a": ["wait"], "b": ["wait"]}
    cluster.plan(*"ab", total_vram_gb=1.6)
    harness = cluster.harness()
    wait(lambda: stepping(cluster, "a") and stepping(cluster, "b"))
    cluster.stop("a")
    wait(lambda: cluster.record("a").status == "stopped")
    harness.kill()
    harness.wait()
    cluster.stop("b")
    assert [cluster.record(name).status for name in "ab"] == ["stopped", "stopped"]
    assert cluster.causes("b") == ["stopped"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_runs_of_a_node_that_goes_down_go_on_elsewhere(
    cluster: Cluster, nodes: "subprocess.Popen[str]"
) -> None:
    cluster.behaviours = {"a": ["wait", "ok"], "b": ["wait", "ok"]}
    cluster.plan(*"ab", total_vram_gb=0.8, max_retries=10, retry_backoff_s=0.5)
    harness = cluster.harness()
    wait(lambda: stepping(cluster, "a") and stepping(cluster, "b"))
    assert nodes.stdin is not None
    nodes.stdin.write("1\n")
    nodes.stdin.flush()
    wait(lambda: any("signal" in cluster.causes(name) for name in "ab"))
    for name in "ab":
        cluster.go(name)
    assert harness.wait(90) == 0
