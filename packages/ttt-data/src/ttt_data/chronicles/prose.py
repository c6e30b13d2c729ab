"""Collects sentences into paragraphs and chapters."""


class Prose:
    """The text of a story in the making, marks included."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._separator = ""
        self.words = 0

    def add(self, sentence: str) -> None:
        """Append a sentence to the current paragraph."""
        self._pieces += (self._separator, sentence)
        self._separator = " "
        self.words += sentence.count(" ") + 1

    def new_paragraph(self) -> None:
        """Let the next sentence start a paragraph; twice in a row is the same as once."""
        if self._pieces:
            self._separator = "\n\n"

    def heading(self, text: str) -> None:
        """Append a line of its own."""
        self.new_paragraph()
        self.add(text)
        self.new_paragraph()

    def text(self) -> str:
        """Return everything so far, ending with a newline."""
        return "".join(self._pieces) + "\n"
