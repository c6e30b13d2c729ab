import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness_bench import FAKE_TRAINER

from ttt_harness.main import COMMANDS
from ttt_harness.process import identify

HARNESS = """
[harness]
total_vram_gb = 2.5
retry_backoff_s = 0
settle_grace_s = 0
stop_grace_s = 5
[defaults]
memory_gb = 1
[[runs]]
name = "a"
[[runs]]
name = "b"
[[runs]]
name = "c"
after = ["a"]
"""

Command = Callable[..., tuple[object, str, str]]
Behave = Callable[..., None]
Until = Callable[[Callable[[], object]], None]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a harness file and a trainer that pretends."""
    monkeypatch.chdir(tmp_path)
    trainer = tmp_path / "fake-ttt"
    trainer.write_text(f"#!{sys.executable} -S\n{FAKE_TRAINER.read_text()}")
    trainer.chmod(trainer.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "harness.toml").write_text(HARNESS)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "behaviour.json").write_text("{}")
    return tmp_path


@pytest.fixture
def behave(place: Path) -> Behave:
    """Say how a run behaves, attempt after attempt."""

    def set_words(name: str, *words: str) -> None:
        file = place / "runs" / "behaviour.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), name: words}))

    return set_words


@pytest.fixture
def run(command: Command, place: Path) -> Command:
    def with_trainer(*args: str) -> tuple[object, str, str]:
        return command("run", "--ttt-binary", str(place / "fake-ttt"), *args)

    return with_trainer


def start(place: Path, *args: str) -> subprocess.Popen[str]:
    """Start a harness in a process of its own."""
    trainer = str(place / "fake-ttt")
    return subprocess.Popen(
        [sys.executable, "-m", "ttt_harness", "run", "--ttt-binary", trainer, *args],
        cwd=place,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def has_step(place: Path, name: str) -> bool:
    log = place / "runs" / name / "stdout.log"
    return log.exists() and '"step"' in log.read_text()


def test_help_lists_every_command(command: Command) -> None:
    code, out, err = command("--help")
    assert (code, err) == (0, "")
    for name, line in COMMANDS.items():
        assert [row.split(maxsplit=1) for row in out.splitlines()].count([name, line]) == 1
    assert command() == (code, out, err)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_is_its_own(command: Command, name: str) -> None:
    code, out, _ = command(name, "--help")
    assert code == 0
    assert out.lower().startswith(f"usage: ttt-harness {name} [options]")


def test_unknown_commands_and_options_say_what_is_near(command: Command) -> None:
    assert command("stauts")[0] == 2
    assert "Did you mean 'status'?" in command("stauts")[2]
    code, _, err = command("status", "--jsn")
    assert code == 2
    assert err == "error: unrecognized arguments: --jsn (see `ttt-harness status --help`)\n"
    code, _, err = command("watch", "--jsn")
    assert code == 2
    assert "--json" in err
    assert command("--version")[1].startswith("ttt-harness ")


def test_a_harness_runs_everything_and_says_so(run: Command, command: Command) -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    lines = [line.split("  ", 1)[1] for line in out.splitlines()[:-1]]
    assert lines[:2] == ["a  started: on cpu", "b  started: on cpu"]
    assert sorted(lines[2:])[:2] == ["a  completed", "b  completed"]
    assert out.endswith("3 completed\n")
    code, out, _ = run()  # what has completed stays so
    assert (code, out) == (0, "3 completed\n")
    code, out, _ = command("status")
    assert code == 0
    assert out.splitlines()[0].split() == [
        *("run", "status", "step", "loss", "val", "loss", "tokens/s", "memory", "ETA"),
        *("device", "note"),
    ]
    assert out.splitlines()[1].split()[:6] == ["a", "completed", "4/4", "0.2500", "0.5000", "640"]
    assert out.endswith("3 completed\n")


def test_json_is_a_line_for_everything_that_happens(run: Command, command: Command) -> None:
    _, out, _ = run("--json")
    events = [json.loads(line) for line in out.splitlines()]
    ended = [event["run"] for event in events if event.get("what") == "completed"]
    assert sorted(ended) == ["a", "b", "c"]
    assert ended.index("a") < ended.index("c")
    assert events[-1] == {"event": "end", "counts": {"completed": 3}, "stopped": None}
    status = json.loads(command("status", "--json")[1])
    assert status["supervisor"] is None
    a, _, c = status["runs"]
    assert (a["name"], a["status"], a["step"], a["steps"]) == ("a", "completed", 4, 4)
    assert (a["checkpoint_step"], a["val_loss"], c["after"]) == (4, 0.5, ["a"])


def test_a_failure_is_told_at_the_end_with_its_reason(
    run: Command, command: Command, behave: Behave
) -> None:
    behave("a", "not-finite")
    code, out, err = run()
    assert code == 9
    assert err.startswith("error: `a`: not finite: step 3: the loss is nan; `ttt-harness logs RUN`")
    assert "1 failed, 1 completed, 1 skipped" in out
    behave("a", "not-finite", "ok")
    assert run()[0] == 9  # not tried again of itself
    assert command("reset", "a") == (0, "Reset: a\n", "")
    assert run()[0] == 0  # and what was skipped for its sake comes back


def test_logs_show_the_attempts_and_what_was_written(
    run: Command, command: Command, behave: Behave, place: Path
) -> None:
    behave("a", "crash", "ok")
    run()
    code, out, _ = command("logs", "a", "-n", "2")
    assert code == 0
    assert out.startswith("attempt 1: crash after 0 s: Traceback (most recent call last):")
    assert "attempt 2: completed" in out
    assert f"{place}/runs/a/stdout.log\n" in out
    assert "RuntimeError: no luck" in out
    found = json.loads(command("logs", "a", "--json", "--follow")[1])
    assert [attempt["cause"] for attempt in found["attempts"]] == ["crash", "completed"]
    assert json.loads(found["stdout.log"][-1])["event"] == "done"
    assert command("logs", "x")[2] == "error: no run `x`; there are a, b, c\n"


def test_reset_takes_both_spellings_and_refuses_what_makes_no_sense(
    run: Command, command: Command, place: Path
) -> None:
    run()
    assert command("reset", "a")[2] == "error: run `a` has completed; --fresh does it anew\n"
    assert command("reset")[2] == "error: name a run, or --all\n"
    code, out, _ = command("reset", "--run-id", "a", "b", "--fresh")
    assert code == 0
    assert out.splitlines()[:2] == ["Reset: b", "Reset: a"]
    assert (place / "runs" / "a.old1" / "stdout.log").exists()
    assert not (place / "runs" / "a").exists()
    code, out, _ = run()
    assert (code, out.splitlines()[-1]) == (0, "3 completed")
    assert (place / "runs" / "a" / "history").read_text() == "ok\n"


def test_the_state_can_be_named_by_either_file(run: Command, command: Command, place: Path) -> None:
    run()
    shown = command("status")
    for name in ("harness_state.json", "harness_state.db", "harness_state"):
        assert command("status", "-s", name) == shown
    (place / "old.json").write_text((place / "harness_state.json").read_text())
    code, out, _ = command("status", "--state", "old.json")  # as ttt-rs leaves it, alone
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[1:4]] == [
        [name, "completed"] for name in "abc"
    ]


@pytest.mark.parametrize("content", ["", "{}", '{"runs": 3}', "no database"])
def test_a_state_that_is_none_is_one_line(command: Command, place: Path, content: str) -> None:
    assert command("status")[2].startswith("error: no harness state harness_state.db")
    (place / "x.json").write_text(content)
    (place / "y.db").write_text(f"{content} and more, so that it is no empty file")
    for name in ("x.json", "y.db"):
        code, _, err = command("status", "-s", name)
        assert code == 9
        assert "is no harness state" in err
        assert err.count("\n") == 1


def test_two_harnesses_on_one_state_refuse_each_other(
    run: Command, command: Command, behave: Behave, place: Path, until: Until
) -> None:
    behave("a", "wait")
    with start(place) as first:
        until(lambda: has_step(place, "a"))
        code, _, err = run()
        assert code == 9
        assert err.startswith(f"error: process {first.pid} works on harness_state.db already")
        assert f"supervised by process {first.pid}" in command("status")[1]
        (place / "runs" / "a" / "go").touch()
        first.communicate()
    assert first.returncode == 0


def test_stop_asks_the_harness_that_runs(
    run: Command, command: Command, behave: Behave, place: Path, until: Until
) -> None:
    behave("a", "wait", "ok")
    with start(place) as harness:
        until(lambda: has_step(place, "a"))
        assert command("stop", "a")[1] == f"Stop: a, asked of process {harness.pid}\n"
        _, err = harness.communicate()
    assert harness.returncode == 75
    assert err == "error: runs were stopped; `ttt-harness reset RUN` brings them back\n"
    assert command("reset", "--all")[0] == 0
    assert run()[0] == 0


def test_stop_works_without_a_harness(
    command: Command, behave: Behave, place: Path, until: Until
) -> None:
    behave("a", "wait")
    with start(place) as harness:
        until(lambda: has_step(place, "a"))
        log = place / "runs" / "b" / "stdout.log"
        until(lambda: log.exists() and '"done"' in log.read_text())
        harness.kill()
        harness.communicate()
    out = command("status")[1]
    assert "nobody supervises: `ttt-harness run` goes on" in out
    code, out, _ = command("stop", "--all", "--json")
    assert code == 0
    assert {"a", "c"} <= set(json.loads(out)["stop"])
    pid = int((place / "runs" / "a" / "pid").read_text())
    assert identify(pid) is None
    runs = json.loads(command("status", "--json")[1])["runs"]
    assert [each["status"] for each in runs] == ["stopped", "completed", "stopped"]


def test_ctrl_c_lets_runs_save_and_the_next_harness_goes_on(
    run: Command, behave: Behave, place: Path, until: Until
) -> None:
    behave("a", "wait", "ok")
    with start(place) as harness:
        until(lambda: has_step(place, "a"))
        harness.send_signal(signal.SIGTERM)
        _, err = harness.communicate()
    assert harness.returncode == 75
    assert err == "error: stopped by SIGTERM; `ttt-harness run` goes on\n"
    assert '"stop"' in (place / "runs" / "a" / "stdout.log").read_text()
    assert run()[0] == 0


def test_watch_ends_when_all_have_ended(run: Command, command: Command) -> None:
    run()
    assert command("watch", "--every", "0.1") == command("status")
    assert json.loads(command("watch", "--json")[1])["supervisor"] is None


def test_a_dry_run_prints_the_plan_and_writes_nothing(run: Command, place: Path) -> None:
    before = sorted(place.rglob("*"))
    code, out, _ = run("--dry-run")
    assert code == 0
    rows = [line.split("  ") for line in out.splitlines()]
    assert [row[-1] for row in rows[:3]] == ["starts on cpu", "starts on cpu", "waits after a"]
    assert "cpu (RAM): 2.00 GiB of 2.25 GiB taken" in out
    assert sorted(place.rglob("*")) == before
    run()
    found = json.loads(run("--dry-run", "--json")[1])
    assert [each["fate"] for each in found["runs"]] == ["completed"] * 3


def test_estimate_says_what_would_make_a_run_fit(command: Command, place: Path) -> None:
    (place / "harness.toml").write_text("""
[harness]
total_vram_gb = 10
[[runs]]
name = "fits"
batch = 4
[[runs]]
name = "halved"
batch = 16
[[runs]]
name = "checked"
batch = 15
[[runs]]
name = "never"
batch = 63
[[runs]]
name = "refused"
seed = 13
batch = 2
""")
    arguments = ("estimate", "--ttt-binary", str(place / "fake-ttt"))
    code, out, err = command(*arguments)
    assert code == 0
    assert "memory of 5 of 5 kinds of run estimated" in err
    assert "fits  5.00 GiB, expected, with what past runs held beyond it: " in out
    assert "  fits with batch_size = 4, grad_accum_steps = 4: 5.00 GiB, the same batches" in out
    assert "  fits with batch_size = 15, grad_accum_steps = 1, activation_checkpointing" in out
    assert "  fits on no device, also in the smallest pieces" in out
    assert "refused           -  failed: configuration: no text" in out
    remedies = json.loads(command(*arguments, "--json", "--quiet")[1])["remedies"]
    assert sorted(remedies) == ["checked", "halved", "never"]


def test_what_is_wrong_with_the_file_is_exit_code_3(command: Command, place: Path) -> None:
    (place / "harness.toml").write_text("[harness]\nmax_retrys = 1")
    code, _, err = command("run")
    assert code == 3
    assert "did you mean `max_retries`" in err
    code, _, err = command("run", "--json", "-c", "nowhere.toml")
    assert code == 3
    assert json.loads(err)["error"]["type"] == "ConfigError"


@pytest.fixture
def runpod(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A rented pod with a `runpodctl` that only notes what it is asked."""
    control = place / "bin" / "runpodctl"
    control.parent.mkdir()
    control.write_text(
        f'#!/bin/sh\necho "$@" >> {place}/asked\n'
        f"if [ -e {place}/refusal ]; then echo no such pod >&2; exit 1; fi\n"
    )
    control.chmod(0o755)
    monkeypatch.setenv("PATH", f"{control.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("RUNPOD_POD_ID", "pod-7")
    file = place / "harness.toml"
    file.write_text(HARNESS.replace("[defaults]", "[harness.runpod]\nenabled = true\n[defaults]"))
    return place / "asked"


def test_a_pod_stops_itself_when_everything_has_completed(run: Command, runpod: Path) -> None:
    assert run()[0] == 0
    assert runpod.read_text() == "stop pod pod-7\n"


def test_a_pod_goes_on_after_a_failure(run: Command, behave: Behave, runpod: Path) -> None:
    behave("b", "not-finite")
    assert run()[0] == 9
    assert not runpod.exists()


def test_a_refusal_to_stop_the_pod_is_told(run: Command, runpod: Path) -> None:
    runpod.with_name("refusal").touch()
    code, _, err = run()
    assert code == 9
    assert err == "error: runpodctl could not stop the pod pod-7: no such pod\n"


def test_a_machine_that_is_no_pod_is_known_before_anything_starts(
    run: Command, runpod: Path, monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    monkeypatch.delenv("RUNPOD_POD_ID")
    code, _, err = run()
    assert code == 3
    assert "RUNPOD_POD_ID is not set" in err
    monkeypatch.setenv("RUNPOD_POD_ID", "pod-7")
    (place / "bin" / "runpodctl").unlink()
    assert "no `runpodctl` on the PATH" in run()[2]
    assert not runpod.exists()
    assert not (place / "runs" / "a").exists()


def test_status_imports_nothing_heavy(run: Command, place: Path) -> None:
    run()
    code = (
        "import sys; from ttt_harness.main import main\n"
        "try: main(['status'])\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert not loaded & {"torch", "numpy", "rich", "msgspec", "psutil", "ttt_config"}
