"""Writes one shard: a `.bin` and its `.idx`."""

import zlib
from array import array
from pathlib import Path

import numpy as np

from ttt_data.store.digest import record_file
from ttt_data.store.durable import AtomicFile
from ttt_data.store.header import HEADER_BYTES
from ttt_data.store.index import encode_index
from ttt_data.store.manifest import Plan, Shard, plan_header, shard_stem


class ShardWriter:
    """A shard that takes in documents until it is finished.

    Holds four bytes of memory for each document, its length; tokens go to the file.
    """

    def __init__(self, folder: Path, split: str, index: int, plan: Plan) -> None:
        self.num_tokens = 0
        self._plan = plan
        self._lengths = array("i")
        self._text_bytes = 0
        self._crc32 = 0
        self._idx_path = folder / f"{shard_stem(split, index)}.idx"
        self._bin = AtomicFile(self._idx_path.with_suffix(".bin"))
        self._bin.write(bytes(HEADER_BYTES))

    @property
    def num_documents(self) -> int:
        """Documents so far."""
        return len(self._lengths)

    def add(self, tokens: np.ndarray, text_bytes: int) -> None:
        """Append a document, (tokens,), already of the type of the store."""
        payload = tokens.tobytes()
        self._bin.write(payload)
        self._crc32 = zlib.crc32(payload, self._crc32)
        self._lengths.append(len(tokens))
        self.num_tokens += len(tokens)
        self._text_bytes += text_bytes

    def finish(self) -> Shard:
        """Put both files in place and return what they hold."""
        header = plan_header(
            self._plan,
            num_tokens=self.num_tokens,
            num_documents=self.num_documents,
            tokens_crc32=self._crc32,
        )
        lengths = np.frombuffer(self._lengths, dtype=np.int32)
        with AtomicFile(self._idx_path) as idx:
            for chunk in encode_index(
                lengths, token_bytes=self._plan.token_bytes, first_byte=HEADER_BYTES
            ):
                idx.write(chunk)
            self._bin.commit(header.encode())
        return Shard(
            num_tokens=self.num_tokens,
            num_documents=self.num_documents,
            text_bytes=self._text_bytes,
            tokens_crc32=f"{self._crc32:08x}",
            bin=record_file(self._bin.path),
            idx=record_file(self._idx_path),
        )

    def discard(self) -> None:
        """Remove what was written."""
        self._bin.discard()
