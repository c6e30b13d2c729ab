import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def complete(tmp_path: Path) -> Callable[[str], list[str]]:
    """What a real bash with our script offers for the last word of a line."""
    program = tmp_path / "ttt"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ttt_cli "$@"\n')
    program.chmod(0o755)

    def ask(line: str) -> list[str]:
        words = line.split(" ")
        script = (
            'eval "$(ttt completions bash)"\n'
            f"COMP_WORDS=({' '.join(word or repr('') for word in words)})\n"
            f"COMP_CWORD={len(words) - 1}\n"
            "_ttt_completion ttt\n"
            'printf "%s\\n" "${COMPREPLY[@]}"\n'
        )
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        return done.stdout.split()

    return ask


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ttt tr", ["train"]),
        ("ttt train --warmup", ["--warmup-steps"]),
        ("ttt config s", ["show", "schema"]),
        ("ttt config show --weight", ["--weight-decay"]),
        ("ttt train --size 125m", ["125m", "125m-h32"]),
        ("ttt completions ", list(SHELLS)),
        ("ttt --ver", ["--version"]),
    ],
)
def test_bash_completes_commands_options_and_values(
    complete: Callable[[str], list[str]], line: str, offered: list[str]
) -> None:
    assert complete(line) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_accepts_its_script(ttt: Callable, shell: str) -> None:
    code, script, err = ttt("completions", shell)
    assert (code, err) == (0, "")
    assert "_TTT_COMPLETE=complete_" + shell in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)
    as_json = json.loads(ttt("completions", shell, "--json").out)
    assert as_json == {"shell": shell, "script": script.removesuffix("\n")}


def test_another_shell_is_one_line(ttt: Callable) -> None:
    code, out, err = ttt("completions", "tcsh")
    assert (code, out) == (2, "")
    assert err.startswith("error: Invalid value for 'SHELL'")
    assert "'bash', 'zsh', 'fish'" in err
    assert err.count("\n") == 1
