"""Which files a source is made of: their order, their formats and the splits their names mean."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from msgspec import Struct

from ttt_config.errors import DataError
from ttt_data.readers.document import SourceDocument, Split
from ttt_data.readers.jsonl import read_jsonl
from ttt_data.readers.options import Format, ReadOptions
from ttt_data.readers.parquet import read_parquet
from ttt_data.readers.problems import Problems
from ttt_data.readers.shown import shown
from ttt_data.readers.text import read_text

FORMATS: dict[str, Format] = {
    ".txt": "text",
    ".txt.gz": "text",
    ".txt.zst": "text",
    ".md": "text",
    ".md.gz": "text",
    ".md.zst": "text",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".jsonl.zst": "jsonl",
    ".parquet": "parquet",
}
"""How the end of a file's name tells its format."""

EXPECTED = "a .txt, .md, .jsonl (each also .gz or .zst) or .parquet file"

_READERS = {"text": read_text, "jsonl": read_jsonl, "parquet": read_parquet}
_DOWNLOAD_LEFTOVERS = (".part", ".lock")
_SPLIT_NAME = re.compile(
    r"(?:.*[-_.])?(train|val|valid|validation|test)(?:[-_.]?\d.*)?", re.IGNORECASE
)


class TextFile(Struct, frozen=True):
    """One file of a source.

    Attributes:
        path: where it is.
        name: relative to the source, with slashes; what messages and origins call it.
        format: how it is read.
        split: what its name, or that of a folder above it, says it is for; None: nothing.
    """

    path: Path
    name: str
    format: Format
    split: Split | None = None

    def documents(self, options: ReadOptions, problems: Problems) -> Iterator[SourceDocument]:
        """Yield its documents, with the reader of its format."""
        return _READERS[self.format](self.path, self.name, options, problems)


class FileSet(Struct, frozen=True):
    """The files of a source in the order they are read in.

    Attributes:
        files: those with text.
        others: names of the files that are no text, or belong to none of the splits named.
    """

    files: tuple[TextFile, ...]
    others: tuple[str, ...] = ()

    @property
    def named_splits(self) -> frozenset[Split]:
        """Splits that the names of the files decide."""
        return frozenset(file.split for file in self.files if file.split is not None)


def format_of(name: str) -> Format | None:
    """The format that the end of a file's name tells, in any case."""
    lowered = name.lower()
    return next((FORMATS[suffix] for suffix in FORMATS if lowered.endswith(suffix)), None)


def single_file(path: Path, format_: Format | None, name: str | None = None) -> FileSet:
    """Return the set of one file, under its own name or another.

    Raises:
        DataError: neither its name nor the argument says how to read it.
    """
    found = format_of(path.name) or format_
    if found is None:
        raise DataError(
            f"cannot read `{shown(path)}`: expected {EXPECTED}, or a format to read it as"
        )
    return FileSet((TextFile(path, name or shown(PurePath(path.name)), found),))


def folder_files(folder: Path) -> FileSet:
    """Return the files below a folder, by name; hidden ones and unfinished downloads are left out.

    Raises:
        DataError: there is none that can be read.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"cannot read the folder `{error.filename}`: {error.strerror}") from error

    paths: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and not name.endswith(_DOWNLOAD_LEFTOVERS)
        ]
    found = _assemble(paths, folder)
    if not found.files:
        raise DataError(
            f"nothing to read in the folder `{shown(folder)}` or below it: expected {EXPECTED}"
        )
    return found


def matching_files(pattern: str) -> FileSet:
    """Return the files that a glob pattern matches, by name; `**` stands for any folders.

    Raises:
        DataError: it matches none that can be read.
    """
    matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute ones
    paths = [path for path in map(Path, matches) if not path.is_dir()]
    folder = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
    found = _assemble(paths, folder)
    if not found.files:
        raise DataError(f"no file matches `{pattern}` that can be read: expected {EXPECTED}")
    return found


def _assemble(paths: Sequence[Path], folder: Path) -> FileSet:
    files: list[TextFile] = []
    others: list[str] = []
    for name, path in sorted((shown(path.relative_to(folder)), path) for path in paths):
        format_ = format_of(name)
        if format_ is None or not path.is_file():
            others.append(name)
        else:
            files.append(TextFile(path, name, format_, split_of_name(PurePath(name))))
    splits = {file.split for file in files}
    if "train" in splits and len(splits - {None}) > 1:
        others += [file.name for file in files if file.split is None]
        files = [file for file in files if file.split is not None]
    else:  # one name alone, or held-out files without training files, is no division
        files = [TextFile(file.path, file.name, file.format) for file in files]
    return FileSet(tuple(files), tuple(others))


def split_of_name(name: PurePath) -> Split | None:
    """The split a file is named for.

    As `train.txt`, `a/validation/b.md`, `TinyStories-valid.txt`, `test-00000-of-00002.parquet`.
    """
    for part in name.parts:
        match = _SPLIT_NAME.fullmatch(part.partition(".")[0])
        if match:
            word = match[1].lower()
            return "train" if word == "train" else "test" if word == "test" else "val"
    return None
