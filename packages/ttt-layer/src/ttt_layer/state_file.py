"""The file of a state: safetensors whose every byte is covered by one digest.

A safetensors file with a flipped bit loads without a word. The metadata therefore hold the SHA-256
of the whole file, taken with 64 zeros in the digest's own place: header, names and numbers alike.
Equal states give equal files: the metadata are one entry, since the library writes several in any
order.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ttt_config.errors import CheckpointCorruptError, CheckpointError, CheckpointIncompleteError

_FORMAT = "ttt-state-2"
_FAMILY, _, _VERSION = _FORMAT.rpartition("-")
_NO_DIGEST = "0" * 64
_ENTRY = "ttt_state"
"""The one entry of the metadata: JSON."""
_LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, little-endian."""


class _Entry(msgspec.Struct):
    """What the header says of one tensor, as far as it is read here."""

    data_offsets: tuple[int, int]


def write_state_file(path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a state file, whole or not at all.

    Args:
        path: an older file of that name is replaced by a rename, or left as it was.
        tensors: by name, any device.
        metadata: text by name; `format` and `digest` are added.

    Raises:
        CheckpointError: the file cannot be written.
    """
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    entry = {**metadata, "format": _FORMAT, "digest": _NO_DIGEST}
    unsigned = save(on_cpu, {_ENTRY: json.dumps(entry, sort_keys=True)})
    digest = hashlib.sha256(unsigned).hexdigest()
    content = unsigned.replace(_NO_DIGEST.encode(), digest.encode(), 1)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise CheckpointError(f"could not write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_state_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a state file; nothing of a changed file is returned.

    Returns:
        Tensors by name, on the CPU, and the metadata as they were given to `write_state_file`.

    Raises:
        CheckpointIncompleteError: there is no such file, or it is cut short.
        CheckpointCorruptError: the file is no state, of another version, or has changed.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointIncompleteError(f"no state at {path}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    metadata, num_bytes = _read_header(path, content)
    _check_format(path, metadata.pop("format", None))
    _check_digest(path, content, metadata.pop("digest", ""), num_bytes)
    try:
        return load(content), metadata
    except SafetensorError as error:  # whole, so it was written like that
        raise CheckpointCorruptError(f"{path} is no readable state: {error}") from None


def _read_header(path: Path, content: bytes) -> tuple[dict[str, str], int]:
    """The metadata, and how long the file should be."""
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    try:
        header = msgspec.json.decode(content[_LENGTH_BYTES:end], type=dict[str, msgspec.Raw])
        entries = msgspec.json.decode(header.pop("__metadata__", b"{}"), type=dict[str, str])
        metadata = msgspec.json.decode(entries.get(_ENTRY, "{}"), type=dict[str, str])
        tensors = [msgspec.json.decode(entry, type=_Entry) for entry in header.values()]
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise CheckpointCorruptError(
            f"{path} is no readable state: its header is damaged or cut short, or it is another "
            "kind of file"
        ) from None
    return metadata, end + max((tensor.data_offsets[1] for tensor in tensors), default=0)


def _check_format(path: Path, found: str | None) -> None:
    if found == _FORMAT:
        return
    family, _, version = (found or "").rpartition("-")
    if family == _FAMILY and version.isdecimal() and int(version) > int(_VERSION):
        raise CheckpointCorruptError(
            f"{path} was written by a newer version of ttt, or is damaged: format {found!r}, "
            f"expected {_FORMAT!r}; update ttt"
        )
    raise CheckpointCorruptError(f"{path} is no state: format {found!r}, expected {_FORMAT!r}")


def _check_digest(path: Path, content: bytes, digest: str, num_bytes: int) -> None:
    unsigned = content.replace(digest.encode(), _NO_DIGEST.encode(), 1) if digest else content
    if hashlib.sha256(unsigned).hexdigest() == digest:
        return
    if len(content) < num_bytes:
        raise CheckpointIncompleteError(
            f"{path} is cut short: {len(content):,} bytes, expected {num_bytes:,}"
        )
    raise CheckpointCorruptError(f"{path} has changed since it was written; its digest differs")
