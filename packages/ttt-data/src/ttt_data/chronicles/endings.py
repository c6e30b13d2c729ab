"""Last sentences: what became of everyone, a few questions for the reader, or a plain stop."""

from collections.abc import Callable
from typing import TypeAlias

from ttt_data.chronicles.scene import Scene
from ttt_data.chronicles.spans import answer, capital
from ttt_data.chronicles.templates import Phrases
from ttt_data.chronicles.topics import PAST, question

Ending: TypeAlias = Callable[[Scene], None]

RECAP_HEADS = Phrases("""
    [So|Thus] the [year|day|week|story] [ended|came to its end], and this is how things stood.
    What remains to be told is [soon told|this|little].
    At the end of it all, [things stood as follows|this was how matters stood].
    [Here|At this point] the chronicle of {town} breaks off.
""")
FIRST_RECAP = Phrases("{Fact}.")
RECAPS = Phrases("""
    {Fact}.
    {Fact}.
    As for the rest, {fact}.
    And {fact}.
    At the end {fact}.
""")
CLOSINGS = Phrases("""
    And that was all.
    So the story ends[| here| for now| as it began].
    They still tell it in {town}[| when {sign}| on long evenings| and nobody believes it].
    If you [doubt it|do not believe it], [ask in {town}|go and see|pay a coin and be quiet].
    The rest [is silence|is for another day|{a} kept to {a.himself}|would fill another book].
    {Hero} [lived|stayed] {here.at} [for many years|until the spring|to the end of {a.his} days],
      and {sky}.
    And {sky}.
    [Good night|Now sleep|Mind the spoons].
""")
QUIZ_HEADS = Phrases("""
    [Questions for the reader|Who has listened well|What do you remember|For those who were
      awake]:
    [And now let us see|Let us see] what [you remember|has been understood].
""")


def recap(scene: Scene) -> None:
    """Say how things stand."""
    known = scene.draw_topic()
    if known:
        scene.prose.add(scene.phrase(RECAP_HEADS))
        scene.tell(FIRST_RECAP, fact=scene.recall(known, PAST))
    for _ in range(scene.dice.between(1, 5)):
        if known := scene.draw_topic():
            scene.tell(RECAPS, fact=scene.recall(known, PAST))
    scene.new_paragraph()
    scene.tell(CLOSINGS)


def quiz(scene: Scene) -> None:
    """Ask the reader, answers given; without questions if the knobs want none."""
    known = scene.draw_topic() if scene.knobs.question_share else None
    if known is None:
        recap(scene)
        return
    scene.prose.add(scene.phrase(QUIZ_HEADS))
    numbered, count = scene.dice.chance(0.5), scene.dice.between(2, 6)
    for number in range(1, count + 1):
        if known:
            scene.new_paragraph()
            scene.answer(known, speaker=None)
            label = f"{number}. " if numbered else ""
            asked = question(scene.dice.random, known.topic)
            scene.write(f"{label}{asked}? {capital(answer(known.value))}.")
        known = scene.draw_topic()


def stop(scene: Scene) -> None:
    """Say a last sentence."""
    scene.tell(CLOSINGS)


ENDINGS: tuple[Ending, ...] = (recap, recap, quiz, stop)
