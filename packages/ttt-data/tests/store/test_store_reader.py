from collections.abc import Callable

import numpy as np
import pytest

from ttt_config.errors import DataError, TokenStoreCorruptError
from ttt_data.store import Provenance, TokenStore

WriteStore = Callable[..., TokenStore]

DOCUMENTS = [[5, 6, 1], [7, 8, 9, 10, 1], [2, 1]]


def test_a_split_says_what_it_holds(write_store: WriteStore) -> None:
    split = write_store({"train": DOCUMENTS, "val": [[4]]}, shard_tokens=4).split("train")
    assert len(split) == 10
    assert split.dtype == np.uint16
    assert split.document_bounds.tolist() == [0, 3, 8, 10]
    assert split.document_bounds.dtype == np.int64
    assert split.text_bytes == 30


def test_tokens_inside_one_shard_are_not_copied(write_store: WriteStore) -> None:
    split = write_store({"train": DOCUMENTS}, shard_tokens=8).split("train")
    assert np.shares_memory(split.tokens(1, 8), split.tokens(0, 8))
    across = split.tokens(6, 9)
    assert across.tolist() == [10, 1, 2]
    assert not np.shares_memory(across, split.tokens(0, 8))


def test_tokens_cannot_be_written_to(write_store: WriteStore) -> None:
    tokens = write_store({"train": DOCUMENTS}).split("train").tokens(0, 3)
    assert type(tokens) is np.ndarray
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 1


@pytest.mark.parametrize("shard_tokens", [4, 100])
def test_windows_are_gathered_in_the_shape_of_their_places(
    write_store: WriteStore, shard_tokens: int
) -> None:
    split = write_store({"train": DOCUMENTS}, shard_tokens=shard_tokens).split("train")
    windows = np.array([[0, 4]]).T + np.arange(6)
    assert split.take(windows).tolist() == [[5, 6, 1, 7, 8, 9], [8, 9, 10, 1, 2, 1]]
    assert split.take(windows).dtype == np.uint16
    assert split.take(np.empty((0, 3), dtype=np.int64)).shape == (0, 3)


@pytest.mark.parametrize("shard_tokens", [4, 100])
def test_places_outside_the_split_are_refused(write_store: WriteStore, shard_tokens: int) -> None:
    split = write_store({"train": DOCUMENTS}, shard_tokens=shard_tokens).split("train")
    for start, stop in ((-1, 3), (0, 11), (5, 4)):
        with pytest.raises(IndexError, match="not within the 10 of the split"):
            split.tokens(start, stop)
    for place in (-1, 10):
        with pytest.raises(IndexError, match="not within the 10 of the split"):
            split.take(np.array([[0, place]]))
    assert split.tokens(10, 10).tolist() == []


def test_an_unknown_split_is_answered_with_those_there_are(write_store: WriteStore) -> None:
    store = write_store({"train": DOCUMENTS, "val": DOCUMENTS})
    with pytest.raises(DataError, match="no split `test`: expected one of train, val"):
        store.split("test")


def test_fingerprints_follow_the_tokens(write_store: WriteStore) -> None:
    first = write_store({"train": DOCUMENTS, "val": [[1]]})
    other_val = write_store(
        {"train": DOCUMENTS, "val": [[2]]},
        provenance=Provenance(options={"seed": 1}),
        overwrite=True,
    )
    assert first.fingerprint != other_val.fingerprint
    assert first.split("train").fingerprint == other_val.split("train").fingerprint
    assert first.split("val").fingerprint != other_val.split("val").fingerprint
    moved_border = write_store({"train": [[5, 6], [1, 7, 8, 9, 10, 1], [2, 1]]}, overwrite=True)
    assert moved_border.split("train").fingerprint != first.split("train").fingerprint


# What opening notices without reading the tokens.


def test_a_folder_that_is_no_store_is_named(write_store: WriteStore) -> None:
    store = write_store({"train": DOCUMENTS})
    with pytest.raises(DataError, match=r"nowhere` is not a finished token store"):
        TokenStore.open(store.folder / "nowhere")


@pytest.mark.parametrize("name", ["train-00000.bin", "train-00000.idx", "tokenizer.json"])
def test_missing_and_cut_files_are_noticed_when_opening(write_store: WriteStore, name: str) -> None:
    folder = write_store({"train": DOCUMENTS}).folder
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(TokenStoreCorruptError, match=f"{name}` has {len(content) - 1} bytes"):
        TokenStore.open(folder)
    path.unlink()
    with pytest.raises(TokenStoreCorruptError, match=f"{name}` is missing"):
        TokenStore.open(folder)


@pytest.mark.parametrize(
    ("name", "place"), [("train-00000.bin", 81), ("train-00000.bin", 1000), ("train-00000.idx", 18)]
)
def test_a_changed_header_is_noticed_when_opening(
    write_store: WriteStore, name: str, place: int
) -> None:
    folder = write_store({"train": DOCUMENTS}).folder
    content = bytearray((folder / name).read_bytes())
    content[place] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(TokenStoreCorruptError, match=f"{name}` is damaged: .* at byte {place}"):
        TokenStore.open(folder)


@pytest.mark.parametrize("place", [34, 46, 70, 80])
def test_a_damaged_index_never_moves_a_border(write_store: WriteStore, place: int) -> None:
    folder = write_store({"train": DOCUMENTS}).folder
    path = folder / "train-00000.idx"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    split = TokenStore.open(folder).split("train")
    with pytest.raises(TokenStoreCorruptError, match=r"train-00000.idx` is damaged: "):
        _ = split.document_bounds
