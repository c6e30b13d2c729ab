"""Stands in for `ttt`: behaves as `behaviour.json` beside a run says, one word for each attempt.

Only the standard library, so that an attempt takes hundredths of a second.
"""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

STEPS = 4
TRACEBACK = "Traceback (most recent call last):\n  File somewhere\n"


def say(**event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def fail(kind: str, code: int, issue: str) -> None:
    report = {"type": kind, "exit_code": code, "issues": [issue]}
    sys.stderr.write(json.dumps({"error": report}) + "\n")
    sys.exit(code)


def step(number: int) -> None:
    say(
        event="step",
        step=number,
        loss=1.0 / number,
        tokens=64 * number,
        tokens_per_s=640.0,
        peak_memory_bytes=number << 20,
    )


def finish(start: int) -> None:
    for number in range(start + 1, STEPS + 1):
        step(number)
    say(event="eval", step=STEPS, val_loss=0.5)
    say(event="checkpoint", step=STEPS, path="somewhere")
    say(event="done", steps=STEPS, val_loss=0.5)


def stop(number: int, _: object) -> None:
    say(event="stop", step=1, signal=signal.Signals(number).name)
    fail("PreemptedError", 75, "stopped by SIGTERM after step 1 of 4")


def dry_run(config: dict[str, dict[str, object]]) -> None:
    """Say what a run would take: 1 MiB of parameters, 1 GiB for each sequence of a batch."""
    train = config["train"]
    if train["seed"] == 13:
        fail("DataError", 4, "no text")
    activations = int(str(train["batch_size"])) << 30
    if train["activation_checkpointing"]:
        activations //= 4
    say(memory={"parameters": 1 << 20, "activations": activations})
    sys.exit()


def main() -> None:
    if "--dry-run" in sys.argv:
        dry_run(tomllib.loads(Path(sys.argv[3]).read_text()))
    options = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=False))
    out = Path(options["--out"])
    history = out / "history"
    attempts = history.read_text().split() if history.exists() else []
    words = json.loads((out.parent / "behaviour.json").read_text()).get(out.name, ["ok"])
    word = words[min(len(attempts), len(words) - 1)]
    with history.open("a") as file:
        file.write(f"{word}\n")
    (out / "environment.json").write_text(json.dumps(dict(os.environ)))
    (out / "pid").write_text(str(os.getpid()))
    saved = out / "saved"
    start = int(saved.read_text()) if saved.exists() else 0
    if start:
        say(event="resume", step=start, checkpoint="somewhere", skipped=[], changed=[])
    signal.signal(signal.SIGTERM, stop)
    say(event="start", steps=STEPS, tokens_per_step=64)
    behave(word, out, start)


def behave(word: str, out: Path, start: int) -> None:
    if word == "ok":
        finish(start)
    elif word == "save-then-crash":
        step(1)
        say(event="checkpoint", step=1, path="somewhere")
        (out / "saved").write_text("1")
        sys.exit(TRACEBACK + "RuntimeError: no luck")
    elif word == "crash":
        sys.exit(TRACEBACK + "RuntimeError: no luck")
    elif word == "out-of-memory":
        sys.exit(TRACEBACK + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB")
    elif word == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "not-finite":
        fail("NonFiniteError", 7, "step 3: the loss is nan")
    elif word in ("configuration", "data", "checkpoint", "kernel"):
        code = {"configuration": 3, "data": 4, "checkpoint": 5, "kernel": 6}[word]
        fail("Error", code, f"a problem of {word}")
    elif word == "preempted":
        stop(signal.SIGTERM, None)
    elif word == "hang":  # output without progress
        step(1)
        while True:
            sys.stderr.write("still here\n")
            time.sleep(0.02)
    elif word == "silence":
        step(1)
        time.sleep(1000)
    elif word == "slow-start":
        while True:
            sys.stderr.write("reading\n")
            time.sleep(0.02)
    elif word in ("wait", "stubborn"):  # until told to go on, or to stop
        if word == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        step(1)
        while not (out / "go").exists():
            time.sleep(0.01)
        finish(max(start, 1))
    elif word == "leaves-a-child":
        child = subprocess.Popen(["sleep", "1000"])
        (out / "child").write_text(str(child.pid))
        finish(start)
    elif word == "killed-with-a-child":
        child = subprocess.Popen(["sleep", "1000"])
        (out / "child").write_text(str(child.pid))
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        raise ValueError(word)


if __name__ == "__main__":
    main()
