import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

TEXT = "Once there was a very old lighthouse.\n"


@pytest.fixture
def saved(ttt: Callable, trained: Path, tmp_path: Path) -> Path:
    path = tmp_path / "a.state"
    assert ttt("state", "save", str(trained), str(path), "--text", TEXT).code == 0
    return path


def test_what_was_saved_is_described(ttt: Callable, trained: Path, saved: Path) -> None:
    code, out, err = ttt("state", "info", str(saved), "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert (facts["position"], facts["unread"]) == (len(TEXT), [10 + 3])
    assert facts["bytes"] == saved.stat().st_size
    assert ttt("state", "load", str(trained), str(saved), "--json").out == out
    shown = ttt("state", "info", str(saved)).out
    assert f"{len(TEXT)} tokens, 1 of them unread" in shown
    assert facts["parameters_sha256"] in shown


def test_text_comes_from_an_option_a_file_or_stdin(
    ttt: Callable, trained: Path, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, text = tmp_path / "b.state", tmp_path / "text"
    text.write_text(TEXT)
    for source in (["--file", str(text)], ["--file", "-"], ["--text", "-"], []):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
        end = ttt("state", "save", str(trained), str(other), *source, "--overwrite")
        assert end.code == 0
        assert other.read_bytes() == saved.read_bytes()


def test_generate_goes_on_from_what_was_saved(ttt: Callable, trained: Path, saved: Path) -> None:
    flags = ("--quiet", "--max-tokens", "20", "--no-stop-at-eos")
    whole = ttt("generate", str(trained), TEXT, *flags).out
    assert TEXT + ttt("generate", str(trained), "--state-in", str(saved), *flags).out == whole


def test_reading_on_is_reading_in_one_go(
    ttt: Callable, trained: Path, saved: Path, tmp_path: Path
) -> None:
    begun, read_on = tmp_path / "begun", tmp_path / "on"
    ttt("state", "save", str(trained), str(begun), "--text", TEXT[:13])
    flags = ("--text", TEXT[13:], "--out")
    assert ttt("state", "load", str(trained), str(begun), *flags, str(read_on)).code == 0
    assert ttt("state", "load", str(trained), str(begun), *flags, str(begun)).code == 0
    diff = json.loads(ttt("state", "diff", str(saved), str(read_on), "--json").out)
    assert diff["positions"] == [len(TEXT), len(TEXT)]
    assert all(head["relative"] < 1e-5 for layer in diff["layers"] for head in layer)
    assert begun.read_bytes() == read_on.read_bytes()


def test_diff_tells_how_far_each_head_has_moved(
    ttt: Callable, trained: Path, saved: Path, tmp_path: Path
) -> None:
    further = str(tmp_path / "further")
    ttt("state", "load", str(trained), str(saved), "--text", TEXT, "--out", further)
    diff = json.loads(ttt("state", "diff", str(saved), further, "--json").out)
    assert diff["positions"] == [len(TEXT), 2 * len(TEXT)]
    assert [len(layer) for layer in diff["layers"]] == [2, 2]
    assert all(head["distance"] > 0 for layer in diff["layers"] for head in layer)
    code, out, _ = ttt("state", "diff", str(saved), further)
    share = 100 * diff["layers"][1][0]["relative"]
    assert (code, out.splitlines()[3].split()[:2]) == (0, ["1", f"{share:.3f}"])


def test_forks_are_copies(ttt: Callable, saved: Path, tmp_path: Path) -> None:
    copies = [tmp_path / "b.state", tmp_path / "c.state"]
    assert ttt("state", "fork", str(saved), *map(str, copies)).code == 0
    assert {copy.read_bytes() for copy in copies} == {saved.read_bytes()}
    code, _, err = ttt("state", "fork", str(saved), str(copies[0]))
    assert (code, err.count("\n")) == (5, 1)
    assert "exists; choose another name or add --overwrite" in err


def test_damage_anywhere_is_named_by_every_command(
    ttt: Callable, trained: Path, saved: Path, tmp_path: Path
) -> None:
    whole, dice = saved.read_bytes(), random.Random(0)
    copy = str(tmp_path / "copy")
    for command in (
        ["state", "info", str(saved)],
        ["state", "fork", str(saved), copy],
        ["state", "diff", str(saved), str(saved)],
        ["state", "load", str(trained), str(saved)],
        ["generate", str(trained), "--state-in", str(saved)],
        ["interactive", str(trained), "--state-in", str(saved)],
    ):
        flipped = bytearray(whole)
        flipped[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        for content in (flipped, whole[: dice.randrange(len(whole))]):
            saved.write_bytes(content)
            code, out, err = ttt(*command)
            assert (code, out, err.count("\n")) == (5, "", 1)
            assert "a.state" in err
    assert not Path(copy).exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("info", "{saved}x"), 5, "no state at"),
        (("info", "{run}/config.toml"), 5, "is no readable state"),
        (("info", "{run}"), 5, "Is a directory"),
        (("save", "{run}", "{saved}", "--text", "a"), 5, "exists; choose another name"),
        (("save", "{run}", "{run}", "--text", "a"), 5, "is a folder"),
        (("save", "{run}x", "b", "--text", "a"), 5, "no run directory"),
        (("save", "{run}", "nowhere/b", "--text", "a"), 5, "there is no folder nowhere"),
        (("save", "{run}", "b", "--text", "a", "--file", "c"), 3, "given twice"),
        (("save", "{run}", "b", "--file", "nowhere"), 3, "--file nowhere: No such file"),
        (("load", "{run}", "{saved}", "--text", "a"), 3, "needs --out"),
        (("load", "{run}", "{saved}", "--out", "b"), 3, "needs --out, and --out a text"),
        (("load", "{run}/checkpoints/step-9", "{saved}"), 5, "no run directory"),
    ],
)
def test_a_mistake_is_one_line(
    ttt: Callable, trained: Path, saved: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    given = [argument.format(run=trained, saved=saved) for argument in arguments]
    outcome = ttt("state", *given)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (code, "", 1)
    assert message in outcome.err


def test_a_folder_that_cannot_be_written_is_named_before_any_work(
    ttt: Callable, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    code, out, err = ttt("state", "save", str(trained), str(tmp_path / "a"), "--text", "a")
    assert (code, out, err.count("\n")) == (5, "", 1)
    assert "is not writable" in err


def test_a_state_of_other_weights_is_refused(
    ttt: Callable, trained: Path, saved: Path, tmp_path: Path
) -> None:
    other = str(tmp_path / "other")
    flags = ("--config", str(trained), "--out", other, "--seed", "7", "--quiet")
    assert ttt("train", *flags).code == 0
    code, out, err = ttt("generate", other, "--state-in", str(saved))
    assert (code, out, err.count("\n")) == (5, "", 1)
    assert "was made by other weights of the same architecture" in err
