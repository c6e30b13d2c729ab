"""The launcher `slurm`: what squeue says, and the real thing on a cluster of this machine alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness_bench import Bench
from slurm_cluster import missing, slurm_cluster

from ttt_config import ConfigError, HarnessError
from ttt_config.harness import HarnessConfig, SlurmConfig
from ttt_harness.devices import Device
from ttt_harness.launch.launcher import Ended, Order
from ttt_harness.launch.slurm import SlurmLauncher
from ttt_harness.locks import SupervisorLock

Until = Callable[[Callable[[], object]], None]
CPU = SlurmConfig(gpu=False)
JOB = json.dumps({"job": "7"})


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with what squeue prints; without it, squeue fails."""
    programs, told = tmp_path / "programs", tmp_path / "jobs"
    programs.mkdir()
    for name in ("sbatch", "squeue", "scancel", "srun"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} $* >> {told}.log\nexec cat {told}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return told


@pytest.mark.parametrize(
    ("row", "ended"),
    [
        ("7|a.t|COMPLETED|0|", Ended(0)),
        ("7|a.t|FAILED|768|", Ended(3)),
        ("7|a.t|FAILED|9|", Ended(-9)),
        ("7|a.t|CANCELLED|15|", Ended(-15)),
        ("7|a.t|CANCELLED|0|", Ended(None)),  # before it began: nothing has completed
        ("7|a.t|TIMEOUT|0|", Ended(None)),
        ("7|a.t|NODE_FAIL|0|", Ended(None)),
        ("7|a.t|OUT_OF_MEMORY|9|", Ended(-9, out_of_memory=True)),
        ("8|b.t|RUNNING|0|", Ended(None)),  # it has forgotten ours
        ("7|a.t|PENDING|0|", None),
        ("7|a.t|RUNNING|0|", None),
        ("7|a.t|COMPLETING|0|", None),
    ],
)
def test_how_a_job_stands_is_read_from_squeue(squeue: Path, row: str, ended: Ended | None) -> None:
    squeue.write_text(f"{row}\n")
    launcher = SlurmLauncher(CPU)
    assert launcher.poll(JOB, "t") == ended
    assert launcher.has_begun(JOB) == (row.startswith("7") and "PENDING" not in row)


def test_a_queue_that_does_not_answer_decides_nothing(squeue: Path, tmp_path: Path) -> None:
    assert not squeue.exists()
    launcher = SlurmLauncher(CPU)
    assert launcher.poll(JOB, "t") is None
    with pytest.raises(HarnessError, match="cannot be told"):
        launcher.find("t", tmp_path)


def test_a_job_is_found_by_its_token(squeue: Path, tmp_path: Path) -> None:
    squeue.write_text("7|a.b.t|PENDING|0|\n8|a.u|RUNNING|0|\n")
    launcher = SlurmLauncher(CPU)
    assert launcher.find("t", tmp_path) == JOB
    assert (tmp_path / "harness.turn").read_text() == "t"
    assert launcher.find("b", tmp_path) is None
    assert (tmp_path / "harness.turn").read_text() == ""  # so it does not begin after all


def test_what_waits_is_cancelled_and_what_works_is_signalled(squeue: Path) -> None:
    squeue.write_text("7|a.t|RUNNING|0|\n8|a.u|PENDING|0|\n")
    launcher = SlurmLauncher(CPU)
    launcher.poll(JOB, "t")
    launcher.signal(JOB, signal.SIGTERM)
    launcher.signal(JOB, signal.SIGKILL)
    launcher.signal(json.dumps({"job": "8"}), signal.SIGTERM)
    calls = Path(f"{squeue}.log").read_text().splitlines()
    assert calls[1:] == ["scancel --signal=TERM --batch 7", "scancel 7", "scancel 8"]


@pytest.mark.usefixtures("squeue")
def test_a_single_run_must_fit_and_the_queue_decides_the_rest() -> None:
    (device,) = SlurmLauncher(SlurmConfig()).devices(HarnessConfig(total_vram_gb=10.0), {})
    assert (device.name, device.kind, device.environment) == ("cuda@slurm", "cuda", {})
    assert device.limit_bytes == 9 * 2**30
    assert device.capacity_bytes > 10**6 * device.limit_bytes


@pytest.mark.usefixtures("squeue")
@pytest.mark.parametrize("option", ["long partition", "=3", "--partition long"])
def test_what_is_no_option_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match="is no option of sbatch"):
        SlurmLauncher(SlurmConfig(options=(option,)))


def test_a_machine_without_slurm_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no `sbatch` on the PATH"):
        SlurmLauncher(CPU)


class Cluster(Bench):
    """A state whose runs are jobs of a real Slurm."""

    def renew(self, *options: str, minutes: int = 60) -> None:
        """Another process's launcher."""
        settings = SlurmConfig(gpu=False, options=options, minutes=minutes)
        self.launcher = SlurmLauncher(settings)  # type: ignore


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    if lacking := missing():
        pytest.skip(f"no real Slurm here: {', '.join(lacking)} (Debian: slurm-wlm and munge)")
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def cluster(
    slurm: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    monkeypatch.setattr("ttt_harness.launch.slurm._ASK_EVERY_S", 0.5)
    monkeypatch.setenv("SLURM_CONF", slurm["SLURM_CONF"])
    monkeypatch.setenv("PATH", slurm["PATH"])
    cluster = Cluster(tmp_path)
    cluster.renew()
    yield cluster
    cluster.store.close()
    subprocess.run(["scancel", "--me"], check=True)


def stepping(bench: Bench, name: str) -> bool:
    log = bench.folder / name / "stdout.log"
    return log.exists() and '"step"' in log.read_text()


def leave(bench: Cluster, when: Callable[[], object]) -> None:
    """Leave the supervisor's loop as a kill does."""

    class KilledError(Exception):
        pass

    def kill() -> None:
        if when():
            raise KilledError

    with pytest.raises(KilledError):
        bench.supervisor().run(kill)
    bench.renew()


@pytest.mark.slow
def test_jobs_complete_fail_and_are_retried(cluster: Cluster) -> None:
    cluster.add("a")
    cluster.add("b", "save-then-crash", "ok")
    cluster.add("c", "not-finite")
    cluster.add("d", "killed", "ok")
    assert cluster.run().counts == {"completed": 3, "failed": 1}
    causes = {name: cluster.causes(name) for name in "abcd"}
    assert causes == {
        "a": ["completed"],
        "b": ["crash", "completed"],
        "c": ["not finite"],
        "d": ["signal", "completed"],
    }
    assert '"event": "resume"' in (cluster.folder / "b" / "stdout.log").read_text()
    assert list(cluster.folder.glob("**/*.pkl")) == []


@pytest.mark.slow
def test_a_job_is_adopted_also_one_whose_number_was_lost(cluster: Cluster) -> None:
    cluster.add("a", "wait")
    leave(cluster, lambda: stepping(cluster, "a"))
    cluster.store.save(cluster.record("a")._replace(status="starting", handle=""))
    cluster.go("a")
    assert cluster.run().counts == {"completed": 1}
    assert (cluster.folder / "a" / "history").read_text() == "wait\n"
    assert cluster.causes("a") == ["completed"]


@pytest.mark.slow
def test_a_job_is_stopped_running_or_waiting(cluster: Cluster) -> None:
    cluster.renew("exclusive")  # one at a time
    cluster.add("a", "wait")
    cluster.add("b", "wait")
    supervisor = cluster.supervisor(startup_grace_s=1.0)
    asked: list[str] = []

    def turn() -> None:
        waits = [name for name in "ab" if cluster.record(name).reason == "in the queue"]
        if not asked and waits and any(stepping(cluster, name) for name in "ab"):
            asked.extend(waits)
            cluster.store.ask("stop", ["a", "b"])

    assert supervisor.run(turn).counts == {"stopped": 2}
    assert [cluster.causes(name) for name in "ab"] == [["stopped"], ["stopped"]]
    (waited,) = asked
    assert not (cluster.folder / waited / "history").exists()


@pytest.mark.slow
def test_a_job_whose_turn_is_over_does_nothing(cluster: Cluster, until: Until) -> None:
    out = cluster.folder / "a"
    cluster.add("a")
    out.mkdir()
    device = Device("cpu@slurm", "cpu", "", 0, 0)
    order = Order("a", "t0", (str(cluster.trainer), "train"), out, {}, device, 2**20)
    subprocess.run(["scontrol", "update", "NodeName=ALL", "State=DRAIN", "Reason=test"], check=True)
    handle = cluster.launcher.start(order)
    (out / "harness.turn").write_text("")  # as `find` leaves it, which does not see the job yet
    subprocess.run(["scontrol", "update", "NodeName=ALL", "State=RESUME"], check=True)
    until(lambda: cluster.launcher.poll(handle, "t0") is not None)
    assert cluster.launcher.poll(handle, "t0") == Ended(75)
    assert not (out / "history").exists()


@pytest.mark.slow
def test_a_run_saves_before_its_time_is_over_and_goes_on(cluster: Cluster) -> None:
    cluster.renew(minutes=1)  # less than is left for saving, so it is told as soon as Slurm looks
    cluster.add("a", "wait", "ok")
    assert cluster.supervisor().run().counts == {"completed": 1}
    assert cluster.causes("a") == ["signal", "completed"]
    assert '"signal": "SIGTERM"' in (cluster.folder / "a" / "stdout.log").read_text()


@pytest.mark.slow
def test_what_slurm_refuses_is_told(cluster: Cluster) -> None:
    cluster.renew("partition=nowhere")
    cluster.add("a")
    assert cluster.run(max_retries=0).counts == {"failed": 1}
    assert "Invalid partition" in cluster.record("a").reason


@pytest.mark.slow
def test_a_harness_that_is_killed_finds_its_jobs_again(cluster: Cluster, until: Until) -> None:
    file = cluster.folder / "harness.toml"
    file.write_text(
        '[harness]\nlauncher = "slurm"\nstate_file = "state.json"\nmax_retries = 20\n'
        "slurm.gpu = false\n[defaults]\nmemory_gb = 0.1\nout_prefix = '.'\n"
        '[[runs]]\nname = "a"\n[[runs]]\nname = "b"\n'
    )
    (cluster.folder / "behaviour.json").write_text('{"a": ["wait"], "b": ["wait"]}')
    command = [sys.executable, "-m", "ttt_harness", "run", "-c", str(file)]
    command += ["--ttt-binary", str(cluster.trainer)]
    dice = random.Random(0)
    for _ in range(8):  # before, while and after jobs are submitted
        harness = subprocess.Popen(command, cwd=cluster.folder, stdout=subprocess.DEVNULL)
        until(lambda: SupervisorLock(cluster.paths.database).holder() is not None)
        time.sleep(dice.uniform(0.0, 1.5))
        harness.kill()
        harness.wait()
    harness = subprocess.Popen(command, cwd=cluster.folder, stdout=subprocess.DEVNULL)
    until(lambda: stepping(cluster, "a") and stepping(cluster, "b"))
    harness.kill()
    harness.wait()
    cluster.go("a")
    cluster.go("b")
    subprocess.run(command, cwd=cluster.folder, check=True, timeout=60)
    for name in "ab":
        assert (cluster.folder / name / "history").read_text() == "wait\n"
        # A job that was submitted and found by nobody in time gave up its turn.
        assert set(cluster.causes(name)) <= {"signal", "completed"}
        assert cluster.causes(name).count("completed") == 1
