import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt_config import InvalidValueError
from ttt_data import Tokenizer
from ttt_training.writer import Writer

BYTES = Tokenizer.load("bytes")
BPE = Tokenizer.load("bpe-4096")


def ids(text: str) -> list[int]:
    return BYTES.encode(text).tolist()


def written(writer: Writer, tokens: list[int]) -> list[str]:
    """What is shown after each token, up to the end."""
    shown: list[str] = []
    for token in tokens:
        if writer.finish_reason is not None:
            break
        shown.append(writer.push(token))
    return shown


@pytest.mark.parametrize(
    ("text", "stop", "expected", "reason"),
    [
        ("one. two", ["."], "one", "stop"),
        ("one two", ["."], "one two", "length"),
        ("one\n\nUser: two", ["\nUser:", "\n\nUs"], "one", "stop"),
        ("aaab", ["aab"], "a", "stop"),
        ("abcd", ["bcx", "cd"], "ab", "stop"),
        ("stop", ["stop"], "", "stop"),
        ("ab", ["abc"], "ab", "length"),
        ("é€é", ["é"], "", "stop"),
    ],
)
def test_the_text_ends_before_the_first_stop_string(
    text: str, stop: list[str], expected: str, reason: str
) -> None:
    tokens = ids(text)
    writer = Writer(BYTES, max_new_tokens=len(tokens), stop=stop)
    shown = written(writer, tokens)
    assert ("".join(shown), writer.text, writer.finish_reason) == (expected, expected, reason)
    assert writer.token_ids == tokens[: len(writer.token_ids)]


@given(
    text=st.text("ab€ ", max_size=30),
    stop=st.lists(st.text("ab€ ", min_size=1, max_size=4), max_size=3),
)
def test_how_a_text_is_cut_into_tokens_changes_nothing(text: str, stop: list[str]) -> None:
    texts: list[str] = []
    for tokenizer in (BYTES, BPE):
        tokens = tokenizer.encode(text).tolist()
        writer = Writer(tokenizer, max_new_tokens=len(tokens) + 1, stop=stop, eos_id=1)
        shown = written(writer, [*tokens, 1])
        assert "".join(shown) == writer.text
        assert text.startswith(writer.text)
        assert not any(string in writer.text for string in stop)
        assert (writer.finish_reason == "stop") == any(string in text for string in stop)
        if writer.finish_reason == "eos":
            assert writer.text == text
        texts.append(writer.text)
    assert texts[0] == texts[1]


def test_no_part_of_a_character_or_of_a_stop_string_is_shown() -> None:
    writer = Writer(BYTES, max_new_tokens=50, stop=["<end>"])
    assert written(writer, ids("é<enx<en")) == ["", "é", "", "", "", "<enx", "", "", ""]
    assert writer.push(1) == ""  # a special token has no text
    assert written(writer, ids("d>")) == ["", ""]
    assert (writer.text, writer.finish_reason) == ("é<enx", "stop")


def test_an_answer_goes_on_in_the_middle_of_a_character() -> None:
    first, second = ids("é")
    writer = Writer(BYTES, [*ids("caf"), first], max_new_tokens=2)
    assert written(writer, [second, *ids("s")]) == ["é", "s"]


def test_bytes_that_never_become_a_character_are_shown_at_the_end() -> None:
    writer = Writer(BYTES, max_new_tokens=2)
    assert written(writer, [*ids("a"), ids("é")[0]]) == ["a", "\ufffd"]


def test_the_end_of_the_text_is_no_part_of_the_answer() -> None:
    writer = Writer(BYTES, max_new_tokens=5, eos_id=BYTES.eos_id)
    written(writer, [*ids("a"), BYTES.eos_id])
    assert (writer.token_ids, writer.text, writer.finish_reason) == (ids("a"), "a", "eos")


def test_bad_limits_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="a stop string is empty"):
        Writer(BYTES, max_new_tokens=5, stop=["a", ""])
    with pytest.raises(InvalidValueError, match="max_new_tokens is -1"):
        Writer(BYTES, max_new_tokens=-1)
    assert Writer(BYTES, max_new_tokens=0).finish_reason == "length"
