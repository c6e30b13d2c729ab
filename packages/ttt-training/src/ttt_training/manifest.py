"""The list of a checkpoint's files with their sizes and hashes.

Safetensors, like every format measured, loads a file with a flipped bit without a word; only a
hash per file tells. The manifest hashes itself too, so damage to it is named like any other.
"""

import hashlib
from pathlib import Path

import msgspec

from ttt_config import (
    CheckpointCorruptError,
    CheckpointIncompleteError,
    CheckpointMismatchError,
)

MANIFEST_NAME = "manifest.json"
_FORMAT = 3


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size and hash of one file."""

    bytes: int
    sha256: str


class RunIdentity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the meaning of a run's tensors depends on, as hashes."""

    model_config_sha256: str
    """Of the table `model` of config.toml."""
    tokenizer_sha256: str
    """Of tokenizer.json."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a checkpoint holds and which run it belongs to."""

    format: int = _FORMAT
    step: int
    """Optimizer steps taken."""
    run: RunIdentity
    val_loss: float | None = None
    """Nats a token on the validation split at this step, if it was evaluated."""
    versions: dict[str, str] = {}
    """Of the packages that wrote it."""
    files: dict[str, FileEntry]
    """By name; plain names only, all in the manifest's own directory."""
    manifest_sha256: str = ""
    """Hash of this manifest with this field empty."""


class _Version(msgspec.Struct):
    """The one field that every format has."""

    format: int


def hash_file(path: Path) -> FileEntry:
    """Measure one file."""
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        return FileEntry(bytes=stream.tell(), sha256=sha256)


def encode_manifest(manifest: Manifest) -> bytes:
    """Write a manifest in its only valid form, with its own hash filled in."""
    unsigned = _to_json(msgspec.structs.replace(manifest, manifest_sha256=""))
    sha256 = hashlib.sha256(unsigned).hexdigest()
    return _to_json(msgspec.structs.replace(manifest, manifest_sha256=sha256))


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest of a checkpoint directory without looking at the other files.

    Raises:
        CheckpointIncompleteError: there is no manifest.
        CheckpointCorruptError: it is damaged, or names a file elsewhere.
        CheckpointMismatchError: it is of another format.
    """
    path = directory / MANIFEST_NAME
    if not path.is_file():
        raise CheckpointIncompleteError(f"{path} is missing: {directory} is no whole checkpoint")
    content = path.read_bytes()
    try:
        version = msgspec.json.decode(content, type=_Version).format
        if version != _FORMAT:
            raise CheckpointMismatchError(
                f"{path} has format {version}, this version of ttt reads format {_FORMAT}; use the "
                "version that wrote it"
            )
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CheckpointCorruptError(f"{path} is damaged: {error}") from error
    # Byte for byte, so that no spelling of the same content passes, repeated keys included.
    if encode_manifest(manifest) != content:
        raise CheckpointCorruptError(f"{path} is damaged: its content does not match its hash")
    for name in manifest.files:
        if not _is_plain_name(name):
            raise CheckpointCorruptError(
                f"{path} names the file {name!r}; only files beside the manifest are allowed"
            )
    return manifest


def verify_files(directory: Path, manifest: Manifest) -> None:
    """Check every listed file against its size and hash.

    Raises:
        CheckpointIncompleteError: a file is missing or cut short.
        CheckpointCorruptError: a file is not what was written.
    """
    for name, expected in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise CheckpointIncompleteError(f"{path} is missing; the manifest lists it")
        # A link could lead out of the directory, and its target can change after the check.
        if path.is_symlink():
            raise CheckpointCorruptError(f"{path} is a link; expected a regular file")
        size = path.stat().st_size
        if size < expected.bytes:
            raise CheckpointIncompleteError(
                f"{path} is cut short: {size} bytes; expected {expected.bytes}"
            )
        if size > expected.bytes:
            raise CheckpointCorruptError(
                f"{path} is damaged: {size} bytes; expected {expected.bytes}"
            )
        found = hash_file(path)
        if found.sha256 != expected.sha256:
            raise CheckpointCorruptError(
                f"{path} is damaged: sha256 {found.sha256[:12]}...; "
                f"expected {expected.sha256[:12]}..."
            )


def _to_json(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def _is_plain_name(name: str) -> bool:
    separators_or_nul = set("/\\:\0")
    return name not in {"", ".", "..", MANIFEST_NAME} and not separators_or_nul & set(name)
