"""Law: on a run in any state a command works, or says in one line what is wrong and where.

Either way the run is as it was; `BAD` lists every bad input with what is said of it.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from ttt_data import Tokenizer
from ttt_training.manifest import encode_manifest, read_manifest

COMMANDS = {
    "train --resume": ("train", "--resume", "{run}", "--steps", "5", "--quiet"),
    "eval": ("eval", "{run}", "--samples", "2", "--no-gain"),
    "generate": ("generate", "{run}", "a", "--max-tokens", "2"),
    "interactive": ("interactive", "{run}", "--max-tokens", "2"),
    "state save": ("state", "save", "{run}", "{out}/b.state", "--text", "abc"),
    "state load": ("state", "load", "{run}", "{state}"),
    "info": ("info", "{run}"),
    "info -v": ("info", "{run}", "-v"),
    "export-metrics": ("export-metrics", "{run}", "-o", "{out}/m.csv"),
    "ckpt ls": ("ckpt", "ls", "{run}"),
    "ckpt verify": ("ckpt", "verify", "{run}"),
    "ckpt prune": ("ckpt", "prune", "{run}", "--keep-last", "1"),
}
RESUME = ("train --resume",)
MODEL = ("eval", "generate", "interactive", "state save", "state load")
RECORDS = ("info", "info -v", "export-metrics")
FILES = ("ckpt ls", "ckpt verify", "ckpt prune")
ALL = (*RESUME, *MODEL, *RECORDS, *FILES)
CHECKPOINT = "checkpoints/step-000004"


def empty(run: Path) -> None:
    shutil.rmtree(run)
    run.mkdir()


def be_a_file(run: Path) -> None:
    shutil.rmtree(run)
    run.write_text("[model]\n")


def cut(name: str) -> Callable[[Path], None]:
    """Leave half of a file."""

    def change(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: len(content) // 2])

    return change


def cut_within_a_line(run: Path) -> None:
    """Between two lines what is left is a configuration, too: of a version with fewer fields."""
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text[: text.index("weight_decay") + 6])


def lose(name: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / name).unlink()

    return change


def swap(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        content = (run / name).read_text()
        assert old in content
        (run / name).write_text(content.replace(old, new, 1))

    return change


def lose_checkpoints(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")


def half_line_at_the_end(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write('{"event":"step","st')


def broken_line(run: Path) -> None:
    first, second, *others = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join([first, second[:9] + "\n", *others]))


def metrics_are_a_folder(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()


def tokenizer_of_another_run(run: Path) -> None:
    (run / "tokenizer.json").write_text(Tokenizer.load("bpe-4096").to_json())


def second_checkpoint(run: Path) -> None:
    """Add one that is older and worse."""
    older = shutil.copytree(run / CHECKPOINT, run / "checkpoints/step-000002")
    manifest = msgspec.structs.replace(read_manifest(older), step=2, val_loss=9.0)
    (older / "manifest.json").write_bytes(encode_manifest(manifest))


def told(commands: tuple[str, ...], code: int, said: str) -> dict[str, tuple[int, str]]:
    """The same exit code and text for several commands."""
    return dict.fromkeys(commands, (code, said))


NO_RUN = "{run} is not a run directory: expected config.toml, tokenizer.json and checkpoints/"
CUT = "{run}/" + CHECKPOINT + "/{file} is cut short: "
WHICH = "; restore it or take another checkpoint: `ttt ckpt ls {run}`"
NEWER = "{run}/" + CHECKPOINT + "/manifest.json has format 4, this version of ttt reads format 3; "
UNKNOWN = "unknown field `{field}` (file {run}/config.toml, line "
SAVED = "no checkpoint in {run}/checkpoints: the run stopped before its first save; `ttt train "

BAD: dict[str, tuple[Callable[[Path], None], dict[str, tuple[int, str]]]] = {
    "empty directory": (
        empty,
        told(ALL, 5, NO_RUN) | told(("export-metrics",), 5, "no run directory matches `{run}`"),
    ),
    "no such directory": (
        shutil.rmtree,
        told(ALL, 5, "no run directory {run}; `ttt train --out` writes one")
        | told(("export-metrics",), 5, "no run directory matches `{run}`"),
    ),
    "a file": (
        be_a_file,
        told(ALL, 5, "no run directory {run}; `ttt train --out` writes one")
        | told(("export-metrics",), 5, "no run directory matches `{run}`"),
    ),
    "config.toml missing": (
        lose("config.toml"),
        told(ALL, 5, "{run}/config.toml is missing; the run is not complete"),
    ),
    "config.toml cut short": (
        cut_within_a_line,
        told((*RESUME, *MODEL, *RECORDS), 3, "{run}/config.toml is not a TOML file: "),
    ),
    "config.toml with a field of a newer version": (
        swap("config.toml", "[train]", "[train]\nmeta_outlook = 3"),
        told(
            (*RESUME, *MODEL, *RECORDS),
            3,
            UNKNOWN.replace("{field}", "train.meta_outlook"),
        ),
    ),
    "config.toml of another model": (
        swap("config.toml", "hidden_size = 32", "hidden_size = 64"),
        told((*RESUME, *MODEL), 5, "{run}/config.toml: the table `model` is not the one step-0000"),
    ),
    "tokenizer.json missing": (
        lose("tokenizer.json"),
        told(ALL, 5, "{run}/tokenizer.json is missing; the run is not complete"),
    ),
    "tokenizer.json of another run": (
        tokenizer_of_another_run,
        told(
            (*RESUME, *MODEL),
            5,
            "{run}/tokenizer.json is not the one step-000004 was trained with; restore it",
        ),
    ),
    "no checkpoint yet": (lose_checkpoints, told((*RESUME, *MODEL), 5, SAVED)),
    "model.safetensors cut short": (
        cut(f"{CHECKPOINT}/model.safetensors"),
        told((*MODEL, "ckpt verify"), 5, CUT.replace("{file}", "model.safetensors"))
        | told(
            RESUME, 5, "no whole checkpoint in {run}/checkpoints; " + CUT.partition("{file}")[0]
        ),
    ),
    "optim.safetensors cut short": (
        cut(f"{CHECKPOINT}/optim.safetensors"),
        told((*MODEL, "ckpt verify"), 5, CUT.replace("{file}", "optim.safetensors"))
        | told(
            RESUME, 5, "no whole checkpoint in {run}/checkpoints; " + CUT.partition("{file}")[0]
        ),
    ),
    "manifest.json missing": (
        lose(f"{CHECKPOINT}/manifest.json"),
        told((*RESUME, *MODEL, "ckpt verify"), 5, CHECKPOINT + "/manifest.json is missing: "),
    ),
    "manifest.json of a newer version": (
        swap(f"{CHECKPOINT}/manifest.json", '"format": 3', '"format": 4'),
        told((*RESUME, *MODEL, "ckpt verify"), 5, NEWER + "use the version that wrote it"),
    ),
    "metrics.jsonl with half a line at the end": (half_line_at_the_end, {}),
    "metrics.jsonl with a broken line": (
        broken_line,
        told(RECORDS, 5, "{run}/metrics.jsonl line 2 is damaged: "),
    ),
    "metrics.jsonl missing": (lose("metrics.jsonl"), {}),
    "metrics.jsonl is a folder": (
        metrics_are_a_folder,
        told(RECORDS, 5, "cannot read {run}/metrics.jsonl: Is a directory")
        | told(RESUME, 5, "cannot write {run}/metrics.jsonl: Is a directory; make {run} writable"),
    ),
    "events.jsonl cut short": (cut("events.jsonl"), {}),
    "run.json cut short": (cut("run.json"), {}),
    "nothing wrong": (lambda _: None, {}),
}
"""What is wrong with a run, and the exit code and text of each command that cannot do without; the
others work."""


def contents(folder: Path) -> dict[str, str]:
    """The hash of every file."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in [folder, *folder.rglob("*")]
        if path.exists()
    }


@pytest.fixture(scope="module")
def state(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the model of a trained run remembers of a text."""
    from ttt_cli.main import main

    path = tmp_path_factory.mktemp("states") / "a.state"
    with pytest.raises(SystemExit) as end:
        main(["state", "save", str(trained), str(path), "--text", "abc", "--quiet"])
    assert end.value.code == 0
    return path


class Place(NamedTuple):
    """Where commands run: a copy of the trained run, and an empty folder for what they write."""

    run: Path
    out: Path
    state: Path

    def arguments(self, command: str) -> list[str]:
        """Of one of the commands."""
        return [part.format(**self._asdict()) for part in COMMANDS[command]]


def make_place(folder: Path, trained: Path, state: Path) -> Place:
    (folder / "out").mkdir()
    return Place(shutil.copytree(trained, folder / "run"), folder / "out", state)


@pytest.fixture
def place(trained: Path, state: Path, tmp_path: Path) -> Place:
    return make_place(tmp_path, trained, state)


@pytest.fixture(autouse=True)
def stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line to continue, for `interactive`."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Once\n")))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("wrong", BAD)
def test_a_command_works_or_says_in_one_line_what_is_wrong(
    ttt: Callable, place: Place, wrong: str, command: str
) -> None:
    change, expected = BAD[wrong]
    change(place.run)
    before, before_all = contents(place.run), contents(place.run.parent)
    code, out, err = ttt(*place.arguments(command))
    if command not in expected:
        assert code == 0, err
        assert "error: " not in err
        assert command == "train --resume" or contents(place.run) == before
        return
    expected_code, said = expected[command]
    assert (code, out) == (expected_code, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said.replace("{run}", str(place.run)) in err
    assert contents(place.run.parent) == before_all


@pytest.mark.parametrize("command", MODEL)
def test_a_damaged_checkpoint_comes_with_the_way_to_a_whole_one(
    ttt: Callable, place: Place, command: str
) -> None:
    second_checkpoint(place.run)
    cut(f"{CHECKPOINT}/model.safetensors")(place.run)
    err = ttt(*place.arguments(command)).err
    assert err.endswith(f"{WHICH.format(run=place.run)}\n")
    listed = ttt("ckpt", "ls", str(place.run)).out.splitlines()
    assert [line.split("  ")[0] for line in listed] == ["step-000002", "step-000004"]
    assert listed[0].endswith("whole")
    assert "DAMAGED" in listed[1]


def test_a_field_of_a_newer_version_is_told_as_one(ttt: Callable, place: Place) -> None:
    swap("config.toml", "[model]", "[model]\nmeta_outlook = 3")(place.run)
    err = ttt("info", str(place.run)).err
    assert "`model.meta_outlook`" in err
    assert err.endswith("lists them all, or a newer version of ttt wrote the file\n")


def test_a_run_without_a_checkpoint_comes_with_the_way_to_begin_it_again(
    ttt: Callable, place: Place
) -> None:
    lose_checkpoints(place.run)
    err = ttt(*place.arguments("generate")).err
    assert err.endswith(f"`ttt train --resume auto --out {place.run}` begins it again\n")
    assert ttt("train", "--resume", "auto", "--out", str(place.run), "--quiet").code == 0
    assert (place.run / CHECKPOINT).is_dir()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder one that this process cannot write; root becomes somebody else for a while."""
    modes = {path: path.stat().st_mode for path in [folder, *folder.rglob("*")]}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222 | 0o444)
    root = os.geteuid() == 0
    if root:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)
        for path, mode in modes.items():
            path.chmod(mode)


@pytest.fixture
def public_place(trained: Path, state: Path) -> Generator[Place]:
    """A place that every user can read, unlike pytest's own folders; with two checkpoints."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copy(state, folder / "a.state")
        made = make_place(folder, trained, folder / "a.state")
        second_checkpoint(made.run)
        yield made


READ_ONLY = {
    **dict.fromkeys(COMMANDS, (0, "")),
    "train --resume": (
        5,
        "cannot write {run}/metrics.jsonl.tmp: Permission denied; make {run} wri",
    ),
    "train --overwrite": (
        3,
        "`out`: cannot write {run}: {run} is not a writable directory; choose ",
    ),
    "train": (
        3,
        "`out`: cannot write {run}/new: {run} is not a writable directory; choose another",
    ),
    "eval --csv": (3, "--csv: cannot write `{run}/e.csv`: Permission denied"),
    "state save": (5, "cannot write {out}/b.state: the folder {out} is not writable"),
    "export-metrics": (3, "cannot write `{out}/m_train.csv`: Permission denied"),
    "ckpt prune": (5, "cannot remove {run}/checkpoints/step-000002: Permission denied"),
}
"""Exit code and text on a read-only run."""


@pytest.mark.parametrize("command", READ_ONLY)
def test_a_read_only_directory_can_be_read(
    ttt: Callable, public_place: Place, tmp_path: Path, trained: Path, command: str
) -> None:
    more = {
        "train": ("train", "--config", "{run}", "--out", "{run}/new", "--quiet"),
        "train --overwrite": ("train", "--config", "{run}", "--out", "{run}", "--overwrite"),
        "eval --csv": ("eval", "{run}", "--samples", "2", "--no-gain", "--csv", "{run}/e.csv"),
    }

    def arguments(place: Place) -> list[str]:
        return [part.format(**place._asdict()) for part in (COMMANDS | more)[command]]

    # First where it works: what it imports need not be readable to everybody.
    writable = make_place(tmp_path, trained, public_place.state)
    second_checkpoint(writable.run)
    assert ttt(*arguments(writable)).code == 0
    before = contents(public_place.run.parent)
    with read_only(public_place.run.parent):
        code, out, err = ttt(*arguments(public_place))
    expected_code, said = READ_ONLY[command]
    assert (code, "Errno" in err) == (expected_code, False)
    assert contents(public_place.run.parent) == before
    if expected_code:
        assert (out, err.count("\n")) == ("", 1)
        assert f"error: {said.format(**public_place._asdict())}" in err


def test_a_state_of_a_newer_version_is_told_as_one(ttt: Callable, place: Place) -> None:
    newer = place.out / "newer.state"
    newer.write_bytes(place.state.read_bytes().replace(b"ttt-state-2", b"ttt-state-3"))
    for command in (
        ("state", "info", str(newer)),
        ("state", "load", str(place.run), str(newer)),
        ("generate", str(place.run), "--state-in", str(newer)),
        ("interactive", str(place.run), "--state-in", str(newer)),
    ):
        code, out, err = ttt(*command)
        assert (code, out, err.count("\n")) == (5, "", 1)
        assert f"error: {newer} was written by a newer version of ttt, or is damaged" in err


def test_another_setting_is_named_when_a_run_goes_on(ttt: Callable, place: Place) -> None:
    before = contents(place.run)
    code, _, err = ttt("train", "--resume", str(place.run), "--layer-type", "mlp")
    assert (code, err.count("\n")) == (3, 1)
    assert "`model.layer_type` was 'linear', now 'mlp'; leave them out" in err
    assert contents(place.run) == before


def in_a_process(
    arguments: list[str],
    shell: str = 'exec "$@"',
    *,
    stdin: int | None = None,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", shell, "sh", sys.executable, "-m", "ttt_cli", *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("command", ["info -v", "export-metrics", "ckpt ls", "generate", "eval"])
def test_a_reader_that_leaves_at_once_is_no_error(place: Place, command: str) -> None:
    """As in `ttt info RUN -v | head -n 0`."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = in_a_process(place.arguments(command), stdin=subprocess.DEVNULL, stdout=theirs)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("command", ["info", "generate", "interactive"])
def test_without_a_terminal_and_without_stdin_it_is_the_same(place: Place, command: str) -> None:
    """As under cron, or behind `<&-`."""
    without = in_a_process(place.arguments(command), stdin=subprocess.DEVNULL)
    closed = in_a_process(place.arguments(command), 'exec "$@" <&-')
    assert (without.returncode, closed.returncode) == (0, 0)
    assert without.stdout == closed.stdout
    assert "error" not in without.stderr + closed.stderr


def test_an_error_keeps_its_exit_code_when_nobody_reads_it(place: Place) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = in_a_process(["info", f"{place.run}x"], stderr=theirs)
    os.close(theirs)
    assert (done.returncode, done.stdout) == (5, "")
    assert in_a_process(["info", f"{place.run}x"], 'exec "$@" 2>&-').returncode == 5


def test_json_has_the_same_error_as_an_object(ttt: Callable, place: Place) -> None:
    empty(place.run)
    code, out, err = ttt("info", str(place.run), "--json")
    found = json.loads(err)["error"]
    assert (code, out, found["exit_code"]) == (5, "", 5)
    assert found["issues"] == [NO_RUN.format(run=place.run)]
