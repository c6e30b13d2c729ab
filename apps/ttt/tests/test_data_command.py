import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ttt_data import Loader, Tokenizer
from ttt_data.hub import RECIPES
from ttt_data.seeds import derive_seed
from ttt_data.store import TokenStore, open_foreign

TEXTS = [f"text number {number} is about the number {number}" for number in range(300)]
FAST = ("--tokenizer", "bytes", "--workers", "1")


def write_rows(path: Path, texts: list[object]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    from ttt_cli.main import main

    folder = tmp_path_factory.mktemp("data")
    source = write_rows(folder / "texts.jsonl", [*TEXTS])
    with pytest.raises(SystemExit) as end:
        main(["data", "prepare", source, "--out", str(folder / "store"), *FAST, "--quiet"])
    assert end.value.code == 0
    return str(folder / "store")


def files_of(folder: Path | str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


# prepare


def test_prepare_says_what_it_made_and_what_to_do_next(ttt: Callable, tmp_path: Path) -> None:
    source, out = write_rows(tmp_path / "a.jsonl", [*TEXTS]), str(tmp_path / "a store")
    code, shown, progress = ttt("data", "prepare", source, "--out", out, *FAST)
    assert code == 0
    rows = dict(line.split(maxsplit=1) for line in shown.splitlines())
    assert rows["train"].endswith(" tokens, 1 shards")
    assert rows["encoding"].startswith("table: gives the same ids for ")
    assert rows["try"] == f"ttt train --data '{out}'"
    assert progress.startswith("val: ")
    assert "tokens/s" in progress


def test_prepare_as_json_is_one_object(ttt: Callable, tmp_path: Path) -> None:
    source, out = write_rows(tmp_path / "a.jsonl", [*TEXTS, 17]), str(tmp_path / "store")
    flags = ("--json", "--quiet", "--on-bad", "skip", "--shard-tokens", "2000")
    code, shown, progress = ttt("data", "prepare", source, "--out", out, *FAST, *flags)
    assert (code, progress) == (0, "")
    result = json.loads(shown)
    assert result["folder"] == out
    assert sum(split["documents"] for split in result["splits"].values()) == len(TEXTS)
    assert result["splits"]["train"]["shards"] > 3
    assert result["fingerprint"] == TokenStore.open(out).fingerprint
    assert result["problems"] == [
        {
            "kind": "text is not a string",
            "count": 1,
            "example": "a.jsonl:301: `text` is 17, expected a string",
        }
    ]


def test_prepare_shows_what_it_left_out(ttt: Callable, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [*TEXTS, 17, ""])
    flags = (*FAST, "--on-bad", "skip")
    shown = ttt("data", "prepare", source, "--out", str(tmp_path / "store"), *flags).out
    assert [line for line in shown.splitlines() if line.startswith("left out")] == [
        "left out  1 x text is not a string (first: a.jsonl:301: `text` is 17, expected a string)",
        "left out  1 x empty document (first: a.jsonl:302: empty document)",
    ]


def test_errors_speak_of_options(ttt: Callable, store: str, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [*TEXTS, 17])
    bad = ttt("data", "prepare", source, "--out", str(tmp_path / "new"), *FAST)
    assert bad.code == 4
    assert bad.err.endswith("mend it, or leave such documents out with --on-bad skip\n")
    taken = ttt("data", "prepare", source, "--out", store, *FAST)
    assert taken.code == 4
    assert taken.err.endswith("replace it with --overwrite\n")


def test_sources_and_separators_are_passed_on(ttt: Callable, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n--\n".join(map(str, TEXTS)))
    source, out = str(tmp_path / "a.txt"), str(tmp_path / "store")
    flags = (*FAST, "--json", "--separator", "\\n--\\n", "--val-fraction", "0.5")
    result = json.loads(ttt("data", "prepare", source, source, "--out", out, *flags).out)
    counts = [split["documents"] for split in result["splits"].values()]
    assert sum(counts) == 2 * len(TEXTS)
    assert min(counts) > 0.35 * sum(counts)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_leaves_a_state_to_go_on_from(ttt: Callable, tmp_path: Path, workers: str) -> None:
    source = write_rows(tmp_path / "a.jsonl", [text * 300 for text in TEXTS] * 2)
    out = tmp_path / "store"
    arguments = ["data", "prepare", source, "--tokenizer", "bytes", "--shard-tokens", "100000"]
    command = [sys.executable, "-m", "ttt_cli", *arguments, "--workers", workers, "--out", str(out)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while len(list(out.glob("*.idx"))) < 4 and process.poll() is None:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)  # to the workers, too, as a terminal does
    shown, errors = process.communicate(timeout=60)
    assert (process.returncode, shown) == (130, "")
    assert errors.splitlines()[-1].startswith("interrupted; the same command goes on where")
    assert "Traceback" not in errors
    shown = ttt(*arguments, "--workers", "1", "--out", str(out)).out
    assert "of an earlier run" in shown
    ttt(*arguments, "--workers", "1", "--out", str(tmp_path / "undisturbed"))
    assert files_of(out) == files_of(tmp_path / "undisturbed")


def test_a_store_is_something_to_train_on(ttt: Callable, store: str, tmp_path: Path) -> None:
    shape = ("--hidden-size", "32", "--num-layers", "1", "--seq-len", "32", "--batch", "2")
    run = tmp_path / "run"
    flags = (*shape, "--steps", "2", "--eval-samples", "4", "--json")
    code, out, err = ttt("train", "--data", store, "--out", str(run), *flags)
    assert code == 0, err
    start = json.loads(out.splitlines()[0])
    assert start["documents"] == TokenStore.open(store).manifest.splits["train"].num_documents
    assert start["tokenizer"] == f"{store}/tokenizer.json"
    assert Tokenizer.load(run) == Tokenizer.load("bytes")


# fetch


def test_fetch_of_an_unknown_recipe_suggests_one(ttt: Callable, tmp_path: Path) -> None:
    code, _, err = ttt("data", "fetch", "tinystory", "--out", str(tmp_path))
    assert code == 4
    assert err.endswith("did you mean `tinystories`?\n")
    assert all(name in ttt("data", "fetch", "--help").out.replace("\n", " ") for name in RECIPES)


def test_fetch_offline_tells_another_way(
    ttt: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, _, err = ttt("data", "fetch", "tinystories", "--out", str(tmp_path / "data"))
    assert code == 4
    assert "on a machine with internet run `hf download roneneldan/TinyStories" in err


def test_fetch_says_how_to_go_on(
    ttt: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ttt_data import hub

    def fetch(recipe: hub.Recipe, out: str, *, limit: int | None, progress: hub.Progress) -> object:
        assert limit == 1
        progress(1_000_000, 4_000_000)
        return hub.FetchResult(
            recipe=recipe.name,
            repo=recipe.repo,
            commit="abc",
            folder=Path(out),
            files=(Path(out, "a.txt"),),
            num_bytes=4_000_000,
            num_fetched_bytes=3_000_000,
            yields=recipe.yields,
            separator=recipe.separator,
        )

    monkeypatch.setattr(hub, "fetch", fetch)
    command = ("data", "fetch", "tinystories", "--out", str(tmp_path), "--limit", "1")
    code, shown, progress = ttt(*command)
    assert (code, progress) == (0, "download: 1.0 MB of 4.0 MB\n")
    assert f"ttt data prepare {tmp_path} --separator '<|endoftext|>' --out DIR" in shown
    assert "4.0 MB, 3.0 MB of it new" in shown
    assert json.loads(ttt(*command, "--json").out)["files"] == [f"{tmp_path}/a.txt"]


# info, peek, verify, export


def test_info_counts_what_is_there(ttt: Callable, store: str) -> None:
    facts = json.loads(ttt("data", "info", store, "--json").out)
    manifest = TokenStore.open(store).manifest
    assert facts["splits"]["val"] == {
        "documents": manifest.splits["val"].num_documents,
        "tokens": manifest.splits["val"].num_tokens,
        "text_bytes": manifest.splits["val"].text_bytes,
        "shards": 1,
    }
    assert (facts["vocab_size"], facts["eos_id"], facts["token_bytes"]) == (259, 1, 2)
    assert facts["sources"][0]["name"] == "texts.jsonl"
    shown = ttt("data", "info", store).out
    assert facts["fingerprint"] in shown
    assert f"{facts['splits']['train']['tokens']:,} tokens" in shown


@pytest.mark.parametrize("split", ["train", "val"])
def test_peek_shows_a_sample_as_the_trainer_reads_it(ttt: Callable, store: str, split: str) -> None:
    flags = ("--split", split, "--seq-len", "20", "--seed", "5", "--window")
    tokens = TokenStore.open(store).split(split)
    seed = derive_seed(5, "batches")
    loader = Loader(tokens, seq_len=20, global_batch_size=3, seed=seed)
    batch = loader.batch(2) if split == "train" else list(loader.in_order())[2]
    for row, sample in enumerate((6, 7, 8)):
        seen = json.loads(ttt("data", "peek", store, *flags, str(sample), "--json").out)
        assert seen["token_ids"][:-1] == batch.inputs[row].tolist()
        assert seen["token_ids"][1:] == batch.targets[row].tolist()
        first = seen["first_token"]
        assert tokens.tokens(first, first + 21).tolist() == seen["token_ids"]
        assert seen["text"] == Tokenizer.load("bytes").decode(seen["token_ids"], skip_special=False)


def test_peek_shows_text_under_its_place(ttt: Callable, store: str) -> None:
    code, out, _ = ttt("data", "peek", store, "--split", "val", "--seq-len", "60", "--window", "1")
    head, _, text = out.split("\n", 2)
    assert code == 0
    assert head.startswith("sample 1 of val: epoch 0, window 1 of ")
    assert head.endswith(", tokens 60 to 120")
    assert "<eos>text number" in text


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--window", "-1"), 3, "--window is -1, expected 0 or more"),
        (("--seq-len", "0"), 3, "--seq-len is 0, expected 1 or more"),
        (("--split", "test"), 4, "has no split `test`: expected one of train, val"),
    ],
)
def test_peek_where_there_is_nothing(
    ttt: Callable, store: str, flags: tuple[str, ...], code: int, message: str
) -> None:
    outcome = ttt("data", "peek", store, *flags)
    assert outcome.code == code
    assert message in outcome.err


def test_verify_finds_nothing_in_a_whole_store(ttt: Callable, store: str) -> None:
    assert ttt("data", "verify", store) == (0, "every byte is as it was written\n", "")
    assert ttt("data", "verify", store, "--quiet") == (0, "", "")
    answer = json.loads(ttt("data", "verify", store, "--json").out)
    assert answer == {"folder": store, "problems": []}


def test_verify_names_file_and_place_of_a_flipped_bit(
    ttt: Callable, store: str, tmp_path: Path
) -> None:
    for name, content in files_of(store).items():
        (tmp_path / name).write_bytes(content)
    damaged = bytearray((tmp_path / "train-00000.bin").read_bytes())
    damaged[5000] ^= 1
    (tmp_path / "train-00000.bin").write_bytes(damaged)
    code, out, err = ttt("data", "verify", str(tmp_path))
    assert code == 4
    assert f"train-00000.bin, bytes 0 to {len(damaged) - 1}: block 0 is not what was" in out
    assert f"`{tmp_path}` is not as it was written: train-00000.bin, bytes 1024 to " in err
    assert err.count("\n") == 1
    problems = json.loads(ttt("data", "verify", str(tmp_path), "--json").out)["problems"]
    assert {problem["file"] for problem in problems} == {"train-00000.bin"}


def test_verify_of_no_store_says_so(ttt: Callable, tmp_path: Path) -> None:
    code, _, err = ttt("data", "verify", str(tmp_path))
    assert code == 4
    assert err.startswith(f"error: `{tmp_path}` is not a finished token store")


@pytest.mark.parametrize("to", ["nanogpt", "llmc", "megatron", "npy"])
def test_export_writes_what_other_programs_read(
    ttt: Callable, store: str, tmp_path: Path, to: str
) -> None:
    path = tmp_path / ("val.npy" if to == "npy" else "val.bin")
    command = ("data", "export", store, "--to", to, "--split", "val", "--out", str(path))
    code, out, _ = ttt(*command)
    assert code == 0
    tokens = TokenStore.open(store).split("val")
    assert out.startswith(f"{len(tokens):,} tokens in {tmp_path}/val.")
    exported = open_foreign(path)
    assert np.array_equal(exported.tokens(0, len(exported)), tokens.tokens(0, len(tokens)))
    again = ttt(*command)
    assert again.code == 4
    assert again.err.endswith("replace it with --overwrite\n")


def test_export_of_rows_says_what_it_cuts_off(ttt: Callable, store: str, tmp_path: Path) -> None:
    command = ("data", "export", store, "--to", "ptok", "--out", str(tmp_path / "a"))
    assert "ptok needs a --row-length of 1 or more" in ttt(*command).err
    answer = json.loads(ttt(*command, "--row-length", "30", "--json").out)
    assert answer["num_dropped"] > 0
    assert answer["files"] == [f"{tmp_path}/a"]


def test_no_command_imports_torch(store: str, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [*TEXTS])
    prepare = ["prepare", source, "--out", str(tmp_path / "store"), *FAST]
    export = ["export", store, "--to", "npy", "--out", str(tmp_path / "a.npy")]
    calls = [prepare, ["info", store], ["peek", store, "--seq-len", "9"], ["verify", store], export]
    code = (
        "import sys; from ttt_cli.main import main\n"
        f"for args in {calls!r}:\n"
        "    try: main(['data', *args])\n"
        "    except SystemExit as end: assert end.code == 0, args\n"
        "    assert not {'torch', 'ttt_training', 'ttt_layer'} & set(sys.modules), args\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_info_and_peek_read_the_token_files_of_other_programs(
    ttt: Callable, store: str, tmp_path: Path
) -> None:
    for split in ("train", "val"):
        out = str(tmp_path / f"{split}.bin")
        assert (
            ttt("data", "export", store, "--to", "nanogpt", "--split", split, "--out", out)[0] == 0
        )
    code, shown, _ = ttt("data", "info", str(tmp_path))
    assert code == 0
    tokens = len(TokenStore.open(store).split("train"))
    assert f"{tokens:,} tokens up to id 123, nanogpt, 1 file" in shown
    facts = json.loads(ttt("data", "info", str(tmp_path), "--json").out)
    assert facts["splits"]["train"]["tokens"] == tokens
    flags = ("--window", "3", "--seq-len", "20", "--json")
    seen = json.loads(ttt("data", "peek", str(tmp_path), "--tokenizer", "bytes", *flags).out)
    assert seen == json.loads(ttt("data", "peek", store, *flags).out)


def test_peek_shows_windows_of_whole_documents(ttt: Callable, store: str) -> None:
    flags = ("--split", "val", "--mode", "docs", "--seq-len", "64", "--json")
    seen = json.loads(ttt("data", "peek", store, *flags).out)
    assert seen["text"].startswith("text number ")


def test_peek_reads_text_as_train_would(ttt: Callable) -> None:
    code, shown, _ = ttt("data", "peek", "chronicles", "--split", "val", "--seq-len", "30")
    assert code == 0
    assert shown.startswith("sample 0 of val: epoch 0, window 0 of ")
