"""Tells formats apart by their first bytes."""

import struct
from pathlib import Path
from typing import Literal, get_args

from ttt_config.errors import DataError
from ttt_data.store.header import LLMC_VERSIONS
from ttt_data.store.index import INDEX_MAGIC
from ttt_data.store.manifest import MANIFEST_NAME

Format = Literal["store", "ptok", "llmc", "nanogpt", "megatron", "npy"]

PTOK_MAGIC = b"PTOK"
NPY_MAGIC = b"\x93NUMPY"


def detect_format(path: str | Path) -> Format:
    """Say what kind of tokens a path holds.

    A `.bin` beside a Megatron `.idx` is `megatron`, for the documents, even if it is an llm.c file
    too; a `.bin` that bears no mark is `nanogpt`, which has none.

    Args:
        path: a folder, a file, or the common part of the names of a `.bin` and an `.idx`.

    Raises:
        DataError: there is no such file, or it is none of these.
    """
    path = Path(path)
    if (path / MANIFEST_NAME).is_file():
        return "store"
    if not path.is_file():
        if has_index(path):
            return "megatron"
        raise DataError(f"no tokens at `{path}`: no such file, and no folder with {MANIFEST_NAME}")
    head = first_bytes(path)
    if head.startswith(PTOK_MAGIC):
        return "ptok"
    if head.startswith(NPY_MAGIC):
        return "npy"
    if head.startswith(INDEX_MAGIC) or has_index(path):
        return "megatron"
    if len(head) >= 4 and struct.unpack_from("<i", head)[0] in _LLMC_MAGICS:
        return "llmc"
    if path.suffix == ".bin":
        return "nanogpt"
    raise DataError(
        f"`{path}` is no token file this program knows: expected one of {', '.join(_FORMATS)}"
    )


def megatron_pair(path: Path) -> tuple[Path, Path]:
    """Return the `.bin` and the `.idx` named by either of them or by their common part."""
    stem = path.with_suffix("") if path.suffix in {".bin", ".idx"} else path
    return stem.with_name(f"{stem.name}.bin"), stem.with_name(f"{stem.name}.idx")


def has_index(path: Path) -> bool:
    """Say whether a `.bin` or its common part has a Megatron index."""
    tokens, index = megatron_pair(path)
    return tokens.is_file() and index.is_file() and first_bytes(index).startswith(INDEX_MAGIC)


_FORMATS = get_args(Format)
_LLMC_MAGICS = {magic for magic, _ in LLMC_VERSIONS.values()}


def first_bytes(path: Path) -> bytes:
    """Return the first 16 bytes of a file, or what there is.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError as error:
        raise DataError(f"cannot read `{path}`: {error.strerror}") from error
