"""Every answer is true, was told before, and is narrated where the log says it happened.

The log of a chronicle is replayed here by a second, much simpler reading of the world: plain
dictionaries of names, no code of the storyteller.
"""

from collections import Counter
from dataclasses import dataclass, field

import pytest

from ttt_data import chronicles
from ttt_data.chronicles import Chronicle, ChronicleKnobs
from ttt_data.chronicles.log import (
    Answered,
    Appeared,
    Entry,
    Gave,
    Happened,
    Left,
    Moved,
    Paid,
    Promised,
    Recalled,
    Stated,
    Took,
)
from ttt_data.chronicles.topics import TOPICS

SMALL = (
    "no one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBERS = {word: value for value, word in enumerate(SMALL.split())} | {
    ten + unit: 10 * tens + value
    for tens, ten in enumerate(TENS.split(), start=2)
    for value, unit in enumerate(["", *(f"-{word}" for word in SMALL.split()[1:10])])
}


@dataclass
class Replay:
    """The world according to the log."""

    path: dict[str, list[str]] = field(default_factory=dict)
    lies_at: dict[str, str] = field(default_factory=dict)
    holder: dict[str, str] = field(default_factory=dict)
    found_at: dict[str, str] = field(default_factory=dict)
    giver: dict[str, str] = field(default_factory=dict)
    promised: dict[str, str] = field(default_factory=dict)
    purse: dict[str, int] = field(default_factory=dict)
    stated: dict[tuple[str, str], str] = field(default_factory=dict)

    def apply(self, entry: Entry) -> None:
        """Take one entry in, refusing what cannot have happened."""
        match entry:
            case Moved(who=who, place=place):
                path = self.path.setdefault(who, [])
                assert path[-1:] != [place], f"{who} went from {place} to {place}"
                path.append(place)
            case Appeared(thing=thing, place=place):
                assert not {thing} & (self.lies_at.keys() | self.holder.keys())
                self.lies_at[thing] = place
            case Took(who=who, thing=thing):
                assert self.lies_at[thing] == self.path[who][-1], f"{who} cannot reach {thing}"
                self.found_at[thing] = self.lies_at.pop(thing)
                self.holder[thing] = who
                self.giver.pop(thing, None)
            case Left(who=who, thing=thing):
                assert self.holder.pop(thing) == who
                self.lies_at[thing] = self.path[who][-1]
                self.found_at.pop(thing, None)
                self.giver.pop(thing, None)
            case Gave(giver=giver, receiver=receiver, thing=thing):
                assert self.holder[thing] == giver
                assert self.path[giver][-1] == self.path[receiver][-1]
                self.holder[thing], self.giver[thing] = receiver, giver
                self.found_at.pop(thing, None)
            case Paid(payer=payer, payee=payee, coins=coins):
                assert coins > 0
                self._change_purse(payer, -coins)
                self._change_purse(payee, coins)
            case Promised(who=who, thing=thing):
                self.promised[who] = thing
            case Stated(subject=subject, attribute="coins", value=value):
                counted = NUMBERS[value.split()[0]]
                assert self.purse.setdefault(subject, counted) == counted
            case Stated(subject=subject, attribute=attribute, value=value):
                self.stated[attribute, subject] = value
            case Happened() | Answered() | Recalled():
                pass

    def agrees(self, entry: Answered | Recalled) -> bool:
        """Whether an answer or a recollection is true now."""
        subject = entry.subject
        said = entry.answer if isinstance(entry, Answered) else entry.value
        match entry.topic:
            case "where":
                return _is_at(said, self.path[subject][-1])
            case "before":
                return _is_at(said, self.path[subject][-2])
            case "lies":
                return _is_at(said, self.lies_at[subject])
            case "found":
                return _is_at(said, self.found_at[subject])
            case "holder" if said == "I" and isinstance(entry, Answered):
                return entry.speaker == self.holder[subject]
            case "holder":
                return said == self.holder[subject]
            case "giver":
                return said == self.giver[subject]
            case "promise":
                return said == self.promised[subject]
            case "coins":
                count, _, unit = said.partition(" ")
                purse = self.purse[subject]
                return NUMBERS[count] == purse and unit == ("coin" if purse == 1 else "coins")
            case attribute:
                return said == self.stated[attribute, subject]

    def _change_purse(self, name: str, coins: int) -> None:
        if name in self.purse:
            self.purse[name] += coins
            assert self.purse[name] >= 0


def _is_at(said: str, place: str) -> bool:
    preposition, _, said_place = said.partition(" ")
    return preposition in {"at", "in", "on"} and said_place == place


@pytest.fixture(scope="module")
def corpus() -> list[Chronicle]:
    return [chronicles.chronicle(index, split="test") for index in range(150)]


def answers(chronicle: Chronicle) -> list[Answered]:
    return [entry for entry in chronicle.log if isinstance(entry, Answered)]


def test_everything_answered_or_recalled_is_true(corpus: list[Chronicle]) -> None:
    asked: Counter[str] = Counter()
    for chronicle in corpus:
        replay = Replay()
        for entry in chronicle.log:
            if isinstance(entry, Answered | Recalled):
                assert replay.agrees(entry), entry
                asked[entry.topic] += isinstance(entry, Answered)
            else:
                replay.apply(entry)
    assert asked.keys() == TOPICS.keys(), "a kind of question never came up"


def test_the_replay_notices_a_lie(corpus: list[Chronicle]) -> None:
    """Guard of the test above: an answer that was true of something else is false here."""
    said = {entry.topic: entry.answer for chronicle in corpus for entry in answers(chronicle)}
    num_lies = 0
    for chronicle in corpus:
        replay = Replay()
        for entry in chronicle.log:
            if isinstance(entry, Answered):
                lie = said[entry.topic]
                if "I" not in {lie, entry.answer} and lie != entry.answer:
                    assert not replay.agrees(entry._replace(answer=lie)), (entry, lie)
                    num_lies += 1
            else:
                replay.apply(entry)
    assert num_lies > 1000


def test_the_answer_spans_are_the_answers_of_the_log(corpus: list[Chronicle]) -> None:
    for chronicle in corpus:
        document = chronicle.document
        tagged = [
            document.text[start:end] for start, end, kind in document.spans if kind == "answer"
        ]
        expected = [entry.answer for entry in answers(chronicle)]
        assert [text.lower() for text in tagged] == [text.lower() for text in expected]


def test_every_answer_has_been_told_before_in_so_many_words(corpus: list[Chronicle]) -> None:
    """Except how many coins someone has, which may have to be counted."""
    for chronicle in corpus:
        sentences = [sentence.lower() for sentence in chronicle.sentences()]
        for entry in answers(chronicle):
            if entry.topic == "coins" or entry.answer == "I":
                continue
            words = entry.answer.lower()
            if entry.topic in {"where", "before", "lies", "found", "job"}:
                words = words.partition(" ")[2]
            words = words.removeprefix("the ")
            assert any(words in sentence for sentence in sentences[: entry.sentence]), entry


def test_what_the_log_says_is_narrated_in_that_sentence(corpus: list[Chronicle]) -> None:
    for chronicle in corpus:
        sentences = [sentence.lower() for sentence in chronicle.sentences()]
        entered: set[str] = set()
        for entry in chronicle.log:
            told = sentences[entry.sentence]
            match entry:
                case Appeared(thing=thing) | Took(thing=thing) | Left(thing=thing):
                    assert _names(told, thing), entry
                case Gave(thing=thing):
                    assert _names(told, thing), entry
                case Moved(who=who, place=place):
                    if who in entered:
                        assert _names(told, place), entry
                    entered.add(who)
                case Stated(attribute="job", value=value):
                    assert value.partition(" ")[2] in told, entry
                case Stated(value=value):
                    assert value.lower() in told, entry
                case Paid(coins=coins):
                    word = next(word for word, value in NUMBERS.items() if value == coins)
                    assert f"{word} coin" in told, entry


def _names(sentence: str, name: str) -> bool:
    """Whether a sentence names a thing or place, in full or by its noun alone."""
    noun_phrase = name.lower().removeprefix("the ")
    head = noun_phrase.partition(" of ")[0].split()
    return noun_phrase in sentence or any(
        f" {' '.join(head[-count:])}" in sentence for count in (1, 2)
    )


@pytest.mark.parametrize("recall", [(2, 6), (8, 20), (30, None)])
def test_the_recall_knob_sets_how_far_back_questions_reach(recall: tuple[int, int | None]) -> None:
    knobs = ChronicleKnobs(words=(1200, 1200), recall=recall)
    distances = [
        distance
        for index in range(12)
        for distance in _distances(chronicles.chronicle(index, knobs=knobs))
    ]
    nearest, farthest = recall
    assert len(distances) > 20
    assert min(distances) >= nearest
    assert max(distances) <= (farthest or 10_000)


def _distances(chronicle: Chronicle) -> list[int]:
    """For each answer, how many sentences ago the reader was last told it."""
    last: dict[tuple[str, str], int] = {}
    distances = []
    for entry in chronicle.log:
        now = entry.sentence
        match entry:
            case Answered(topic=topic, subject=subject):
                distances.append(now - last[topic, subject])
                last[topic, subject] = now
            case Recalled(topic=topic, subject=subject):
                last[topic, subject] = now
            case Stated(subject=subject, attribute=attribute):
                last[attribute, subject] = now
            case Moved(who=who):
                last["where", who] = last["before", who] = now
            case Appeared(thing=thing) | Left(thing=thing):
                last["lies", thing] = now
            case Took(thing=thing):
                last["holder", thing] = last["found", thing] = now
            case Gave(thing=thing):
                last["holder", thing] = last["giver", thing] = now
            case Promised(who=who):
                last["promise", who] = now
            case Paid(payer=payer, payee=payee):
                for who in (payer, payee):
                    if ("coins", who) in last:
                        last["coins", who] = now
    return distances
