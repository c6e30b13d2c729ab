"""The built-in corpus: purity, shape, variety, knobs, and prose without template artefacts."""

import gzip
import hashlib
import itertools
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_data import chronicles
from ttt_data.chronicles import ChronicleKnobs
from ttt_data.chronicles.entities import Entity
from ttt_data.chronicles.events import EVENTS
from ttt_data.chronicles.log import Answered, Appeared, Happened, Moved
from ttt_data.chronicles.scene import Scene
from ttt_data.chronicles.templates import Phrases, Random

# Documents never change under their version: to change one, raise CORPUS_VERSION, retrain the
# built-in tokenizer (scripts/train_tokenizer.py) and add the new digests here.
GOLDEN: dict[int, dict[tuple[chronicles.Split, int, int], str]] = {
    1: {
        ("train", 0, 0): "159ddb03da5e07acbcbd9be973d84c20456e08a4a87a69e22f8cb340477af0af",
        ("train", 0, 12345): "56264d266814eaf796910ab996c9d9c052cdc1a5de0d5491695e84929f567b37",
        ("val", 0, 0): "854656c696a13a7d6b278fd9f92416adb88cca7343c37e043cf19a8125790e64",
        ("test", 7, 3): "c342dfe1575dd8057199edfccda8d9b2803b611f09e3b8d9efc1839ce10eff12",
    }
}

ARTEFACTS = {
    "double space": r"  ",
    "space before punctuation": r" [.,;:?!]",
    "space at a line's end": r" \n",
    "template syntax": r"[{}<>\[\]|]",
    "mark": r"[\x00-\x09\x0b-\x1f]",
    "doubled punctuation": r"[.,;:?!][.,;:?!](?!\d)",
    "doubled word": r"\b(\w+) \1\b",
    "a before a vowel": r"\b[Aa] (?!one\b|once\b|uni|use)[aeiouAEIOU]",
    "an before a consonant": r"\b[Aa]n (?!hour|honest)[^aeiouAEIOU]",
    "lower case after a full stop": r"[a-z]\. [a-z]",
    "lower case in a new paragraph": r'(?:\A|\n\n)"?[a-z]',
    "lower case in an opening quote": r'(?:[.?!] |\n)"[a-z]',
    "three empty lines": r"\n\n\n",
    "not ASCII": r"[^\x00-\x7f]",
}


@pytest.fixture(scope="module")
def corpus() -> list[chronicles.Chronicle]:
    """Some documents of the training split with their logs."""
    return [chronicles.chronicle(index) for index in range(300)]


def first_bytes(num_bytes: int) -> Iterator[str]:
    total = 0
    for index in itertools.count():
        text = chronicles.document(index).text
        yield text
        total += len(text)
        if total >= num_bytes:
            return


def test_documents_of_this_version_are_what_they_were() -> None:
    for (split, seed, index), digest in GOLDEN[chronicles.CORPUS_VERSION].items():
        text = chronicles.document(index, seed=seed, split=split).text
        assert hashlib.sha256(text.encode()).hexdigest() == digest, (split, seed, index)


def test_a_document_does_not_depend_on_what_was_read_before() -> None:
    forwards = [chronicles.document(index).text for index in range(8)]
    backwards = [chronicles.document(index).text for index in reversed(range(8))]
    assert forwards == backwards[::-1]
    assert forwards == [document.text for document in chronicles.documents("train", 8)]


@pytest.mark.parametrize("hash_seed", ["0", "1234"])
def test_a_document_does_not_depend_on_the_hash_seed(hash_seed: str) -> None:
    program = "from ttt_data import chronicles; print(chronicles.document(5).text, end='')"
    text = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert text == chronicles.document(5).text


def test_the_splits_and_seeds_share_no_document() -> None:
    splits: tuple[chronicles.Split, ...] = ("train", "val", "test")
    short = ChronicleKnobs(words=(60, 60))
    texts = [
        document.text
        for split in splits
        for seed in (0, 1)
        for document in chronicles.documents(split, 50, seed=seed, knobs=short)
    ]
    openings = {text[:80] for text in texts}
    assert len(openings) == len(texts)


def test_a_negative_index_is_refused() -> None:
    with pytest.raises(ValueError, match="index must be 0 or more, got -1"):
        chronicles.document(-1)


def test_spans_are_sorted_disjoint_and_cover_the_text(corpus: list[chronicles.Chronicle]) -> None:
    for document, _, _ in corpus:
        assert all(one.end <= other.start for one, other in itertools.pairwise(document.spans))
        segments = list(document.segments())
        assert "".join(document.text[start:end] for start, end, _ in segments) == document.text
        assert all(start < end for start, end, _ in segments)
        assert [span for span in segments if span.kind != "filler"] == list(document.spans)
        assert {span.kind for span in document.spans} <= {"name", "answer"}


def test_names_are_words_of_their_document_only(corpus: list[chronicles.Chronicle]) -> None:
    """Few words in name spans occur in the names of any other document."""
    documents_with = Counter(
        name
        for document, _, _ in corpus
        for name in {
            document.text[start:end] for start, end, kind in document.spans if kind == "name"
        }
    )
    shared = [name for name, count in documents_with.items() if count > 1]
    assert len(shared) < 0.1 * len(documents_with)


def test_every_kind_of_event_happens(corpus: list[chronicles.Chronicle]) -> None:
    happened = {entry.event for _, log, _ in corpus for entry in log if isinstance(entry, Happened)}
    assert happened == set(EVENTS)
    assert len(EVENTS) >= 40


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_the_prose_has_no_artefact(artefact: str, corpus: list[chronicles.Chronicle]) -> None:
    pattern = re.compile(ARTEFACTS[artefact])
    for document, _, _ in corpus:
        found = pattern.search(document.text)
        assert found is None, document.text[max(0, found.start() - 60) : found.end() + 40]


def test_the_text_compresses_to_about_a_quarter() -> None:
    text = "".join(first_bytes(1_000_000)).encode()
    assert 3 < len(text) / len(gzip.compress(text, 9)) < 5


@pytest.mark.parametrize(("low", "high"), [(60, 80), (500, 600), (3000, 3500)])
def test_the_words_knob_sets_the_length(low: int, high: int) -> None:
    knobs = ChronicleKnobs(words=(low, high))
    lengths = [len(chronicles.document(i, knobs=knobs).text.split()) for i in range(15)]
    assert min(lengths) >= low
    assert max(lengths) < high + 450


def test_the_chapter_knob_cuts_long_documents() -> None:
    def num_chapters(chapter_words: int) -> float:
        knobs = ChronicleKnobs(words=(2000, 2000), chapter_words=chapter_words)
        heading = re.compile(
            r"^(Chapter [\w-]+|[IVXLC]+\.|\* \* \*|\d+\. The [\w' -]+)$", re.MULTILINE
        )
        texts = [chronicles.document(index, knobs=knobs).text for index in range(10)]
        return sum(len(heading.findall(text)) for text in texts) / len(texts)

    assert num_chapters(5000) < 1
    assert 4 <= num_chapters(500) < 6
    assert 8 <= num_chapters(250) < 10


def test_the_entity_knobs_bound_the_cast() -> None:
    knobs = ChronicleKnobs(words=(1500, 1500), characters=(4, 4), things=(2, 2), places=(3, 3))
    for index in range(15):
        log = chronicles.chronicle(index, knobs=knobs).log
        moves = [entry for entry in log if isinstance(entry, Moved)]
        assert 2 <= len({move.who for move in moves}) <= 4
        assert {move.place for move in moves} <= {move.place for move in moves}
        assert len({move.place for move in moves}) == 3
        assert len({entry.thing for entry in log if isinstance(entry, Appeared)}) == 2


@pytest.mark.parametrize(
    "knobs",
    [
        ChronicleKnobs(characters=(1, 1), things=(0, 0), places=(2, 2), words=(400, 400)),
        ChronicleKnobs(characters=(30, 30), things=(60, 60), places=(40, 40), words=(400, 400)),
        ChronicleKnobs(question_share=1.0, words=(400, 400)),
        ChronicleKnobs(recall=(400, None), words=(400, 400)),
        ChronicleKnobs(words=(1, 1)),
    ],
)
def test_extreme_knobs_still_tell_a_story(knobs: ChronicleKnobs) -> None:
    for document in chronicles.documents("train", 10, knobs=knobs):
        assert len(document.text) > 40


def test_the_question_knob_sets_their_share() -> None:
    def share(question_share: float) -> float:
        knobs = ChronicleKnobs(question_share=question_share, words=(800, 800))
        logs = [chronicles.chronicle(index, knobs=knobs).log for index in range(12)]
        entries = [entry for log in logs for entry in log]
        happened = sum(isinstance(entry, Happened) for entry in entries)
        return sum(isinstance(entry, Answered) for entry in entries) / happened

    assert share(0.0) == 0
    assert 0.1 < share(0.2) < 0.3
    assert 0.35 < share(0.5) < share(1.0)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"words": (10, 5)}, "words must be a range"),
        ({"characters": (0, 3)}, "characters must be a range within 1"),
        ({"places": (1, 1)}, "places must be a range within 2"),
        ({"things": (0, 10_000)}, "things must be a range within 0"),
        ({"recall": (0, None)}, "recall must be a range from 1 up"),
        ({"recall": (5, 4)}, "recall must be a range from 1 up"),
        ({"question_share": 1.5}, "question_share must be from 0 to 1"),
        ({"chapter_words": 0}, "chapter_words must be positive"),
    ],
)
def test_impossible_knobs_are_refused(knobs: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChronicleKnobs(**knobs)  # pyrefly: ignore[bad-argument-type]


@settings(max_examples=30, deadline=None)
@given(index=st.integers(0, 10**9), seed=st.integers(0, 10**6))
def test_any_document_can_be_told(index: int, seed: int) -> None:
    document = chronicles.document(index, seed=seed, knobs=ChronicleKnobs(words=(100, 300)))
    assert document.text.endswith("\n")
    assert document.text.isascii()


def test_every_sentence_finds_its_slots_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever alternatives are drawn: all slots of all alternatives are checked at every call."""
    told: set[Phrases] = set()
    tell, text = Scene.tell, Phrases.text

    def checked_tell(scene: Scene, phrases: Phrases, **slots: Entity | str) -> None:
        told.add(phrases)
        always = {"a", "who", "hero", "here", "town", "sky", "sign", "when"}
        assert phrases.needs <= slots.keys() | always
        tell(scene, phrases, **slots)

    def checked_text(phrases: Phrases, random: Random, **slots: Entity | str) -> str:
        told.add(phrases)
        assert phrases.needs <= slots.keys()
        return text(phrases, random, **slots)

    monkeypatch.setattr(Scene, "tell", checked_tell)
    monkeypatch.setattr(Phrases, "text", checked_text)
    for index in range(250):
        chronicles.document(index, seed=1)
    untold = {
        name for name, phrases in _module_phrases() if phrases not in told and name != "_LEADS"
    }
    assert not untold


def _module_phrases() -> Iterator[tuple[str, Phrases]]:
    modules = [module for name, module in sys.modules.items() if "ttt_data.chronicles" in name]
    for module in modules:
        for name, value in vars(module).items():
            for item in value.values() if isinstance(value, dict) else [value]:
                if isinstance(item, Phrases):
                    yield name, item
