import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ttt_data.store import TokenStore, TokenStoreWriter

Documents = dict[str, Sequence[Sequence[int]]]
WriteStore = Callable[..., TokenStore]

OPTIONS: dict[str, Any] = {"tokenizer_json": '{"model": {}}', "vocab_size": 300, "eos_id": 1}


@pytest.fixture(autouse=True, scope="module")
def _no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", int)  # any function of one number will do
        yield


@pytest.fixture
def options() -> dict[str, Any]:
    """Arguments of a writer; change them as needed."""
    return dict(OPTIONS)


@pytest.fixture
def write_store(tmp_path: Path) -> WriteStore:
    """Writes documents, three bytes of text for each token, and opens the store."""

    def write(documents: Documents, **changes: Any) -> TokenStore:
        folder = changes.pop("folder", tmp_path / "store")
        with TokenStoreWriter(folder, **(OPTIONS | changes)) as writer:
            for split, items in documents.items():
                for ids in items:
                    writer.add_document(split, ids, 3 * len(ids))
        return TokenStore.open(folder)

    return write
