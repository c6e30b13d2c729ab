"""Questions and their true answers.

The answer is always something the reader has been told before, at a distance the knobs allow; what
a character says, they have reason to know.
"""

from ttt_data.chronicles.entities import Person, Thing
from ttt_data.chronicles.events.registry import event
from ttt_data.chronicles.scene import TOPIC_TRIES, KnownTopic, Scene
from ttt_data.chronicles.spans import answer
from ttt_data.chronicles.templates import Phrases
from ttt_data.chronicles.topics import TOPICS, question, reply, value_of
from ttt_data.chronicles.world import Topic

EXCHANGE = Phrases("""
    "{ask}?" <asked> {a}. "{reply}," <replied> {b}.
    "{ask}?" {a} [wanted to know|asked {b}|asked <gently>]. "{reply}," {b.he} <replied>.
    "{ask}?" <asked> {a}. {B} <hesitated>. "{reply}," {b.he} <replied>.
    {Who} turned to {b}. "{ask}?" {B} <hesitated>. "{reply}."
    "{B}, [tell me something|one question|help me]," <said> {a}. "{ask}?" "{reply}," <replied>
      {b}[|, who <hesitated>].
    "{ask}?" <asked> {a} <gently>. // "{reply}," <replied> {b}.
    {Who} [had to ask|could not keep from asking|asked outright]: "{ask}?" // {B} <hesitated>.
      "{reply}."
    "{ask}?" <asked> {a}. "{reply}," came the answer[| from {b}].
    While {sky}, {a} asked {b} [a question|something]: "{ask}?" "{reply}," <replied> {b} <gently>.
""")
BEING_ASKED = Phrases("""
    [A traveller|A pedlar|A child|A soldier|An old woman|The postman] stopped {a}. "{ask}?" {A}
      <hesitated>. "{reply}."
    "{ask}?" asked [a stranger|a girl with a basket|a man on a mule|somebody from a window].
      "{reply}," <replied> {a}.
    "{ask}?" [a boy|a voice|an officer|a nun] [wanted to know|asked {a}]. {A} <hesitated>.
      "{reply}," {a.he} <replied>.
    {Who} was asked by [a clerk|two sisters|a carter|the watchman], "{ask}?" // "{reply}," <said>
      {a} <gently>.
    "{ask}?" they asked {a} [that day|at the gate|more than once]. "{reply}," {a.he} always
      [said|answered].
""")
NARRATED = Phrases("""
    {ask}? {reply}.
    [The reader may ask|Some will ask|One might ask here]: {ask}? {reply}.
    {ask}? [That is soon told|It has been said already|Let nobody forget it]. {reply}.
    Here my <kin>, who told me this, used to stop and ask: "{ask}?" "{reply}," we
      [said|cried|answered].
    "{ask}?" [a child|somebody] always asks at this point. "{reply}," [is the answer|one has to
      say].
""")
UNANSWERED = Phrases("""
    "{ask}?" <asked> {a}. {B} <hesitated>. "[I do not know|I have no idea|Nobody tells me
      anything|Ask somebody else|I wish I knew]," {b.he} <replied>.
    "{ask}?" <asked> {a}, but {b} [could not say|had not heard|only shook {b.his} head].
""")


def _ask(scene: Scene, phrases: Phrases, speaker: Person | None, asker: Person | None) -> bool:
    """Ask something the speaker can answer and the asker would ask.

    None as the speaker is the narrator; as the asker, somebody outside the story.
    """
    known = scene.draw_topic(lambda topic, value: _makes_sense(scene, topic, value, speaker, asker))
    if known is None:
        return False
    (topic, value), random = known, scene.dice.random
    kind, asked, replied = TOPICS[topic.kind], question(random, topic), None
    if speaker is topic.subject and kind.ask_you and kind.reply_me:
        asked = kind.ask_you.text(random, s=topic.subject)
        replied = kind.reply_me.text(random, s=topic.subject, answer=answer(value))
    elif isinstance(topic.subject, Thing) and topic.subject.holder is speaker and kind.reply_me:
        known = KnownTopic(topic, "I")
        replied = kind.reply_me.text(random, answer=answer("I"))
    replied = replied or reply(random, topic, value)
    scene.answer(known, speaker)
    scene.tell(phrases, b=speaker or scene.actor, ask=asked, reply=replied)
    return True


def _makes_sense(
    scene: Scene, topic: Topic, value: str, speaker: Person | None, asker: Person | None
) -> bool:
    """Nobody asks those who cannot know or for what all can see, or speaks of himself by name."""
    subject = topic.subject
    if speaker and not scene.knows(speaker, topic):
        return False
    if asker and (subject is asker or value == str(asker)):
        return False
    if subject is speaker:
        return TOPICS[topic.kind].ask_you is not None
    if topic.kind in ("where", "lies") and value == scene.here.forms["at"]:
        return False
    return speaker is None or value != str(speaker) or topic.kind == "holder"


@event(weight=4, question=True)
def ask(scene: Scene) -> bool:
    """Ask someone who is here, and get an answer."""
    speaker = scene.companion()
    return speaker is not None and _ask(scene, EXCHANGE, speaker, scene.actor)


@event(weight=1, question=True)
def be_asked(scene: Scene) -> bool:
    """Be asked by somebody who has no name, and answer."""
    return _ask(scene, BEING_ASKED, scene.actor, None)


@event(weight=0.6, question=True)
def wonder(scene: Scene) -> bool:
    """Let the narrator ask, and answer."""
    return _ask(scene, NARRATED, None, None)


@event(weight=0.5)
def ask_in_vain(scene: Scene) -> bool:
    """Ask someone who cannot know."""
    speaker = scene.companion()
    if speaker is None:
        return False
    told = scene.world.told
    for kind in scene.dice.sample(tuple(told), TOPIC_TRIES):
        topic = Topic(kind, scene.dice.pick(tuple(told[kind])))
        value = value_of(scene.world, topic)
        if value and not scene.knows(speaker, topic) and topic.subject is not scene.actor:
            asked = question(scene.dice.random, topic)
            scene.tell(UNANSWERED, b=speaker, ask=asked)
            return True
    return False
