import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ttt_cli.main import main

TINY = """
[model]
hidden_size = 32
num_layers = 2
num_heads = 2
intermediate_size = 48
max_seq_len = 32
[data]
tokenizer = "bytes"
documents = 4
[train]
steps = 4
batch_size = 4
eval_batches = 1
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    config, out = folder / "tiny.toml", folder / "trained"
    config.write_text(TINY)
    with pytest.raises(SystemExit) as end:
        main(["train", "--config", str(config), "--out", str(out), "--quiet"])
    assert end.value.code == 0
    return out


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def install(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    return install


def test_the_prompt_is_continued_and_the_speed_said_aside(ttt: Callable, trained: Path) -> None:
    flags = ("--max-tokens", "30", "--no-stop-at-eos")
    code, out, err = ttt("generate", str(trained), "Once é", *flags)
    assert code == 0
    assert out.startswith("Once é")
    assert out.endswith("\n")
    assert err.startswith("[30 tokens, ")
    quiet = ttt("generate", str(trained), "Once é", *flags, "--quiet")
    assert quiet == (0, out, "")


def test_json_has_the_text_and_how_it_was_made(ttt: Callable, trained: Path) -> None:
    flags = ("--max-tokens", "30", "--no-stop-at-eos")
    text = ttt("generate", str(trained), "Once", *flags, "--quiet").out
    code, out, err = ttt("generate", str(trained), "Once", *flags, "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert answer["prompt"] + answer["text"] + "\n" == text
    assert answer["prompt_tokens"] == 4
    assert answer["tokens"] == len(answer["token_ids"]) == 30
    assert answer["tokens_per_s"] > 0
    assert (answer["stopped"], answer["seed"], answer["top_k"]) == ("length", 0, 40)


def test_streamed_and_whole_text_are_the_same(ttt: Callable, trained: Path) -> None:
    streamed = ttt("generate", str(trained), "A", "--seed", "3", "--quiet")
    assert ttt("generate", str(trained), "A", "--seed", "3", "--quiet", "--no-stream") == streamed
    assert ttt("generate", str(trained), "A", "--seed", "4", "--quiet").out != streamed.out


def test_the_prompt_also_comes_from_a_file_or_stdin(
    ttt: Callable, trained: Path, tmp_path: Path, stdin: Callable[[bytes], None]
) -> None:
    expected = ttt("generate", str(trained), "Once é\nupon", "--quiet")
    file = tmp_path / "prompt.txt"
    file.write_bytes("Once é\nupon\n".encode())
    assert ttt("generate", str(trained), "--prompt-file", str(file), "--quiet") == expected
    stdin(file.read_bytes())
    assert ttt("generate", str(trained), "-", "--quiet") == expected
    stdin(file.read_bytes())
    assert ttt("generate", str(trained), "--prompt-file", "-", "--quiet") == expected


def test_without_a_prompt_a_new_text_begins(ttt: Callable, trained: Path) -> None:
    answer = json.loads(ttt("generate", str(trained), "--json", "--max-tokens", "5").out)
    assert (answer["prompt"], answer["prompt_tokens"], answer["tokens"]) == ("", 1, 5)


def test_the_end_of_the_text_can_be_written_over(ttt: Callable, trained: Path) -> None:
    flags = ("--json", "--temperature", "5", "--top-k", "0", "--max-tokens", "1500")
    stopped = json.loads(ttt("generate", str(trained), "A", *flags).out)
    assert stopped["stopped"] == "eos"
    free = json.loads(ttt("generate", str(trained), "A", *flags, "--no-stop-at-eos").out)
    assert (free["stopped"], free["tokens"]) == ("length", 1500)
    assert free["token_ids"][: stopped["tokens"]] == stopped["token_ids"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--temperature", "-1"), "temperature is -1.0; expected 0"),
        (("--top-k", "-2"), "top_k is -2"),
        (("--top-p", "0"), "top_p is 0.0"),
        (("--max-tokens", "-5"), "max_new_tokens is -5"),
        (("--seed", "-1"), "seed is -1"),
        (("--prompt-file", "nowhere.txt"), "--prompt-file nowhere.txt: No such file"),
        (("A", "--prompt-file", "b"), "given twice"),
    ],
)
def test_a_bad_setting_is_one_line(
    ttt: Callable, trained: Path, flags: tuple[str, ...], message: str
) -> None:
    code, out, err = ttt("generate", str(trained), *flags)
    assert (code, out) == (3, "")
    assert err.startswith(f"error: {message}") or message in err
    assert err.count("\n") == 1


def test_a_prompt_that_is_no_text_is_one_line(
    ttt: Callable, trained: Path, stdin: Callable[[bytes], None]
) -> None:
    stdin(b"\xff\xfe")
    code, _, err = ttt("generate", str(trained), "-")
    assert (code, err.count("\n")) == (3, 1)
    assert "stdin is not UTF-8" in err
    code, _, err = ttt("generate", str(trained), "caf\udce9")  # Latin-1, as Python sees it
    assert (code, err.count("\n")) == (3, 1)
    assert "PROMPT is not UTF-8" in err


def test_what_is_no_usable_run_is_one_line(ttt: Callable, trained: Path, tmp_path: Path) -> None:
    def complaint(path: Path) -> str:
        code, out, err = ttt("generate", str(path), "A")
        assert (code, out, err.count("\n")) == (5, "", 1)
        return err

    assert "no run directory" in complaint(tmp_path / "nowhere")
    assert "is not a run directory" in complaint(tmp_path)
    run = shutil.copytree(trained, tmp_path / "run")
    weights = run / "checkpoints/step-000004/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\0")
    assert "model.safetensors is damaged" in complaint(run)
    weights.unlink()
    assert "model.safetensors is missing" in complaint(run)
    shutil.rmtree(run / "checkpoints")
    assert "stopped before its first save" in complaint(run)
