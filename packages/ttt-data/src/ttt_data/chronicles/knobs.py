"""What a reader of the corpus may turn."""

from dataclasses import dataclass

from ttt_data.chronicles.vocabulary import JOBS, PLACES, THINGS


@dataclass(frozen=True, kw_only=True)
class ChronicleKnobs:
    """How long and how hard the documents are. Pairs are ranges, both ends included.

    Attributes:
        words: length of a document; drawn so that each doubling is equally likely. A document
            finishes its last paragraph and says its ending, so it may run some way over.
        chapter_words: a document longer than this is cut into chapters of about this length.
        characters: people the story may bring in; a short one may end before meeting all.
        things: objects, likewise.
        places: places, at least two.
        recall: how many sentences ago a question's answer was last told; None for no upper bound.
        question_share: share of the events that are questions; 0 for a corpus without any.
    """

    words: tuple[int, int] = (150, 3500)
    chapter_words: int = 600
    characters: tuple[int, int] = (3, 7)
    things: tuple[int, int] = (3, 8)
    places: tuple[int, int] = (3, 8)
    recall: tuple[int, int | None] = (5, None)
    question_share: float = 0.2

    def __post_init__(self) -> None:
        """Refuse ranges no story can be told in."""
        num_nouns = sum(len(nouns) for nouns in THINGS.values())
        for field, (low, high), least, most in (
            ("words", self.words, 1, 1_000_000),
            ("characters", self.characters, 1, len(JOBS)),
            ("things", self.things, 0, num_nouns),
            ("places", self.places, 2, len(PLACES)),
        ):
            if not least <= low <= high <= most:
                raise ValueError(
                    f"{field} must be a range within {least} to {most}, got {(low, high)}"
                )
        nearest, farthest = self.recall
        if nearest < 1 or (farthest is not None and farthest < nearest):
            raise ValueError(f"recall must be a range from 1 up, got {self.recall}")
        if not 0 <= self.question_share <= 1:
            raise ValueError(f"question_share must be from 0 to 1, got {self.question_share}")
        if self.chapter_words < 1:
            raise ValueError(f"chapter_words must be positive, got {self.chapter_words}")


DEFAULT = ChronicleKnobs()
