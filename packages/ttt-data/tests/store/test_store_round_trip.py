from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_data.store import TokenStore, TokenStoreWriter, verify_store

Documents = list[tuple[str, list[int]]]
LARGEST = {255: 254, 65_536: 65_535, 200_000: 199_999}


@st.composite
def corpora(draw: st.DrawFn) -> tuple[int, Documents]:
    vocab_size = draw(st.sampled_from(sorted(LARGEST)))
    ids = st.integers(0, LARGEST[vocab_size])
    document = st.tuples(st.sampled_from(["train", "val"]), st.lists(ids, max_size=12))
    return vocab_size, draw(st.lists(document, min_size=1, max_size=20))


def write(
    folder: Path, vocab_size: int, shard_tokens: int, documents: Documents, stops: set[int]
) -> None:
    """Write the documents; be stopped when so many were added in all, sessions included."""
    added = 0
    while True:
        try:
            with TokenStoreWriter(
                folder,
                tokenizer_json="{}",
                vocab_size=vocab_size,
                eos_id=0,
                shard_tokens=shard_tokens,
            ) as writer:
                left_out = {split: writer.stored_documents(split) for split in ("train", "val")}
                for split, ids in documents:
                    if left_out[split] > 0:
                        left_out[split] -= 1
                        continue
                    writer.add_document(split, ids, 2 * len(ids) + 1)
                    added += 1
                    stop_if(added in stops)
        except KeyboardInterrupt:
            continue
        return


def stop_if(condition: bool) -> None:
    if condition:
        raise KeyboardInterrupt


@settings(deadline=None, derandomize=True, max_examples=40)
@given(corpora(), st.integers(1, 25), st.sets(st.integers(1, 40)))
def test_any_documents_in_any_sessions_come_back(
    corpus: tuple[int, Documents], shard_tokens: int, stops: set[int]
) -> None:
    vocab_size, documents = corpus
    with TemporaryDirectory() as base:
        at_once, in_parts = Path(base, "at_once"), Path(base, "in_parts")
        write(at_once, vocab_size, shard_tokens, documents, set())
        write(in_parts, vocab_size, shard_tokens, documents, stops)
        files = [
            {path.name: path.read_bytes() for path in folder.iterdir()}
            for folder in (at_once, in_parts)
        ]
        assert files[0] == files[1]
        assert verify_store(in_parts) == []
        store = TokenStore.open(in_parts)
        for name in store.split_names:
            expected = [ids for split, ids in documents if split == name]
            split = store.split(name)
            bounds = split.document_bounds
            found = [
                split.tokens(start, stop).tolist() for start, stop in pairwise(bounds.tolist())
            ]
            assert found == expected
            assert split.text_bytes == sum(2 * len(ids) + 1 for ids in expected)
            assert all(
                shard.num_tokens <= shard_tokens or shard.num_documents == 1
                for shard in store.manifest.splits[name].shards
            )


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=15), st.integers(1, 12), st.randoms())
def test_every_way_to_read_agrees(lengths: list[int], shard_tokens: int, random: Any) -> None:
    flat = np.array([random.randrange(255) for _ in range(sum(lengths))], dtype=np.int64)
    ends = np.cumsum(lengths)
    with TemporaryDirectory() as base:
        documents = [
            ("train", flat[end - length : end].tolist())
            for end, length in zip(ends, lengths, strict=True)
        ]
        write(Path(base, "s"), 255, shard_tokens, documents, set())
        split = TokenStore.open(Path(base, "s")).split("train")
        assert len(split) == len(flat)
        for _ in range(10):
            start, stop = sorted(random.choices(range(len(flat) + 1), k=2))
            assert split.tokens(start, stop).tolist() == flat[start:stop].tolist()
        if len(flat):
            offsets = np.array(random.choices(range(len(flat)), k=12)).reshape(3, 4)
            assert split.take(offsets).tolist() == flat[offsets].tolist()
