import random
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt_config.errors import DataError
from ttt_data.readers import Fractions, SourceDocument, Split
from ttt_data.readers.splits import cut, split_of, take

SPLITS: tuple[Split, ...] = ("train", "val", "test")
texts = st.lists(st.text("ab \n", min_size=1, max_size=6), min_size=2, max_size=40)
shares = st.sampled_from([0.0, 0.1, 0.3])


def numbered(texts: list[str]) -> list[SourceDocument]:
    return [SourceDocument(text, str(number)) for number, text in enumerate(texts)]


@given(texts, shares, shares, st.randoms())
def test_splits_are_disjoint_complete_and_stable_under_reordering(
    texts: list[str], val: float, test: float, dice: random.Random
) -> None:
    fractions = Fractions(val, test)
    documents = numbered(texts)
    parts = {split: list(take(documents, split, fractions)) for split in SPLITS}
    assert sorted(chain(*parts.values()), key=lambda doc: int(doc.origin)) == documents
    stripped = [{doc.text.strip() for doc in part} for part in parts.values()]
    assert len(set.union(*stripped)) == sum(map(len, stripped))

    shuffled = dice.sample(documents, len(documents))
    for split in SPLITS:
        assert (
            sorted(take(shuffled, split, fractions), key=lambda doc: int(doc.origin))
            == (parts[split])
        )


def test_fractions_are_met_on_average() -> None:
    fractions = Fractions(0.1, 0.2)
    found = [split_of(f"document {n}", fractions) for n in range(5000)]
    assert found.count("val") / 5000 == pytest.approx(0.1, abs=0.015)
    assert found.count("test") / 5000 == pytest.approx(0.2, abs=0.02)


def test_a_document_never_changes_its_split() -> None:
    """The key and the hash are part of the format: old runs must find their splits again."""
    fractions = Fractions(0.3, 0.3)
    found = [split_of(text, fractions) for text in ("b", "c", "d", "g", "h", "i")]
    assert found == ["test", "train", "train", "val", "test", "train"]


def test_without_fractions_everything_is_for_training() -> None:
    documents = numbered(["only"])
    assert list(take(documents, "train", Fractions(0, 0))) == documents


def test_one_fraction_does_not_move_documents_of_the_other() -> None:
    documents = [f"document {n}" for n in range(500)]
    val = [text for text in documents if split_of(text, Fractions(0.2, 0)) == "val"]
    assert val == [text for text in documents if split_of(text, Fractions(0.2, 0.3)) == "val"]


@given(st.text("ab \n", min_size=1, max_size=300), shares, shares)
def test_parts_of_a_text_make_up_the_text(text: str, val: float, test: float) -> None:
    try:
        parts = cut(text, Fractions(val, test))
    except DataError:
        return
    assert "".join(parts[split] for split in SPLITS) == text
    assert all(bool(parts[split].strip()) for split in SPLITS if Fractions(val, test).share(split))


def test_a_single_document_is_cut_at_line_ends() -> None:
    text = "".join(f"line {n}\n" for n in range(1000))
    parts = cut(text, Fractions(0.1, 0.05))
    assert parts["train"].endswith("\n")
    assert parts["val"].endswith("\n")
    assert len(parts["val"]) / len(text) == pytest.approx(0.1, abs=0.06)
    assert len(parts["test"]) / len(text) == pytest.approx(0.05, abs=0.03)
    [document] = take([SourceDocument(text, "a.txt")], "val", Fractions(0.1, 0.05))
    assert document == SourceDocument(parts["val"], "a.txt (val part)")


def test_a_text_without_lines_is_cut_at_a_space() -> None:
    parts = cut("word " * 100, Fractions(0.1, 0))
    assert parts["train"].endswith(" ")
    assert parts["val"].startswith("word")
    assert cut("x" * 100, Fractions(0.1, 0))["val"] == "x" * 10


def test_a_text_too_short_to_cut_is_refused() -> None:
    message = r"^a.txt: a text of 1 characters is too short to be split; give more text$"
    with pytest.raises(DataError, match=message):
        list(take([SourceDocument("x", "a.txt")], "val", Fractions(0.1, 0.1)))


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0), (0, 1), (0.5, 0.5), (float("nan"), 0)])
def test_fractions_that_leave_nothing_are_refused(val: float, test: float) -> None:
    message = "must be 0 or more and together below 1, got"
    with pytest.raises(DataError, match=f"^val_fraction and test_fraction {message} {val} and"):
        Fractions(val, test)
