import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

Script = Callable[..., Any]


@pytest.fixture
def script(ttt: Callable, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Run `ttt interactive` on some lines."""

    def run(*lines: str, flags: tuple[str, ...] = ("--quiet",)) -> object:
        content = "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        limits = ("--max-tokens", "12", "--no-stop-at-eos")
        return ttt("interactive", str(trained), *limits, *flags)

    return run


def test_a_script_gives_answers_and_nothing_else_and_ends_with_its_input(script: Script) -> None:
    code, out, err = script("Once", "Then")
    assert (code, err) == (0, "")
    assert script("Once", "Then").out == out
    assert out != script("Once").out
    assert out.startswith(script("Once").out)


def test_an_answer_is_that_of_generate(ttt: Callable, trained: Path, script: Script) -> None:
    flags = ("--max-tokens", "12", "--no-stop-at-eos", "--quiet")
    alone = ttt("generate", str(trained), "Once", *flags).out
    assert "Once" + script("Once").out == alone
    [answer, further] = map(json.loads, script("Once", "Then", flags=("--json",)).out.splitlines())
    assert "Once" + answer["text"] + "\n" == alone
    assert answer["finish_reason"] == "length"
    assert further["prompt_tokens"] == 4 + 12 + len("\nThen")


@pytest.mark.parametrize("leave", ["quit", "exit", "/quit"])
def test_words_that_leave(script: Script, leave: str) -> None:
    assert script("Once", leave, "Then") == script("Once")


@pytest.mark.parametrize("line", ["", "/reset", "/set seed 0", "set max_tokens 12"])
def test_lines_that_say_nothing_to_the_model(script: Script, line: str) -> None:
    assert script(line, "Once") == script("Once")


def test_the_seeds_words_and_commands_set_and_show(script: Script) -> None:
    out = script(
        "set max_tokens 3",
        "set temperature 0.5",
        "set top_k none",
        "/set --repetition-penalty 1.3",
        "set stop-at-eos true",
        r"/set stop .\n",
        "show settings",
    ).out
    assert dict(line.split(maxsplit=1) for line in out.splitlines()) == {
        "max_tokens": "3",
        "temperature": "0.5",
        "top_k": "0",
        "top_p": "1.0",
        "repetition_penalty": "1.3",
        "seed": "0",
        "stop": r"'.\n'",
        "stop_at_eos": "True",
        "text": "0 tokens",
    }
    assert script("show").out == script("/show").out
    assert "/save FILE" in script("help").out


def test_settings_take_effect(script: Script) -> None:
    assert len(script("/set max_tokens 1", "Once").out) < len(script("Once").out)


def test_a_fork_comes_back_to_the_same_answer(script: Script) -> None:
    first, second = (
        script("Once", "Then").out,
        script("Once", "/fork", "Never", "/back", "Then").out,
    )
    assert second.startswith(script("Once", "Never").out)
    assert second.endswith(first.removeprefix(script("Once").out))


def test_a_saved_text_goes_on_as_if_it_had_not_been_left(script: Script, tmp_path: Path) -> None:
    state = tmp_path / "with space.state"
    begun = script("Once", f"/save {state}").out
    rest = script(f"/load {state}", "Then").out
    assert begun + rest == script("Once", "Then").out
    assert script("Then", flags=("--quiet", "--state-in", str(state))).out == rest
    empty_line = script(f"/load {state}", "").out
    assert empty_line == script("Once", "").out.removeprefix(begun)


def test_reset_forgets_the_text(script: Script) -> None:
    assert script("Once", "/reset", "Then").out == script("Once").out + script("Then").out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/hepl", "no command /hepl; did you mean /help"),
        ("set temprature 1", "no setting `temprature`; did you mean temperature"),
        ("set", "set needs a setting"),
        ("set temperature", "temperature needs a value"),
        ("set temperature hot", "temperature is hot; expected `float`"),
        ("set temperature -1", "temperature is -1.0; expected 0"),
        ("set max_tokens 1.5", "max_tokens is 1.5; expected `int`"),
        ("/save", "/save needs the name of a file"),
        ("/save /nowhere/a.state", "could not write /nowhere/a.state: No such file"),
        ("/load /nowhere/a.state", "no state at /nowhere/a.state"),
        ("/back", "there is no point to return to"),
        ("caf\udce9", "line 1 of stdin is not UTF-8"),
    ],
)
def test_a_mistake_is_one_line_and_the_text_goes_on(
    script: Script, line: str, message: str
) -> None:
    code, out, err = script(line, "Once")
    assert (code, out) == (0, script("Once").out)
    assert err.count("\n") == 1
    assert message in err


def test_a_line_that_begins_with_a_space_is_text(script: Script) -> None:
    assert script(" quit").out != ""


def test_on_a_terminal_ctrl_c_stops_the_answer_and_ctrl_d_leaves(trained: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ttt_cli", "interactive", str(trained), "--quiet"]
    command += ["--no-stop-at-eos", "--max-tokens", "40"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs) as process:
        os.close(theirs)
        seen = b""

        def read_until(text: bytes) -> None:
            nonlocal seen
            while text not in seen:
                seen += os.read(ours, 1024)
            seen = seen.partition(text)[2]

        read_until(b"> ")
        # After an answer of several mini-batches nothing is left to load or to compile.
        for line in (b"Hello\n", b"set max_tokens 1000000\n"):
            os.write(ours, line)
            read_until(b"\n> ")
        os.write(ours, b"Once\n")
        read_until(b"Once")
        seen = os.read(ours, 1024)
        while len(seen) < 20:
            seen += os.read(ours, 1024)
        process.send_signal(signal.SIGINT)
        read_until(b"\n> ")
        process.send_signal(signal.SIGINT)  # at the prompt it only empties the line
        while not select.select([ours], [], [], 0.5)[0]:  # lost if readline did not wait yet
            process.send_signal(signal.SIGINT)
        read_until(b"\n> ")
        os.write(ours, b"show\n")
        read_until(b" tokens\r\n> ")
        while process.poll() is None:  # as above
            with suppress(OSError):
                os.write(ours, b"\x04")
            time.sleep(0.2)
        assert process.returncode == 0
    os.close(ours)


def test_ctrl_c_stops_the_answer_of_a_script_too(trained: Path) -> None:
    command = [sys.executable, "-m", "ttt_cli", "interactive", str(trained), "--json"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "--max-tokens", "40", "--no-stop-at-eos"], **pipes) as it:
        assert it.stdin is not None
        assert it.stdout is not None
        # As above: the second answer is soon under way.
        it.stdin.write(b"Hello\nset max_tokens 1000000\nOnce\n")
        it.stdin.flush()
        while b"token_ids" not in it.stdout.readline():
            pass
        time.sleep(0.5)
        it.send_signal(signal.SIGINT)
        out, err = it.communicate(timeout=30)
    answer = json.loads(out.splitlines()[-1])
    assert (it.returncode, answer["finish_reason"], err) == (0, "interrupted", b"[interrupted]\n")
    assert answer["tokens"] == len(answer["token_ids"]) > 0
