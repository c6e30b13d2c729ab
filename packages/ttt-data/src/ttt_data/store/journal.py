"""The memory of an unfinished store: what it will be, and which shards are done.

One JSON line for the plan, then one for each finished shard, each on the disk before the writer
goes on. A kill can only cut the last line short; such a line is dropped and its shard done again.
"""

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from ttt_config.errors import DataError
from ttt_data.store.durable import AtomicFile, write_error
from ttt_data.store.manifest import Plan, Shard, SplitName, shard_stem

JOURNAL_NAME = "journal.jsonl"


class _Line(Struct, frozen=True, forbid_unknown_fields=True):
    split: SplitName
    shard: Shard


class Journal:
    """The plan and the finished shards of a folder.

    Attributes:
        plan: what the store is made with.
        shards: the finished shards of each split, in order.
    """

    def __init__(self, path: Path, plan: Plan, shards: dict[str, list[Shard]]) -> None:
        self.plan = plan
        self.shards = shards
        self._path = path

    @classmethod
    def create(cls, folder: Path, plan: Plan) -> "Journal":
        """Begin a journal; it takes the place of one that is there."""
        path = folder / JOURNAL_NAME
        with AtomicFile(path) as file:
            file.write(msgspec.json.encode(plan, order="deterministic") + b"\n")
        return cls(path, plan, {})

    @classmethod
    def read(cls, folder: Path) -> "Journal":
        """Read the journal of a folder.

        Raises:
            DataError: the journal is damaged.
        """
        path = folder / JOURNAL_NAME
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            first, *others = whole.splitlines()
            journal = cls(path, msgspec.json.decode(first, type=Plan), {})
            for number, text in enumerate(others, start=2):
                journal._enter(msgspec.json.decode(text, type=_Line), number)
        except (msgspec.DecodeError, ValueError) as error:
            raise DataError(
                f"`{path}` is damaged: {error}; start again with overwrite=True"
            ) from error
        if len(whole) < len(content):
            os.truncate(path, len(whole))
        return journal

    def append(self, split: str, shard: Shard) -> None:
        """Record a finished shard, durably."""
        line = msgspec.json.encode(_Line(split, shard)) + b"\n"
        try:
            with self._path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(self._path, error, len(line)) from error
        self.shards.setdefault(split, []).append(shard)

    def remove(self) -> None:
        """Forget everything; the manifest has taken over."""
        self._path.unlink()

    def _enter(self, line: _Line, number: int) -> None:
        shards = self.shards.setdefault(line.split, [])
        if line.shard.bin.name != f"{shard_stem(line.split, len(shards))}.bin":
            raise ValueError(f"line {number} is out of order")
        shards.append(line.shard)
