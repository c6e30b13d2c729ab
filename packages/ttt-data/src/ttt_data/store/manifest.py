"""The list of everything in a token store.

Its text has one valid form, byte for byte, and ends with a hash of the rest, so damage to the
manifest itself is named like any other.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from ttt_config.errors import DataError, TokenStoreCorruptError
from ttt_data.store.digest import Count, FileRecord, Sha256
from ttt_data.store.header import HEADER_BYTES, ShardHeader
from ttt_data.store.index import index_bytes

MANIFEST_NAME = "manifest.json"
TOKENIZER_NAME = "tokenizer.json"
FORMAT = "ttt-token-store"
VERSION = 1

MAX_MANIFEST_BYTES = 64 << 20  # about eight bytes for each MiB of tokens: 8 TiB

MAX_INT32 = (1 << 31) - 1
TokenId = Annotated[int, Meta(ge=0, lt=MAX_INT32)]
NumTokens = Annotated[int, Meta(ge=0, le=MAX_INT32)]  # llm.c and Megatron count in int32
VocabSize = Annotated[int, Meta(ge=1, le=MAX_INT32)]
SplitName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$", max_length=64)]
Plain = str | int | float | bool | None


class Provenance(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the tokens came from, for the reader of the manifest; nothing acts on it."""

    sources: list[dict[str, Plain]] = []
    """For each source what identifies it: a path and a size, or a repository and a revision."""
    options: dict[str, Plain] = {}
    """How the text was prepared."""


class Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is settled before the first token."""

    format: Literal["ttt-token-store"] = FORMAT
    version: Literal[1] = VERSION
    vocab_size: VocabSize
    token_bytes: Literal[2, 4]
    eos_id: TokenId
    bos_id: TokenId | None
    pad_id: TokenId | None
    tokenizer: FileRecord
    shard_tokens: Annotated[int, Meta(ge=1, le=MAX_INT32)]
    provenance: Provenance


class Shard(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `.bin` and its `.idx`."""

    num_tokens: NumTokens
    num_documents: Annotated[int, Meta(ge=1, lt=1 << 62)]
    text_bytes: Count
    tokens_crc32: Annotated[str, Meta(pattern="^[0-9a-f]{8}$")]
    """Of the tokens alone, as the header of the `.bin` has it; in hex."""
    bin: FileRecord
    idx: FileRecord


class Split(Struct, frozen=True, forbid_unknown_fields=True):
    """The shards of one split, in order."""

    shards: Annotated[list[Shard], Meta(min_length=1)]

    @property
    def num_tokens(self) -> int:
        """Tokens of all shards."""
        return sum(shard.num_tokens for shard in self.shards)

    @property
    def num_documents(self) -> int:
        """Documents of all shards."""
        return sum(shard.num_documents for shard in self.shards)

    @property
    def text_bytes(self) -> int:
        """Bytes of text, in UTF-8, that became the tokens."""
        return sum(shard.text_bytes for shard in self.shards)


class Manifest(Plan, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A finished store."""

    splits: dict[SplitName, Split]
    text_bytes: Count
    fingerprint: Sha256
    """Of the manifest with this field empty."""


def make_manifest(plan: Plan, splits: dict[str, list[Shard]]) -> Manifest:
    """Return the manifest of a store that holds these shards."""
    content = {name: Split(shards) for name, shards in sorted(splits.items())}
    manifest = Manifest(
        **{name: getattr(plan, name) for name in Plan.__struct_fields__},
        splits=content,
        text_bytes=sum(split.text_bytes for split in content.values()),
        fingerprint="",
    )
    return msgspec.structs.replace(manifest, fingerprint=_fingerprint(manifest))


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the one text a manifest has."""
    encoded = msgspec.json.encode(manifest, order="deterministic")
    return msgspec.json.format(encoded, indent=2) + b"\n"


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a store without looking at the other files.

    Raises:
        DataError: the folder is no finished store, or one of a later version.
        TokenStoreCorruptError: the manifest is damaged or names files it may not name.
    """
    path = folder / MANIFEST_NAME
    content = _read(path)
    try:
        head = msgspec.json.decode(content, type=_Head)
        if head.format == FORMAT and head.version != VERSION:
            raise DataError(
                f"`{path}` has unsupported version {head.version}, expected {VERSION}; "
                "was it written by a later ttt?"
            )
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TokenStoreCorruptError(f"`{path}` is not the manifest of a store: {error}") from error
    _check_files(path, manifest)
    if encode_manifest(manifest) != content:
        raise TokenStoreCorruptError(f"`{path}` was changed: it is not written as ttt writes it")
    expected = _fingerprint(manifest)
    if manifest.fingerprint != expected:
        raise TokenStoreCorruptError(
            f"`{path}` was changed: its content has fingerprint {expected[:12]}, "
            f"expected {manifest.fingerprint[:12]}"
        )
    return manifest


def shard_stem(split: str, index: int) -> str:
    """Return the name of a shard without `.bin` or `.idx`."""
    return f"{split}-{index:05d}"


def shard_header(plan: Plan, shard: Shard) -> ShardHeader:
    """Return the header the `.bin` of a shard begins with."""
    return plan_header(
        plan,
        num_tokens=shard.num_tokens,
        num_documents=shard.num_documents,
        tokens_crc32=int(shard.tokens_crc32, 16),
    )


def plan_header(
    plan: Plan, *, num_tokens: int, num_documents: int, tokens_crc32: int
) -> ShardHeader:
    """Return the header of a shard with this content."""
    return ShardHeader(
        token_bytes=plan.token_bytes,
        num_tokens=num_tokens,
        num_documents=num_documents,
        vocab_size=plan.vocab_size,
        eos_id=plan.eos_id,
        bos_id=plan.bos_id,
        pad_id=plan.pad_id,
        tokenizer_sha256=plan.tokenizer.sha256,
        tokens_crc32=tokens_crc32,
    )


class _Head(Struct):
    format: str
    version: int


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        raise DataError(
            f"`{path.parent}` is not a finished token store: it has no {MANIFEST_NAME}; "
            "if its preparation was stopped, run the same again and it goes on"
        ) from None
    except OSError as error:
        raise DataError(f"cannot read `{path}`: {error.strerror}") from error
    if len(content) > MAX_MANIFEST_BYTES:
        raise TokenStoreCorruptError(
            f"`{path}` is too large: expected at most {MAX_MANIFEST_BYTES:,} bytes"
        )
    return content


def _check_files(path: Path, manifest: Manifest) -> None:
    """Every file has the name and size its place and content give it: none is elsewhere."""
    token_bytes = manifest.token_bytes
    tokenizer = manifest.tokenizer
    expected = [(tokenizer, TOKENIZER_NAME, tokenizer.bytes)]
    for name, split in manifest.splits.items():
        for index, shard in enumerate(split.shards):
            stem = shard_stem(name, index)
            bin_bytes = HEADER_BYTES + shard.num_tokens * token_bytes
            expected.append((shard.bin, f"{stem}.bin", bin_bytes))
            expected.append((shard.idx, f"{stem}.idx", index_bytes(shard.num_documents)))
    for record, wanted, size in expected:
        if record.name != wanted:
            raise TokenStoreCorruptError(
                f"`{path}` names the file `{record.name}` where it must name `{wanted}`"
            )
        if record.bytes != size:
            raise TokenStoreCorruptError(
                f"`{path}` gives `{wanted}` {record.bytes} bytes where its content needs {size}"
            )


def _fingerprint(manifest: Manifest) -> str:
    unsigned = msgspec.structs.replace(manifest, fingerprint="")
    return hashlib.sha256(encode_manifest(unsigned)).hexdigest()
