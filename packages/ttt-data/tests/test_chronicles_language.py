"""The template language, the block notation, and the little grammar."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt_data.chronicles import block, grammar, spans
from ttt_data.chronicles.dice import Dice
from ttt_data.chronicles.entities import Person, Place
from ttt_data.chronicles.lexicon import LEXICON
from ttt_data.chronicles.naming import Naming
from ttt_data.chronicles.templates import Phrases, Template


def render(source: str, seed: int = 0, **slots: Person | Place | str) -> str:
    return Template(source).render(random.Random(seed).random, slots)


def test_slots_are_filled_in_the_form_asked_for() -> None:
    person = Person("Brenno", "he", "baker", "shy", 3)
    place = Place("the old mill", "mill", "at")
    text = render(
        "{A} left {a.his} {a.job}'s shop and was {p.at}; {x}, {X}.", a=person, p=place, x="so"
    )
    assert spans.plain(text) == "Brenno left his baker's shop and was at the old mill; so, So."


def test_every_alternative_is_drawn_and_nesting_works() -> None:
    drawn = {render("[a|b[1|2]|]!", seed) for seed in range(100)}
    assert drawn == {"a!", "b1!", "b2!", "!"}


def test_lists_are_drawn_from_the_lexicon() -> None:
    assert render("<bird>") in LEXICON["bird"]
    assert render("<Bird>").lower() in LEXICON["bird"]


@pytest.mark.parametrize("source", ["[a|b", "a]", "{a", "<no such list>", "a|b"])
def test_malformed_templates_are_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"template|list"):
        Template(source)


def test_phrases_are_one_a_line_and_indented_lines_continue() -> None:
    phrases = Phrases("""
        One
          more.
        Two. // Three.
    """)
    assert [template.source for template in phrases.templates] == ["One more.", "Two.\n\nThree."]


def test_only_sentences_opening_with_who_take_a_lead() -> None:
    assert Template("{Who} ran.").opens_with_subject
    assert not Template("{Hero} was old.").opens_with_subject
    assert not Template("At noon {who} ran.").opens_with_subject
    assert Template("{Who} ran.").render_after("Soon ", random.random, {"who": "she"}) == (
        "Soon she ran."
    )


def test_tables_and_items() -> None:
    assert block.table("a: one; two\nb: three;\n  four") == {
        "a": ("one", "two"),
        "b": ("three", "four"),
    }
    assert block.items("a b,\n c") == ("a b", "c")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a apple", "an apple"),
        ("A old owl", "An old owl"),
        ("a one-eyed unicorn", "a one-eyed unicorn"),
        ("a useful hour", "a useful hour"),
        ("a hour", "an hour"),
        ("a honest man", "an honest man"),
        (f"a {spans.name('ulba')}", f"an {spans.name('ulba')}"),
        ("pizza apple", "pizza apple"),
    ],
)
def test_articles_follow_the_sound(before: str, after: str) -> None:
    assert grammar.articles(before) == after


def test_numbers() -> None:
    words = [grammar.number_word(number) for number in (0, 1, 13, 20, 21, 99, 100)]
    assert words == ["no", "one", "thirteen", "twenty", "twenty-one", "ninety-nine", "100"]
    assert [grammar.plural(number, "coin") for number in (0, 1, 2)] == [
        "no coins",
        "one coin",
        "two coins",
    ]
    assert [grammar.roman(number) for number in (1, 4, 9, 14, 40, 90)] == [
        "I",
        "IV",
        "IX",
        "XIV",
        "XL",
        "XC",
    ]


def test_lists_plurals_and_titles() -> None:
    assert grammar.listing(["a", "b", "c"]) == "a, b and c"
    assert grammar.listing(["a"]) == "a"
    assert grammar.listing([]) == ""
    assert [grammar.plural_of(noun) for noun in ("owl", "fox", "finch")] == [
        "owls",
        "foxes",
        "finches",
    ]
    assert grammar.title("the mill of Brell") == "The Mill of Brell"


def test_marks_become_spans() -> None:
    marked = f"{spans.name('Bo')} has {spans.answer('a axe of ' + spans.name('Al'))}."
    document = spans.finish(marked)
    assert document.text == "Bo has an axe of Al."
    assert document.spans == ((0, 2, "name"), (7, 19, "answer"))
    assert spans.capital(spans.answer("at home")) == spans.answer("At home")


def test_names_never_repeat() -> None:
    naming = Naming(Dice("names"))
    made = [naming.person("she") for _ in range(3000)] + [naming.town() for _ in range(3000)]
    assert len(set(made)) == len(made)


@given(items=st.lists(st.integers()), count=st.integers(0, 20), seed=st.text())
def test_a_sample_is_part_of_the_items(items: list[int], count: int, seed: str) -> None:
    sample = Dice(seed).sample(items, count)
    assert len(sample) == min(count, len(items))
    remaining = list(items)
    for item in sample:
        remaining.remove(item)


def test_the_draws_of_this_seed_never_change() -> None:
    dice = Dice("chronicles")
    assert [dice.between(1, 100) for _ in range(6)] == [84, 53, 89, 61, 93, 48]
