import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models

from ttt_data import Tokenizer, chronicles
from ttt_data.train_tokenizer import train_bpe

STORIES = ("chronicles", "--vocab-size", "400", "--max-bytes", "20000", "--quiet")


def test_info_tells_what_a_tokenizer_is(ttt: Callable) -> None:
    facts = json.loads(ttt("tokenizer", "info", "bytes", "--json").out)
    tokenizer = Tokenizer.load("bytes")
    assert (facts["name"], facts["vocab_size"]) == ("bytes", 259)
    assert (facts["pad_id"], facts["eos_id"], facts["bos_id"]) == (0, 1, 2)
    assert facts["sha256"] == tokenizer.sha256
    assert facts["bytes_per_token"] == 1
    assert facts["encoding_path"] == "table"


def test_info_for_people_has_the_same_facts(ttt: Callable) -> None:
    code, out, _ = ttt("tokenizer", "info", "bpe-4096")
    facts = json.loads(ttt("tokenizer", "info", "bpe-4096", "--json").out)
    rows = dict(line.split("  ", 1) for line in out.splitlines())
    assert code == 0
    assert rows["vocabulary"].strip() == "4,096 tokens"
    assert rows["bytes a token"].startswith(f"{facts['bytes_per_token']:.2f} (40 chronicles")
    assert rows["encoding"].strip() == f"tiktoken: {facts['encoding_reason']}"
    assert rows["sha256"].strip() == facts["sha256"]


def test_a_tokenizer_that_cannot_end_a_text_can_be_looked_at(ttt: Callable, tmp_path: Path) -> None:
    backend = Backend(models.WordPiece({"[UNK]": 0, "a": 1}))
    (tmp_path / "tokenizer.json").write_text(backend.to_str())
    facts = json.loads(ttt("tokenizer", "info", str(tmp_path), "--json").out)
    assert facts["eos_id"] is None
    assert facts["encoding_path"] == "plain"
    assert facts["encoding_reason"] == "its model is WordPiece, not BPE"


def test_info_of_an_unknown_name_suggests_one(ttt: Callable) -> None:
    code, _, err = ttt("tokenizer", "info", "bpe-4069")
    assert code == 4
    assert "did you mean `bpe-4096`?" in err


def test_train_writes_the_tokenizer_of_the_training_split(ttt: Callable, tmp_path: Path) -> None:
    out = tmp_path / "new" / "tokenizer.json"
    code, shown, err = ttt("tokenizer", "train", *STORIES, "--out", str(out))
    assert (code, err) == (0, "")
    texts: list[str] = []
    for story in chronicles.documents("train", 100):
        texts.append(story.text)
        if sum(map(len, texts)) >= 20000:
            break
    tokenizer = Tokenizer.load(out)
    assert tokenizer == train_bpe(texts, 400)
    assert tokenizer.sha256 in shown


def test_a_file_is_replaced_on_demand_only(ttt: Callable, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("mine")
    command = ("tokenizer", "train", *STORIES, "--out", str(tmp_path / "a.json"))
    code, _, err = ttt(*command)
    assert code == 3
    assert (
        err == f"error: --out: `{tmp_path}/a.json` exists; choose another file or add --overwrite\n"
    )
    assert (tmp_path / "a.json").read_text() == "mine"
    assert ttt(*command, "--overwrite", "--json").code == 0
    assert Tokenizer.load(tmp_path / "a.json").vocab_size == 400


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('{"text": "some text"}\n17\n', "documents out with --on-bad skip"),
        ('{"text": "some text"}\n', "too little text for a vocabulary of 400"),
    ],
)
def test_text_that_is_no_use_leaves_no_file(
    ttt: Callable, tmp_path: Path, rows: str, message: str
) -> None:
    (tmp_path / "a.jsonl").write_text(rows * 5)
    flags = ("--vocab-size", "400", "--out", str(tmp_path / "tokenizer.json"))
    code, _, err = ttt("tokenizer", "train", str(tmp_path / "a.jsonl"), *flags)
    assert code == 4
    assert message in err
    assert not (tmp_path / "tokenizer.json").exists()


def test_no_command_imports_torch(tmp_path: Path) -> None:
    calls = [["info", "bytes"], ["train", *STORIES, "--out", str(tmp_path / "a.json")]]
    code = (
        "import sys; from ttt_cli.main import main\n"
        f"for args in {calls!r}:\n"
        "    try: main(['tokenizer', *args])\n"
        "    except SystemExit as end: assert end.code == 0, args\n"
        "    assert not {'torch', 'ttt_training', 'ttt_layer'} & set(sys.modules), args\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
