"""The 1,024 bytes in front of the tokens of a shard (byte table: `ttt_data.store`)."""

import struct
from typing import Literal

import numpy as np
from msgspec import Struct

HEADER_BYTES = 1024

LLMC_VERSIONS = {2: (20240520, 1), 4: (20240801, 7)}
"""Magic number and version of an llm.c file, by bytes per token."""

LLMC_HEADER = struct.Struct("<3i")

_EXTENSION = struct.Struct("<4sIIIQQqqq32sI")
_EXTENSION_START = 64
_EXTENSION_MAGIC = b"TTTD"
_EXTENSION_VERSION = 1
_NO_TOKEN = -1


def token_bytes(vocab_size: int) -> Literal[2, 4]:
    """Return how many bytes hold every id: 2 or 4."""
    return 2 if vocab_size <= 1 << 16 else 4


def token_dtype(vocab_size: int) -> type[np.uint16] | type[np.uint32]:
    """Return the smallest of uint16 and uint32 that holds every id."""
    return np.uint16 if token_bytes(vocab_size) == 2 else np.uint32


class ShardHeader(Struct, frozen=True, kw_only=True):
    """What a shard says of itself, so that one without its manifest is still of use."""

    token_bytes: int
    num_tokens: int
    num_documents: int
    vocab_size: int
    eos_id: int
    bos_id: int | None
    pad_id: int | None
    tokenizer_sha256: str
    tokens_crc32: int

    def encode(self) -> bytes:
        """Return the `HEADER_BYTES` bytes."""
        extension = _EXTENSION.pack(
            _EXTENSION_MAGIC,
            _EXTENSION_VERSION,
            self.token_bytes,
            self.vocab_size,
            self.num_tokens,
            self.num_documents,
            self.eos_id,
            _NO_TOKEN if self.bos_id is None else self.bos_id,
            _NO_TOKEN if self.pad_id is None else self.pad_id,
            bytes.fromhex(self.tokenizer_sha256),
            self.tokens_crc32,
        )
        head = llmc_header(self.token_bytes, self.num_tokens)[:_EXTENSION_START] + extension
        return head.ljust(HEADER_BYTES, b"\0")


def llmc_header(token_bytes: int, num_tokens: int) -> bytes:
    """Return the header of a plain llm.c file."""
    magic, version = LLMC_VERSIONS[token_bytes]
    return LLMC_HEADER.pack(magic, version, num_tokens).ljust(HEADER_BYTES, b"\0")
