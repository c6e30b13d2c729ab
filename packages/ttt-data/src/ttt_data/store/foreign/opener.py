"""Opens one or several foreign files as one split."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ttt_config.errors import DataError
from ttt_data.store.foreign.detect import Format, detect_format
from ttt_data.store.foreign.flat import (
    FlatFile,
    RawType,
    find_bounds,
    open_llmc,
    open_megatron,
    open_npy,
    open_raw,
)
from ttt_data.store.foreign.ptok import open_ptok
from ttt_data.store.split import ShardedSplit, TokenSplit, join_bounds


def open_foreign(
    paths: str | Path | Sequence[str | Path],
    *,
    format: Format | None = None,
    dtype: RawType = "u16",
    eos_id: int | None = None,
    bos_id: int | None = None,
) -> TokenSplit:
    """Open token files of another program, memory-mapped.

    Args:
        paths: one file, or several of one format and type to be laid end to end.
        format: of the files; None to tell by their first bytes.
        dtype: of the tokens of a `nanogpt` file, which does not say.
        eos_id: ends a document, in formats that know of none. Without it and `bos_id`, every file
            is one document.
        bos_id: begins a document; give one of the two at most.

    Raises:
        DataError: a file is missing or not what its format demands; the message says what was
            expected and what was found.
    """
    files = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if not files:
        raise DataError("no token files were given")
    if eos_id is not None and bos_id is not None:
        raise DataError("documents are found by eos_id or by bos_id, give one of them")
    formats = [format or detect_format(file) for file in files]
    if formats[0] == "store":
        raise DataError(f"`{files[0]}` is a token store: open it with TokenStore.open")
    if len(set(formats)) > 1:
        raise DataError(f"files of several formats cannot be one split: {', '.join(formats)}")
    try:
        if formats[0] == "ptok":
            return _open_ptok(files)
        openers: dict[str, Callable[[Path], FlatFile]] = {
            "llmc": open_llmc,
            "nanogpt": lambda path: open_raw(path, dtype),
            "megatron": open_megatron,
            "npy": open_npy,
        }
        opened = [openers[formats[0]](file) for file in files]
    except OSError as error:
        raise DataError(f"cannot read `{error.filename}`: {error.strerror}") from error
    return _lay_end_to_end(opened, eos_id=eos_id, bos_id=bos_id)


def _open_ptok(files: Sequence[Path]) -> TokenSplit:
    if len(files) > 1:
        raise DataError(f"PTOK has one file per split, got {len(files)}")
    return open_ptok(files[0])


def _lay_end_to_end(
    files: Sequence[FlatFile], *, eos_id: int | None, bos_id: int | None
) -> ShardedSplit:
    types = {str(file.tokens.dtype) for file in files}
    if len(types) > 1:
        raise DataError(f"files of several types cannot be one split: {', '.join(sorted(types))}")

    def bounds_of(file: FlatFile) -> np.ndarray:
        if file.bounds is not None:
            return file.bounds
        return find_bounds(file.tokens, eos_id=eos_id, bos_id=bos_id)

    return ShardedSplit(
        [file.tokens for file in files], read_bounds=lambda: join_bounds(map(bounds_of, files))
    )
