"""Training byte-level BPE."""

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from ttt_config.errors import TokenizerError
from ttt_data import Tokenizer
from ttt_data.train_tokenizer import builtin_training_texts, train_bpe, train_builtin

SCRIPT = Path(__file__).parents[3] / "scripts" / "train_tokenizer.py"


def test_the_builtin_tokenizer_is_rebuilt_bit_for_bit() -> None:
    assert train_builtin().to_json() == Tokenizer.load("bpe-4096").to_json()


def test_training_twice_gives_the_same_tokenizer() -> None:
    one, other = (train_bpe(builtin_training_texts(100_000), 600) for _ in range(2))
    assert one.to_json() == other.to_json()
    assert one.vocab_size == 600
    assert (one.pad_id, one.eos_id, one.bos_id) == (0, 1, 2)


def test_an_impossible_vocabulary_is_refused() -> None:
    with pytest.raises(
        TokenizerError, match="vocabulary of 258 is too small: expected at least 259"
    ):
        train_bpe(["text"], 258)
    with pytest.raises(TokenizerError, match=r"too little text .* 5000: only \d+ entries"):
        train_bpe(["to be or not to be"], 5000)


@pytest.fixture
def main() -> Callable[[list[str]], int]:
    return runpy.run_path(str(SCRIPT))["main"]


def test_the_script_trains_on_text_files(
    main: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, out = tmp_path / "text.txt", tmp_path / "new" / "tokenizer.json"
    text.write_text("\n".join(builtin_training_texts(20_000)))
    assert main([str(text), "--out", str(out), "--vocab-size", "300"]) == 0
    assert Tokenizer.load(out).vocab_size == 300
    assert "300 entries, sha256" in capsys.readouterr().out


def test_the_script_reports_errors_in_one_line(
    main: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "absent.txt"), "--out", str(tmp_path / "x.json")]) == 4
    assert capsys.readouterr().err.startswith("error: no such data source")
    with pytest.raises(SystemExit):
        main([])
