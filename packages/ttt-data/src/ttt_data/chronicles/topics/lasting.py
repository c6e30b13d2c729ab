"""Topics whose answer stays what it is: homes, kin, meanings (an age grows on a birthday)."""

from collections.abc import Callable

from ttt_data.chronicles.entities import Entity
from ttt_data.chronicles.templates import Phrases
from ttt_data.chronicles.topics.kind import TopicKind
from ttt_data.chronicles.world import World


def _fact(attribute: str) -> Callable[[World, Entity], str | None]:
    return lambda _, subject: subject.facts.get(attribute)


LASTING = {
    "job": TopicKind(
        ask=Phrases("""
            What is {s.his} trade, that {s.man} {s}
            What does {s} do for a living
            What is {s} by trade
        """),
        reply=Phrases("""
            {S.he} is {answer}
            {Answer}[|, and a good one]
            {S.he} works as {answer}
        """),
        state=Phrases("""
            {s} {is} {answer}
            {s} {is} {answer} by trade
        """),
        value=_fact("job"),
        ask_you=Phrases("""
            What is your trade
            What do you do for a living
        """),
        reply_me=Phrases("""
            I am {answer}
            {Answer}[|, like my father]
        """),
    ),
    "home": TopicKind(
        ask=Phrases("""
            Where does {s} live
            Where is {s.his} house, {s}'s I mean
            [In what part of|Where in] the town does {s} live
        """),
        reply=Phrases("""
            {S.he} lives {answer}
            {Answer}[|, and always has]
            {S.he} has a house {answer}
        """),
        state=Phrases("""
            {s} {lives} {answer}
            {s} {has} a house {answer}
        """),
        value=_fact("home"),
        ask_you=Phrases("""
            Where do you live
            Where is your house
        """),
        reply_me=Phrases("""
            I live {answer}
            {Answer}[|, come and see me]
        """),
    ),
    "house": TopicKind(
        ask=Phrases("""
            What does {s}'s house look like
            How shall I know the house of {s}
            Which house is {s}'s
        """),
        reply=Phrases("""
            It has {answer}
            It is the one with {answer}
            Look for {answer}
        """),
        state=Phrases("""
            {s}'s house {has} {answer}
            the house of {s} {has} {answer}
        """),
        value=_fact("house"),
        ask_you=Phrases("""
            What does your house look like
            How shall I know your house
        """),
        reply_me=Phrases("""
            It has {answer}
            Look for {answer}
        """),
    ),
    "brother": TopicKind(
        ask=Phrases("""
            Who is {s}'s brother
            What is the name of {s}'s brother
        """),
        reply=Phrases("""
            {S.his} brother is {answer}
            {Answer}[|, of course]
            He is called {answer}
        """),
        state=Phrases("""
            {s}'s brother {is} {answer}
            {s} {has} a brother, {answer}
        """),
        value=_fact("brother"),
    ),
    "sister": TopicKind(
        ask=Phrases("""
            Who is {s}'s sister
            What is the name of {s}'s sister
        """),
        reply=Phrases("""
            {S.his} sister is {answer}
            {Answer}[|, of course]
            She is called {answer}
        """),
        state=Phrases("""
            {s}'s sister {is} {answer}
            {s} {has} a sister, {answer}
        """),
        value=_fact("sister"),
    ),
    "pet": TopicKind(
        ask=Phrases("""
            What is {s}'s {s.pet} called
            What name did {s} give {s.his} {s.pet}
        """),
        reply=Phrases("""
            It is called {answer}
            {Answer}[|, and it answers to nothing else]
            {S.he} calls it {answer}
        """),
        state=Phrases("""
            {s}'s {s.pet} {is} called {answer}
            the name of {s}'s {s.pet} {is} {answer}
        """),
        value=_fact("pet"),
        ask_you=Phrases("""
            What is your {s.pet} called
            What do you call your {s.pet}
        """),
        reply_me=Phrases("""
            I call it {answer}
            {Answer}[|, and it knows its name]
        """),
    ),
    "origin": TopicKind(
        ask=Phrases("""
            Where does {s} come from
            Where was {s} born
            Which village does {s} come from
        """),
        reply=Phrases("""
            {S.he} comes from {answer}
            From {answer}[|, you can hear it]
            {S.he} was born in {answer}
        """),
        state=Phrases("""
            {s} {comes} from {answer}
            {s}'s home village {is} {answer}
        """),
        value=_fact("origin"),
        ask_you=Phrases("""
            Where do you come from
            Where were you born
        """),
        reply_me=Phrases("""
            I come from {answer}
            From {answer}[|, over the hills]
        """),
    ),
    "likes": TopicKind(
        ask=Phrases("""
            What does {s} like best
            What is {s} fond of
            What makes {s} happy
        """),
        reply=Phrases("""
            There is nothing {s.he} likes better than {answer}
            {Answer}[|, above all]
            {S.he} is fond of {answer}
        """),
        state=Phrases("""
            {s} {is} fond of {answer}
            the thing {s} {is} fond of {is} {answer}
        """),
        value=_fact("likes"),
        ask_you=Phrases("""
            What do you like best
            What makes you happy
        """),
        reply_me=Phrases("""
            I am fond of {answer}
            {Answer}[|, above all]
        """),
    ),
    "fears": TopicKind(
        ask=Phrases("""
            What is {s} afraid of
            What frightens {s}
        """),
        reply=Phrases("""
            {S.he} is afraid of {answer}
            {Answer}[|, though {s.he} hides it]
        """),
        state=Phrases("{s} {is} afraid of {answer}"),
        value=_fact("fears"),
        ask_you=Phrases("""
            What are you afraid of
            Is there anything that frightens you
        """),
        reply_me=Phrases("""
            I am afraid of {answer}
            {Answer}[|, but keep it to yourself]
        """),
    ),
    "age": TopicKind(
        ask=Phrases("""
            How old is {s}
            What is {s}'s age
            [Can you say|Do you know] how old {s} is
        """),
        reply=Phrases("""
            {S.he} is {answer}
            {Answer}[|, though {s.he} looks younger]
            {S.he} turned {answer}
        """),
        state=Phrases("{s} {is} {answer} years old"),
        value=_fact("age"),
        ask_you=Phrases("""
            How old are you
            May one ask your age
        """),
        reply_me=Phrases("""
            I am {answer}
            {Answer}[|, last time I counted]
        """),
    ),
    "inscription": TopicKind(
        ask=Phrases("""
            What is [written|scratched|engraved] on {s}
            Which word is on {s}
            What does the writing on {s} say
        """),
        reply=Phrases("""
            It says {answer}
            The word is {answer}
            {Answer}[|, whatever that means]
        """),
        state=Phrases("""
            the word on {s} {is} {answer}
            {s} {has} the word {answer} on it
        """),
        value=_fact("inscription"),
    ),
    "maker": TopicKind(
        ask=Phrases("""
            Who made {s}
            Whose work is {s}
        """),
        reply=Phrases("""
            {Answer} made it
            It is the work of {answer}
            {Answer} did[|, long ago]
        """),
        state=Phrases("""
            {s} {is} the work of {answer}
            the maker of {s} {is} {answer}
        """),
        value=_fact("maker"),
    ),
    "neighbour": TopicKind(
        ask=Phrases("""
            What [is|stands] next to {s}
            What lies beyond {s}
        """),
        reply=Phrases("""
            {Answer}
            It is {answer}
            First you come to {answer}
        """),
        state=Phrases("""
            next to {s} {is} {answer}
            {s} {is} next to {answer}
        """),
        value=_fact("neighbour"),
    ),
    "builder": TopicKind(
        ask=Phrases("""
            Who built {s}
            Whose work is {s}
            Who is {s} the work of
        """),
        reply=Phrases("""
            {Answer} built it
            It was {answer}
            {Answer} did[|, in the old days]
        """),
        state=Phrases("""
            {s} {is} the work of {answer}
            the builder of {s} {is} {answer}
        """),
        value=_fact("builder"),
    ),
    "meaning": TopicKind(
        ask=Phrases("""
            What is {s.a}
            What do people here mean by {s.a}
            [Tell me,|Please,] what is {s.a}
        """),
        reply=Phrases("""
            It is {answer}
            {Answer}[|, as every child knows]
            {S.a}? That is {answer}
        """),
        state=Phrases("{s.a} {is} {answer}"),
        value=_fact("meaning"),
    ),
    "feast": TopicKind(
        ask=Phrases("""
            What is the [great|yearly] feast of {s} called
            Which feast do they keep in {s}
        """),
        reply=Phrases("""
            It is called {answer}
            They call it {answer}
            {Answer}[|, and nobody works that day]
        """),
        state=Phrases("the feast of {s} {is} called {answer}"),
        value=_fact("feast"),
    ),
    "password": TopicKind(
        ask=Phrases("""
            What is the password for the gate of {s}
            Which words open the gate of {s}
        """),
        reply=Phrases("""
            The words are {answer}
            You must say {answer}
            {Answer}[|, but do not shout it]
        """),
        state=Phrases("the password for the gate of {s} {is} {answer}"),
        value=_fact("password"),
    ),
    "river": TopicKind(
        ask=Phrases("""
            What is the river of {s} called
            Which river flows through {s}
        """),
        reply=Phrases("""
            It is called {answer}
            {Answer}[|, and it is deep]
        """),
        state=Phrases("the river of {s} {is} called {answer}"),
        value=_fact("river"),
    ),
}  # fmt: skip
