"""Parquet: one column of strings is the text, every row a document."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ttt_config.errors import DataError
from ttt_data.readers.document import SourceDocument
from ttt_data.readers.options import ReadOptions
from ttt_data.readers.problems import Problems
from ttt_data.readers.shown import shown

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH_ROWS = 1024


def read_parquet(
    path: Path, name: str, options: ReadOptions, problems: Problems
) -> Iterator[SourceDocument]:
    """Yield the documents of a Parquet file, a batch of rows in memory at a time.

    Raises:
        DataError: pyarrow is not installed, the file is damaged, has no such column of strings, or
            a row is bad and the policy is to stop.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError(
            f"`{shown(path)}` needs pyarrow to be read; install the extra: "
            "pip install 'ttt-data[parquet]'"
        ) from error
    row = 0
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            _require_strings(file, path, options.text_field)
            for batch in file.iter_batches(
                _BATCH_ROWS, columns=[options.text_field], use_threads=False
            ):
                for value in _values(batch.column(0)):
                    row += 1
                    where = f"{name}:{row}"
                    if isinstance(value, str) and value.strip():
                        yield SourceDocument(value, where)
                    else:
                        _report(value, where, options.text_field, problems)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"cannot read `{shown(path)}` as Parquet, row {row + 1}: {reason}"
        ) from error


def _require_strings(file: "pq.ParquetFile", path: Path, field: str) -> None:
    import pyarrow as pa

    schema = file.schema_arrow
    if field not in schema.names:
        raise DataError(
            f"`{shown(path)}` has no column `{field}`, only {', '.join(schema.names)}; "
            "name the right one as text_field"
        )
    kind = schema.field(field).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"column `{field}` of `{shown(path)}` holds {kind}, expected strings")


def _values(column: "pa.Array") -> "Iterator[str | UnicodeDecodeError | None]":
    """The strings of a column; where Arrow let bytes pass that are not UTF-8, the error."""
    try:
        yield from column.to_pylist()
    except UnicodeDecodeError:
        for value in column:
            try:
                yield value.as_py()
            except UnicodeDecodeError as error:
                yield error


def _report(
    value: str | UnicodeDecodeError | None, where: str, field: str, problems: Problems
) -> None:
    if isinstance(value, UnicodeDecodeError):
        problems.bad("undecodable bytes", where, f"not utf-8: {value.reason}")
    elif value is None:
        problems.bad("text is not a string", where, f"`{field}` is null, expected a string")
    else:
        problems.note("empty document", where)
