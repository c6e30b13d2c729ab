"""From what the user writes to a source: `open_source`."""

import difflib
import glob
import shutil
import sys
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from ttt_config.errors import DataError
from ttt_data import chronicles
from ttt_data.readers.files import FORMATS, FileSet, folder_files, matching_files, single_file
from ttt_data.readers.options import Format, ReadOptions
from ttt_data.readers.problems import OnBad
from ttt_data.readers.source import ChroniclesSource, FileSource, Source, StdlibSource
from ttt_data.readers.splits import Fractions

if TYPE_CHECKING:
    from ttt_data.hub import Progress

BUILTIN = ("chronicles", "stdlib")

_LONGEST_SPEC = 200


def open_source(
    spec: str | Path,
    *,
    text_field: str = "text",
    separator: str | None = None,
    encoding: str = "utf-8",
    format: Format | None = None,
    on_bad: OnBad = "stop",
    val_fraction: float = 0.05,
    test_fraction: float = 0.05,
    num_documents: int = 2000,
    seed: int = 0,
    knobs: chronicles.ChronicleKnobs = chronicles.DEFAULT,
    progress: "Progress | None" = None,
) -> Source:
    """Open a source of text; its files are read when it is iterated over.

        chronicles              the built-in corpus
        stdlib                  documentation of the running Python
        books/emma.txt          .txt and .md, .jsonl, each also .gz or .zst; .parquet
        books                   a folder: every such file below it, by name
        'books/**/*.txt'        a glob pattern
        -                       standard input
        hf://owner/repo[/path][@revision]    files of a dataset on the Hugging Face hub

    In a folder or pattern, files or folders named train and val (valid, validation) or test decide
    the splits. Where no names do, a document is held out by a hash of its text, and a source of one
    document is cut, its end held out.

    Args:
        spec: one of the above; `./chronicles` is a file of that name.
        text_field: the key (JSON lines) or column (Parquet) that holds the text.
        separator: what stands between two documents of a text file, as `<|endoftext|>`; None: a
            file is one document.
        encoding: of text and JSON lines.
        format: of standard input (`text` if not given) and of a file whose name does not tell.
        on_bad: `stop` at the first bad document, or `skip` and count them.
        val_fraction: share of the documents held out for validation.
        test_fraction: share held out for the final test.
        num_documents: chronicles in the training split; those held out come on top.
        seed: of the chronicles.
        knobs: of the chronicles.
        progress: called with bytes done and bytes in all while files are downloaded.

    Raises:
        DataError: there is no such source, or an option cannot be used.
    """
    options = ReadOptions(
        text_field=text_field, separator=separator, encoding=encoding, on_bad=on_bad
    )
    fractions = Fractions(val_fraction, test_fraction)
    spec = str(spec)
    if spec == "chronicles":
        return ChroniclesSource(num_documents, seed, knobs, fractions)
    if spec == "stdlib":
        return StdlibSource(fractions)
    if spec == "-":
        return _open_stdin(format or "text", options, fractions)
    if spec.startswith("hf://"):
        return _open_hub(spec, format, options, fractions, progress)
    return FileSource(spec, _find_files(spec, format), options, fractions)


def _find_files(spec: str, format_: Format | None) -> FileSet:
    path = Path(spec)
    try:
        if not spec or not path.exists():
            if spec and glob.has_magic(spec):
                return matching_files(spec)
            raise DataError(_unknown(spec))
        return folder_files(path) if path.is_dir() else single_file(path, format_)
    except (OSError, ValueError) as error:  # a name too long, or with a zero byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"cannot read {_shortened(spec)}: {reason}") from error


def _open_stdin(format_: Format, options: ReadOptions, fractions: Fractions) -> Source:
    """Keep standard input in a temporary file: the splits are separate passes over it."""
    if format_ == "parquet":
        raise DataError("Parquet cannot be read from standard input; give the path of the file")
    with tempfile.NamedTemporaryFile(prefix="ttt-stdin-", delete=False) as file:
        path = Path(file.name)
        try:
            shutil.copyfileobj(sys.stdin.buffer, file)
        except BaseException:
            path.unlink()
            raise
    source = FileSource("-", single_file(path, format_, "stdin"), options, fractions)
    weakref.finalize(source, path.unlink, missing_ok=True)
    return source


def _open_hub(
    spec: str,
    format_: Format | None,
    options: ReadOptions,
    fractions: Fractions,
    progress: "Progress | None",
) -> Source:
    from ttt_data import hub

    found = hub.materialize(hub.HubReference.parse(spec), tuple(FORMATS), progress=progress)
    files = folder_files(found.path) if found.path.is_dir() else single_file(found.path, format_)
    facts: dict[str, object] = {"repository": found.repo, "commit": found.commit}
    return FileSource(spec, files, options, fractions, facts)


def _unknown(spec: str) -> str:
    near = difflib.get_close_matches(spec, BUILTIN, n=1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    return (
        f"no such data source: {_shortened(spec)}; expected {', '.join(BUILTIN)}, -, "
        "hf://owner/repo, or the path of a text, JSON lines or Parquet file, of a folder, or a "
        f"pattern{hint}"
    )


def _shortened(spec: str) -> str:
    return repr(spec) if len(spec) <= _LONGEST_SPEC else f"{spec[:_LONGEST_SPEC]!r}..."
