"""Lists of words and turns of phrase for the sentences: `<bird>` in a template draws from `bird`.

Entries are templates themselves; those that use {a.his} speak of the acting person.
"""

from ttt_data.chronicles.block import lines, words
from ttt_data.chronicles.grammar import plural_of
from ttt_data.chronicles.vocabulary import BEASTS, BIRDS, COLOURS, FOODS, QUALITIES, TRAITS

LEXICON: dict[str, tuple[str, ...]] = {
    "colour": COLOURS,
    "quality": QUALITIES,
    "trait": TRAITS,
    "food": FOODS,
    "bird": BIRDS,
    "beast": BEASTS,
    "birds": tuple(map(plural_of, BIRDS)),
    "beasts": tuple(map(plural_of, BEASTS)),
    "few": words("two three four five six seven"),
    "kin": words("""
        mother father grandmother grandfather aunt uncle godmother cousin great-aunt stepfather
    """),
    # Manner.
    "slowly": words("""
        slowly quickly quietly wearily eagerly cautiously cheerfully stiffly lightly steadily
        briskly heavily hastily calmly silently dreamily doggedly proudly
    """),
    "gently": words("""
        gently softly sharply drily kindly sadly warmly gravely shyly loudly politely quietly
        hoarsely brightly sternly wearily thoughtfully firmly
    """),
    "walked": words("""
        walked went hurried wandered strolled trudged tramped marched ran strode ambled hastened
        plodded limped climbed
    """),
    "left": lines("""
        left
        went away from
        turned {a.his} back on
        took leave of
        slipped out of
        quit
    """),
    "reached": lines("""
        reached
        came to
        arrived at
        got to
        stopped at
        turned up at
    """),
    # Speech. "said" needs no listener; "told" takes one.
    "said": words("""
        said murmured remarked declared observed announced muttered whispered called exclaimed
        cried
    """),
    "asked": words("asked inquired demanded asked asked"),
    "replied": words("answered replied said returned responded explained said"),
    "hesitated": lines("""
        thought for a moment
        scratched {b.his} chin
        looked up
        shrugged
        put down {b.his} cup
        did not need to think
        nodded slowly
        hesitated
        cleared {b.his} throat
        counted on {b.his} fingers
        smiled
        closed one eye
        wiped {b.his} hands
        looked out at the road
        was silent for a while
        pulled at {b.his} sleeve
        seemed surprised
        bit {b.his} lip
        leaned closer
        folded {b.his} arms
    """),
    # In front of a sentence.
    "lead": lines("""
        then
        then
        soon
        before long
        after a while,
        a little later
        by and by
        at last
        in the end
        without thinking,
        without another word
        all at once
        as usual,
        for once,
        presently
        a moment later
        half an hour later
        after some thought
        to pass the time,
        when nobody was looking,
        to everyone's surprise
        not without regret,
        with a deep sigh
        with great care
        humming,
        just then
        meanwhile
        in no great hurry
        since there was time,
        as quietly as possible,
    """),
    # After a sentence, before the full stop; many are empty.
    "doing": lines("""
        [humming|whistling] [an old tune|a slow song|a merry march|half a hymn|something about a
          <bird>]
        thinking of <food>
        dreaming of <food>
        counting [the steps|the crows|the windows] under {a.his} breath
        yawning
        smiling a little
        careful not to [wake anyone|slip|be seen|tear {a.his} sleeve]
        with [both hands in {a.his} pockets|one hand in the air|one finger on {a.his} nose]
        with {a.his} [collar turned up|hat on crooked|sleeves rolled up|boots unlaced|hair full of
          straw]
        talking to {a.himself}
        rubbing {a.his} [eyes|hands|neck|knees]
        glad of the [quiet|company|shade|exercise]
        in spite of [the hour|a cold|the mud|{a.his} bad knee|everything]
        just as {a.his} <kin> had taught {a.him}
        feeling [older|lighter|foolish|sure of it|rather hungry|as rich as a king]
        [half|almost] [asleep|expecting a trick|afraid to breathe]
        looking [neither left nor right|over {a.his} shoulder|at nobody|well pleased]
    """),
    "without": lines("""
        without [a word|haste|a sound|complaint|a second thought|any fuss|looking back|a light]
        for [no reason|reasons of {a.his} own|the sake of peace|luck]
        as [carefully|proudly|calmly|stiffly] as a [cat|priest|judge|bride|heron]
        like [someone in a dream|a thief|a king|a child on a holiday|an old soldier]
        once more
        with [great|some|little] [care|ceremony|pleasure|effort|relief]
    """),
    "nearby": lines("""
        [somewhere|not far off] [a dog barked|a donkey complained|a child called|a door creaked|a
          <bird> called|a hammer rang]
        [a|one] <bird> [flew up|watched from a post|sang in the hedge|hopped closer]
        a bell [rang|tolled] [in {town}|twice|far away|across the water]
        a smell of [<food>|smoke|wet wool|tar|new bread|lilac|leather|soap] came [from
          somewhere|over the wall|through the door]
        a cart [rumbled|creaked] past
        nobody [took any notice|saw it|asked why|laughed]
        [dust|steam|smoke|a feather] [hung|turned] in the air
        [two|three] children [stopped to stare|ran by with a hoop|fought over a stick]
        the <beast> in the [hedge|ditch|long grass] kept still
    """),
    "feeling": lines("""
        [glad|sorry|surprised|relieved|ashamed|happy] to [be there|have company|be alone|be of
          use|be out of the wind]
        [tired|cold|hungry|warm|sleepy|cheerful] [but content|and a little cross|to the bone|as
          always]
        more [curious|frightened|hopeful|patient|annoyed] than before
        no longer [angry|afraid|in a hurry|sure of anything]
    """),
    # After a sentence, before the full stop; often nothing.
    "tail": (
        *("",) * 7,
        *(", <doing>",) * 3,
        *(" <without>",) * 2,
        *(", and <nearby>",) * 2,
        ", <feeling>",
        ", {a.trait} [as ever|as {a.he} was|to the last]",
        ", and {sky}",
        " while {sky}",
    ),
}
