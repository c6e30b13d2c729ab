"""Topics whose answer changes as the story goes on: who is where, and who has what."""

from ttt_data.chronicles.entities import Entity, Person, Thing
from ttt_data.chronicles.templates import Phrases
from ttt_data.chronicles.topics.kind import TopicKind
from ttt_data.chronicles.world import World


def _where(_: World, person: Entity) -> str | None:
    place = person.place if isinstance(person, Person) else None
    return place.forms["at"] if place else None


def _before(_: World, person: Entity) -> str | None:
    place = person.previous if isinstance(person, Person) else None
    return place.forms["at"] if place else None


def _lies(_: World, thing: Entity) -> str | None:
    place = thing.place if isinstance(thing, Thing) else None
    return place.forms["at"] if place else None


def _found(_: World, thing: Entity) -> str | None:
    place = thing.found if isinstance(thing, Thing) else None
    return place.forms["at"] if place else None


def _holder(_: World, thing: Entity) -> str | None:
    return str(thing.holder) if isinstance(thing, Thing) and thing.holder else None


def _giver(_: World, thing: Entity) -> str | None:
    return str(thing.giver) if isinstance(thing, Thing) and thing.giver else None


def _promise(world: World, person: Entity) -> str | None:
    promise = world.promised_by(person) if isinstance(person, Person) else None
    return str(promise.thing) if promise else None


CHANGING = {
    "where": TopicKind(
        ask=Phrases("""
            Where is {s}[| now| today| at this hour]
            [Do you know|Can you tell me|Has anybody told you] where {s} is
            Where [would|could|might] I find {s}
            And {s}, where is {s.he}
        """),
        reply=Phrases("""
            {S.he} is {answer}
            You will find {s.him} {answer}
            [I believe|If you ask me,] {s.he} is {answer}
            {Answer}[|, I think|, of course|, unless I am mistaken]
            {S.he} is [still|no doubt|surely] {answer}
        """),
        state=Phrases("""
            {s} {is} {answer}
            {s} {is} to be found {answer}
        """),
        value=_where,
        common=False,
    ),
    "before": TopicKind(
        ask=Phrases("""
            Where was {s} before [|{s.he} came to |{s.he} went to ]{now}
            Where had {s} been before {s.he} [came|went] to {now}
        """),
        reply=Phrases("""
            {S.he} was {answer}
            Before that {s.he} was {answer}
            {Answer}[|, as far as I know|, before that]
        """),
        state=Phrases("""
            {s} had been {answer} before [coming|going] to {now}
            before [coming|going] to {now}, {s} had been {answer}
        """),
        value=_before,
        common=False,
        ask_you=Phrases("""
            Where were you before
            Where [have you been|did you spend your time] until now
            And where were you before you came here
        """),
        reply_me=Phrases("""
            I was {answer}
            {Answer}[|, most of the time]
            You could have found me {answer}
        """),
    ),
    "lies": TopicKind(
        ask=Phrases("""
            Where is {s}
            [Do you know|Can anyone say|Who can tell me] where {s} is
            Have you seen {s}
            [What has become|What became] of {s}
            Where did {s} [end up|get to]
        """),
        reply=Phrases("""
            It is {answer}
            [I saw it|Look for it|You will find it] {answer}
            It must be {answer}
            {Answer}[|, I believe|, where else|, if nobody has moved it]
        """),
        state=Phrases("""
            {s} {is} {answer}
            {s} {is} [left|kept|lying] {answer}
        """),
        value=_lies,
        common=False,
    ),
    "found": TopicKind(
        ask=Phrases("""
            Where did {s} come from
            Where was {s} [found|picked up]
            Where had {s} been lying
        """),
        reply=Phrases("""
            It was {answer}
            It [lay|was found|was picked up] {answer}
            {Answer}[|, that is where it lay|, they say]
        """),
        state=Phrases("{s} had [been lying|been found|lain] {answer}"),
        value=_found,
        common=False,
    ),
    "holder": TopicKind(
        ask=Phrases("""
            Who has {s}[| now| these days]
            [Do you know|Can you tell me|I wonder,] who has {s}
            Whose [bag|pocket|hands] is {s} in
            Who is carrying {s} about
        """),
        reply=Phrases("""
            {Answer} has it
            [Ask {answer}, who has it|{Answer}, I think|{Answer} does]
            I saw it with {answer}
            It is {answer} who has it
        """),
        state=Phrases("""
            {answer} {has} {s}
            {s} {is} with {answer}
        """),
        value=_holder,
        common=False,
        reply_me=Phrases("""
            {Answer} have it [here|myself|with me|in my bag]
            {Answer} do[|, as you can see]
        """),
    ),
    "giver": TopicKind(
        ask=Phrases("""
            Who gave {s} away
            Who [handed|passed] {s} on
            [Tell me,|And] who gave {s} to its new owner
        """),
        reply=Phrases("""
            {Answer} did
            It was {answer}
            It came from {answer}
        """),
        state=Phrases("""
            it {is} {answer} who had given {s} away
            {s} had come from {answer}
        """),
        value=_giver,
        common=False,
    ),
    "coins": TopicKind(
        ask=Phrases("""
            How many coins does {s} have
            How much money has {s} [left|got|put by]
            [Do you know|Can you guess] how many coins {s} has
        """),
        reply=Phrases("""
            {S.he} has {answer}
            {Answer}[|, I counted them|, no more and no less]
            In {s.his} purse {s.he} has {answer}
        """),
        state=Phrases("""
            {s} {has} {answer}
            {s} {has} {answer} in {s.his} purse
        """),
        value=lambda _, s: s.facts.get("coins"),
        common=False,
        ask_you=Phrases("""
            How many coins do you have[| left]
            How much is [left in|there in] your purse
        """),
        reply_me=Phrases("""
            I have {answer}
            {Answer}[|, if you must know|, and I worked for them]
        """),
    ),
    "promise": TopicKind(
        ask=Phrases("""
            What did {s} promise to bring
            What has {s} [given {s.his} word to bring|promised]
        """),
        reply=Phrases("""
            {S.he} promised {answer}
            {Answer}[|, and {s.he} will keep {s.his} word]
            {S.he} gave {s.his} word about {answer}
        """),
        state=Phrases("{s} had promised [|to bring ]{answer}"),
        value=_promise,
        common=False,
        ask_you=Phrases("""
            What did you promise to bring
            [Remind me:|And] what have you promised
        """),
        reply_me=Phrases("""
            I promised {answer}
            {Answer}[|, and I have not forgotten]
        """),
    ),
}  # fmt: skip
