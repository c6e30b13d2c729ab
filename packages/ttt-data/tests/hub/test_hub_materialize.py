import re
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from ttt_config.errors import DataError
from ttt_data.readers import open_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def stories(hub: Any) -> object:
    hub.files = {
        "README.md": b"about",
        "a.txt": b"one",
        "data/train.jsonl": b'{"text": "two"}\n',
        "data/val.jsonl": b'{"text": "three"}\n',
        "data/sub/x.md": b"four",
        "tokens.bin": b"binary",
    }
    return hub


def texts(spec: str) -> list[str]:
    return [document.text for document in open_source(spec)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("hf://owner/stories/a.txt", ["one"]),
        ("hf://owner/stories/data", ["two", "three"]),
        (f"hf://owner/stories/data/train.jsonl@{COMMIT}", ["two"]),
        ("hf://owner/stories", ["two", "three"]),
    ],
)
def test_files_of_a_dataset_are_read(stories: Any, spec: str, expected: list[str]) -> None:
    assert texts(spec) == expected
    num_requests = len(stories.asked)
    assert texts(spec) == expected
    assert len(stories.asked) == num_requests
    assert not any("README" in request or ".bin" in request for request in stories.asked)


@pytest.mark.usefixtures("stories")
def test_the_commit_is_recorded() -> None:
    facts = open_source("hf://owner/stories/a.txt").provenance.facts
    assert (facts["repository"], facts["commit"]) == ("owner/stories", COMMIT)


@pytest.mark.usefixtures("stories")
def test_progress_is_reported() -> None:
    seen: list[tuple[int, int]] = []
    open_source("hf://owner/stories/a.txt", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3)


def test_files_the_library_downloaded_earlier_are_used(
    stories: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    cache = Path(huggingface_hub.constants.HF_HUB_CACHE, "datasets--owner--stories")
    (cache / "refs").mkdir(parents=True)
    (cache / "refs/main").write_text(COMMIT)
    (cache / "snapshots" / COMMIT).mkdir(parents=True)
    (cache / "snapshots" / COMMIT / "a.txt").write_text("cached")
    source = open_source("hf://owner/stories/a.txt")
    assert [document.text for document in source] == ["cached"]
    assert source.provenance.facts["commit"] == COMMIT
    assert stories.asked == []


@pytest.mark.parametrize(
    ("cached", "used"),
    [(b'{"text": "two"}\n', True), (b'{"text": "TWO"}\n', False), (b"short", False)],
)
def test_a_fetch_takes_whole_files_from_the_cache_of_the_library(
    stories: Any, cached: bytes, used: bool
) -> None:
    cache = Path(huggingface_hub.constants.HF_HUB_CACHE, "datasets--owner--stories")
    folder = cache / "snapshots" / COMMIT / "data"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_bytes(cached)
    assert texts("hf://owner/stories/data") == ["two", "three"]
    assert ("/content/data/train.jsonl" not in stories.asked) is used


@pytest.mark.usefixtures("stories")
def test_what_is_not_there_is_named() -> None:
    message = (
        "hf://owner/stories/b.txt@main: `owner/stories` has no file b.txt; it holds README.md, "
        "a.txt, data/sub/x.md, data/train.jsonl"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        open_source("hf://owner/stories/b.txt")


@pytest.mark.usefixtures("stories")
@pytest.mark.parametrize(
    ("spec", "included"),
    [
        ("hf://owner/stories", "*"),
        ("hf://owner/stories/data", "data/*"),
        ("hf://owner/stories/a.txt", "a.txt"),
    ],
)
def test_the_alternative_without_a_connection_is_exact(
    monkeypatch: pytest.MonkeyPatch, spec: str, included: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    message = (
        f"{spec}@main: offline, HF_HUB_OFFLINE is set; on a machine with internet run `hf download "
        f"owner/stories --repo-type dataset --revision main --include '{included}' --local-dir DIR`"
        ", copy DIR here and read that"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        open_source(spec)
