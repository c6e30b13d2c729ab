"""The little language in which the sentences are written.

    {thing}             a value bound when the sentence is told; {thing.short} another form of it
    [came|went|walked]  one of these, drawn anew each time; may be nested and may be empty
    <bird>              one entry of the list of that name in `lexicon`

A capital inside the brackets asks for one in the text: {Thing}, <Lead>. `{who}` is the acting
person in subject position: a name, or he or she where nobody can be in doubt. A sentence that opens
with {Who} tells of an act and may get a "Soon" in front; {Hero} is the same for what lasts and gets
none. The article is written "a" everywhere; `spans.finish` turns it into "an".

Templates are parsed once, when their module is imported, so a misspelt list is an import error.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from ttt_data.chronicles.block import lines
from ttt_data.chronicles.entities import Entity
from ttt_data.chronicles.lexicon import LEXICON
from ttt_data.chronicles.spans import capital

Random: TypeAlias = Callable[[], float]
Slots: TypeAlias = Mapping[str, Entity | str]


class _Slot(NamedTuple):
    name: str
    form: str
    capital: bool


class _Choice(NamedTuple):
    alternatives: tuple["str | _Parts", ...]
    capital: bool


_Parts: TypeAlias = "tuple[str | _Slot | _Choice, ...]"
_TOKEN = re.compile(r"\{[^}]*\}|<[^>]*>|[\[\]|]|[^{<\[\]|]+")


class Template:
    """One parsed sentence.

    Attributes:
        needs: names of the slots that some way of drawing the sentence uses.
        backdrops: those of them that describe weather, season or time.
        speaks_of_actor: it names the acting person.
        opens_with_subject: it starts with {Who}, so a "Soon" or "At noon," may go in front.
    """

    __slots__ = ("_parts", "backdrops", "needs", "opens_with_subject", "source", "speaks_of_actor")

    def __init__(self, source: str) -> None:
        self.source = source
        self._parts = _parse(source)
        self.needs = frozenset(_slot_names(self._parts))
        self.backdrops = tuple(sorted(self.needs & {"sky", "sign", "when"}))
        self.speaks_of_actor = not self.needs.isdisjoint({"a", "who", "hero"})
        first = self._parts[0] if self._parts else ""
        self.opens_with_subject = isinstance(first, _Slot) and first == ("who", "", True)

    def render(self, random: Random, slots: Slots) -> str:
        """Draw the choices and fill the slots."""
        out: list[str] = []
        _write(self._parts, slots, random, out)
        return "".join(out)

    def render_after(self, lead: str, random: Random, slots: Slots) -> str:
        """As `render`, for a template that opens with its subject, with `lead` in front of it."""
        out = [lead, str(slots["who"])]
        _write(self._parts[1:], slots, random, out)
        return "".join(out)


class Phrases:
    """Ways of saying one thing, of which one is drawn each time.

    Args:
        block: the templates, one a line; a line indented more continues the one above, and " // "
            starts a new paragraph.
    """

    __slots__ = ("needs", "templates")

    def __init__(self, block: str) -> None:
        sources = (line.replace(" // ", "\n\n") for line in lines(block))
        self.templates = tuple(Template(source) for source in sources)
        self.needs = frozenset().union(*(template.needs for template in self.templates))

    def draw(self, random: Random) -> Template:
        """Return one of the templates."""
        return self.templates[int(random() * len(self.templates))]

    def text(self, random: Random, **slots: Entity | str) -> str:
        """Draw a template and render it."""
        return self.draw(random).render(random, slots)


def _write(parts: _Parts, slots: Slots, random: Random, out: list[str]) -> None:
    for part in parts:
        if isinstance(part, str):
            out.append(part)
        elif isinstance(part, _Slot):
            slot, form, upper = part
            value = slots[slot]
            text = value if isinstance(value, str) else value.forms[form]
            out.append(capital(text) if upper else text)
        else:
            alternatives, upper = part
            alternative = alternatives[int(random() * len(alternatives))]
            start = len(out)
            if isinstance(alternative, str):
                out.append(alternative)
            else:
                _write(alternative, slots, random, out)
            if upper:
                out[start] = capital(out[start])


def _parse(source: str) -> _Parts:
    tokens = _TOKEN.findall(source)
    if "".join(tokens) != source:
        raise ValueError(f"unbalanced brackets in template: {source!r}")
    tokens.reverse()
    parts = _parse_parts(tokens, source)
    if tokens:
        raise ValueError(f"stray {tokens[-1]!r} in template: {source!r}")
    return parts


def _parse_parts(tokens: list[str], source: str) -> _Parts:
    """Consume tokens (last one first) up to the end or to a `|` or `]`, which is left there."""
    parts: list[str | _Slot | _Choice] = []
    while tokens and tokens[-1] not in ("|", "]"):
        token = tokens.pop()
        if token.startswith("["):
            parts.append(_parse_choice(tokens, source))
        elif token.startswith("{"):
            slot, _, form = token[1:-1].partition(".")
            parts.append(_Slot(slot.lower(), form, slot[:1].isupper()))
        elif token.startswith("<"):
            word_list = token[1:-1]
            parts.append(_Choice(_list(word_list.lower()), capital=word_list[:1].isupper()))
        else:
            parts.append(token)
    return tuple(parts)


def _parse_choice(tokens: list[str], source: str) -> _Choice:
    alternatives = [_simplify(_parse_parts(tokens, source))]
    while tokens and tokens[-1] == "|":
        tokens.pop()
        alternatives.append(_simplify(_parse_parts(tokens, source)))
    if not tokens:
        raise ValueError(f"missing ] in template: {source!r}")
    tokens.pop()
    return _Choice(tuple(alternatives), capital=False)


def _simplify(parts: _Parts) -> "str | _Parts":
    if not parts:
        return ""
    first = parts[0]
    return first if len(parts) == 1 and isinstance(first, str) else parts


_LISTS: dict[str, tuple["str | _Parts", ...]] = {}


def _list(name: str) -> tuple["str | _Parts", ...]:
    if name not in _LISTS:
        if name not in LEXICON:
            raise ValueError(f"no list <{name}> in the lexicon")
        _LISTS[name] = tuple(_simplify(_parse(entry)) for entry in LEXICON[name])
    return _LISTS[name]


def _slot_names(parts: Sequence[str | _Slot | _Choice]) -> set[str]:
    names: set[str] = set()
    for part in parts:
        if isinstance(part, _Slot):
            names.add(part.name)
        elif isinstance(part, _Choice):
            for alternative in part.alternatives:
                if not isinstance(alternative, str):
                    names |= _slot_names(alternative)
    return names
