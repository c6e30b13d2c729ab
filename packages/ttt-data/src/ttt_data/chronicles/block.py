"""Reads word lists and tables that are written as plain text inside the code.

The text of the corpus is most of this package. Written as blocks it can be read, and edited,
without quotes and commas in the way.
"""


def lines(block: str) -> tuple[str, ...]:
    """Split a block into its lines; a line indented more than the first continues the one above."""
    entries: list[str] = []
    indent: int | None = None
    for line in block.splitlines():
        text = line.strip()
        if not text:
            continue
        depth = len(line) - len(line.lstrip())
        indent = depth if indent is None else indent
        if depth > indent:
            entries[-1] += f" {text}"
        else:
            entries.append(text)
    return tuple(entries)


def words(block: str) -> tuple[str, ...]:
    """Split a block at white space."""
    return tuple(block.split())


def items(block: str) -> tuple[str, ...]:
    """Split a block at commas."""
    return tuple(item.strip() for item in " ".join(block.split()).split(","))


def table(block: str) -> dict[str, tuple[str, ...]]:
    """Read lines of the form "key: one; two; three"."""
    rows = (line.partition(": ") for line in lines(block))
    return {key: tuple(entry.strip() for entry in row.split(";")) for key, _, row in rows}
