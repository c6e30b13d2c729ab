"""Which token files a path stands for, and for which split each is."""

import glob
from collections.abc import Mapping
from pathlib import Path, PurePath

from ttt_data.readers.document import Split
from ttt_data.readers.files import split_of_name
from ttt_data.store.foreign.detect import PTOK_MAGIC, first_bytes, has_index

_SUFFIXES = (".bin", ".npy", ".ptok")
_MEGATRON_ENDING = "_text_document"
"""What Megatron's preprocessing adds to a name."""


def token_files(spec: str) -> Mapping[Split | None, list[Path]]:
    """Find the token files of other programs that a path, folder or pattern stands for.

    In a folder, files named train and val (or valid, validation), or test, decide the splits, as
    in `fineweb_train_000001.bin`; files with other names are left out if there are such.

    Returns:
        Files by split, in the order of their names; under None those whose names do not tell.
        Empty if there is no token file.
    """
    found: dict[Split | None, list[Path]] = {}
    for path in sorted(filter(_holds_tokens, _candidates(spec))):
        stem = path.stem.removesuffix(_MEGATRON_ENDING)
        found.setdefault(split_of_name(PurePath(stem)), []).append(path)
    if len(found.keys() - {None}) > 1:
        found.pop(None, None)
        return found
    files = [path for paths in found.values() for path in paths]
    return {None: sorted(files)} if files else {}


def _candidates(spec: str) -> list[Path]:
    path = Path(spec)
    if path.is_dir():
        return [each for each in path.iterdir() if each.suffix in _SUFFIXES]
    if path.exists() or has_index(path):
        return [path]
    return [Path(match) for match in glob.glob(spec)]  # noqa: PTH207 - takes absolute patterns


def _holds_tokens(path: Path) -> bool:
    if path.is_file():
        return path.suffix in _SUFFIXES or first_bytes(path).startswith(PTOK_MAGIC)
    return has_index(path)
