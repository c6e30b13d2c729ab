"""Tokenizers by their name on the hub."""

import time
from typing import Any

import pytest

from ttt_config.errors import DataError, TokenizerError
from ttt_data import Tokenizer
from ttt_data.hub import is_hub_name

BPE = Tokenizer.load("bpe-4096")


@pytest.mark.parametrize("name", ["owner/stories", "hf://owner/stories", "owner/stories@main"])
def test_a_name_is_downloaded_once(hub: Any, name: str) -> None:
    hub.files = {"tokenizer.json": BPE.to_json().encode()}
    assert Tokenizer.load(name) == BPE
    assert hub.asked
    hub.asked.clear()
    assert Tokenizer.load(name) == BPE
    assert hub.asked == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("owner/stories", "`owner/stories` has no tokenizer.json at revision main"),
        ("owner/nothing", "no public repository `owner/nothing` on http://127.0.0.1"),
    ],
)
def test_what_the_hub_does_not_have_is_named(hub: Any, name: str, message: str) -> None:
    hub.files = {"a.txt": b"one"}
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.load(name)


@pytest.mark.parametrize("offline", ["1", None])
def test_without_a_network_the_alternative_is_named_at_once(
    hub: Any, monkeypatch: pytest.MonkeyPatch, offline: str | None
) -> None:
    if offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    else:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    began_s = time.monotonic()
    with pytest.raises(DataError, match=r"`gpt2` is not on this machine: use bpe-4096 or bytes"):
        Tokenizer.load("gpt2")
    assert time.monotonic() - began_s < 2
    assert hub.asked == []


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("gpt2", True), ("meta/llama-2.7b@v1", True), ("a/b/c", False), ("tok.json", False)],
)
def test_which_names_could_be_on_the_hub(name: str, is_one: bool) -> None:
    assert is_hub_name(name) == is_one
