import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from ttt_cli.app import new_app
from ttt_cli.main import COMMANDS, main
from ttt_config import CheckpointCorruptError

HEAVY = {"torch", "numpy", "rich", "pydantic", "ttt_config", "ttt_training"}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Add the command `fail`, which takes any arguments and raises."""

    def install(error: BaseException) -> None:
        app = new_app()

        @app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
        def fail() -> None:
            raise error

        module = types.ModuleType("failing")
        vars(module)["app"] = app
        monkeypatch.setitem(sys.modules, "failing", module)
        monkeypatch.setitem(COMMANDS, "fail", ("failing", "Fail."))

    return install


def test_help_lists_every_command(ttt: Callable) -> None:
    code, out, err = ttt("--help")
    assert (code, err) == (0, "")
    for name, (_, line) in COMMANDS.items():
        assert [row.split(maxsplit=1) for row in out.splitlines()].count([name, line]) == 1


def test_no_command_is_help(ttt: Callable) -> None:
    assert ttt() == ttt("--help")


def test_help_of_a_command_is_its_own(ttt: Callable) -> None:
    code, out, _ = ttt("config", "--help")
    assert code == 0
    assert out.startswith("Usage: ttt config [OPTIONS] COMMAND")
    assert "completion" not in out


def test_version_is_that_of_the_package(ttt: Callable) -> None:
    assert ttt("--version") == (0, f"ttt {version('ttt')}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_table_names_modules_that_exist(name: str) -> None:
    assert find_spec(COMMANDS[name][0]) is not None


def test_unknown_command_suggests_the_nearest(ttt: Callable) -> None:
    code, out, err = ttt("trian")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "Did you mean 'train'?" in err


def test_unknown_option_points_to_the_help(ttt: Callable) -> None:
    code, _, err = ttt("config", "show", "--stesp", "3")
    assert code == 2
    assert "--steps" in err
    assert "see `ttt config show --help`" in err


def test_our_error_is_one_line_and_its_exit_code(ttt: Callable, failing: Callable) -> None:
    failing(CheckpointCorruptError("model.safetensors is not what its manifest says"))
    expected = "error: model.safetensors is not what its manifest says\n"
    assert ttt("fail") == (5, "", expected)


def test_any_error_with_an_exit_code_is_reported(ttt: Callable, failing: Callable) -> None:
    class KernelError(Exception):
        exit_code = 6

    failing(KernelError("no GPU"))
    assert ttt("fail") == (6, "", "error: no GPU\n")


def test_json_makes_the_error_an_object(ttt: Callable, failing: Callable) -> None:
    failing(CheckpointCorruptError("bad"))
    code, out, err = ttt("fail", "--json")
    assert (code, out) == (5, "")
    assert json.loads(err) == {
        "error": {"type": "CheckpointCorruptError", "exit_code": 5, "issues": ["bad"]}
    }


def test_debug_shows_the_traceback(ttt: Callable, failing: Callable) -> None:
    failing(CheckpointCorruptError("bad"))
    code, _, err = ttt("fail", "--debug")
    assert code == 5
    assert "Traceback" in err
    assert err.endswith("error: bad\n")


def test_switch_behind_a_double_dash_is_no_switch(ttt: Callable, failing: Callable) -> None:
    failing(CheckpointCorruptError("bad"))
    assert "Traceback" not in ttt("fail", "--", "--debug").err


def test_a_bug_keeps_its_traceback(failing: Callable) -> None:
    failing(ZeroDivisionError("bug"))
    with pytest.raises(ZeroDivisionError, match="bug"):
        main(["fail"])


def test_interrupt_is_130_and_silent(ttt: Callable, failing: Callable) -> None:
    failing(KeyboardInterrupt())
    assert ttt("fail") == (130, "", "")


def test_several_problems_are_one_line_each(ttt: Callable) -> None:
    code, _, err = ttt("config", "show", "--lr", "fast", "--steps", "0")
    assert code == 3
    assert [line.split(":")[0] for line in err.splitlines()] == ["error", "error"]


def test_reader_that_leaves_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "ttt_cli", "config", "schema"]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert done.stderr == b""
    assert done.returncode == 1


def test_a_full_disk_behind_stdout_is_one_line() -> None:
    command = [sys.executable, "-m", "ttt_cli", "config", "schema"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No space left on device" in done.stderr


def test_an_error_of_the_system_is_one_line(ttt: Callable, failing: Callable) -> None:
    failing(PermissionError(13, "Permission denied", "notes.txt"))
    assert ttt("fail") == (1, "", "error: cannot use notes.txt: Permission denied\n")


def test_closed_streams_are_empty_ones() -> None:
    command = f"exec {sys.executable} -m ttt_cli --version <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0


def test_help_imports_no_command_and_nothing_heavy() -> None:
    code = (
        "import sys; from ttt_cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "ttt_cli.main" in loaded
    assert not {name.split(".")[0] for name in loaded} & HEAVY
    assert not [name for name in loaded if name.startswith("ttt_cli.commands")]
