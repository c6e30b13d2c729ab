"""The state of all runs: one SQLite file, the truth; every change is a transaction.

Only the standard library is imported, so that `ttt-harness status` answers at once.
"""

import json
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple

from ttt_harness.model import Attempt, Peak, RunRecord

_VERSION = 1
_BUSY_S = 30.0
_LISTS = ("after",)
_FLAGS = ("planned",)

_MARKS = {struct: ", ".join("?" * len(struct._fields)) for struct in (RunRecord, Attempt)}
_INSERT_RUN = f"INSERT OR REPLACE INTO runs VALUES ({_MARKS[RunRecord]})"  # noqa: S608  (marks)
_INSERT_ATTEMPT = f"INSERT OR REPLACE INTO attempts VALUES ({_MARKS[Attempt]})"  # noqa: S608

Execute = Callable[..., sqlite3.Cursor]


class StateError(Exception):
    """The state cannot be used."""

    exit_code = 9


class Request(NamedTuple):
    """What another process asks the supervisor to do."""

    run: str
    kind: Literal["stop", "reset"]


class Paths:
    """The files of a state, from the path of either: `x.json` and `x.db` mean the same."""

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        stem = path.with_suffix("") if path.suffix in {".json", ".db"} else path
        self.database = stem.with_name(f"{stem.name}.db")
        self.export = stem.with_name(f"{stem.name}.json")


class Store:
    """An open state; a context manager.

    Args:
        path: of the database.
        create: make it if it is not there.

    Raises:
        StateError: there is none, or it is of another version, or no database at all.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if not create and not path.is_file():
            raise StateError(
                f"no harness state {path}; `ttt-harness run` makes it, --state names another"
            )
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            # A kill loses nothing. A power cut may lose the last changes, but then no child lives,
            # and what a run has reached is in its own directory.
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._prepare()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise StateError(f"{path} is no harness state: {error}; move it away") from error

    def _prepare(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version == _VERSION:
            return
        if version:
            self._connection.close()
            raise StateError(
                f"{self.path} is of version {version}, this ttt-harness reads {_VERSION}; use the "
                "one that wrote it"
            )
        with self.transaction() as execute:
            for table, struct, key in (
                ("runs", RunRecord, "PRIMARY KEY (name)"),
                ("attempts", Attempt, "PRIMARY KEY (run, number)"),
                ("peaks", Peak, "PRIMARY KEY (shape, device_kind)"),
            ):
                columns = ", ".join(f'"{name}"' for name in struct._fields)
                execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns}, {key})")
            execute("CREATE TABLE IF NOT EXISTS requests (run, kind, PRIMARY KEY (run, kind))")
            execute("CREATE TABLE IF NOT EXISTS estimates (key PRIMARY KEY, value)")
            execute("CREATE TABLE IF NOT EXISTS facts (key PRIMARY KEY, value)")
            execute("INSERT OR IGNORE INTO facts VALUES ('id', ?)", (uuid.uuid4().hex,))
            execute("INSERT OR IGNORE INTO facts VALUES ('settings', '{}')")
            execute(f"PRAGMA user_version = {_VERSION}")

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> "Iterator[Execute]":
        """Everything inside happens, or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection.execute
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @property
    def id(self) -> str:
        """Of this state, for good."""
        return self._fact("id")

    def settings(self) -> dict[str, object]:
        """The settings of the last harness, as `ttt_config.resolve` takes them."""
        return json.loads(self._fact("settings"))

    def record_settings(self, settings: Mapping[str, object]) -> None:
        """Keep the settings that this harness works with."""
        with self.transaction() as execute:
            execute("UPDATE facts SET value = ? WHERE key = 'settings'", (json.dumps(settings),))

    def _fact(self, key: str) -> str:
        row = self._connection.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return str(row[0])

    def runs(self) -> list[RunRecord]:
        """All runs, in the order of the plan."""
        rows = self._connection.execute("SELECT * FROM runs ORDER BY position, name")
        return [_run_of(row) for row in rows]

    def save(self, *runs: RunRecord, attempt: Attempt | None = None) -> None:
        """Write runs, and perhaps an attempt that ended, in one transaction."""
        with self.transaction() as execute:
            for run in runs:
                values = [json.dumps(x) if isinstance(x, tuple) else x for x in run]
                execute(_INSERT_RUN, values)
            if attempt is not None:
                execute(_INSERT_ATTEMPT, attempt)

    def attempts(self, run: str) -> list[Attempt]:
        """The attempts at a run that have ended, in their order."""
        query = "SELECT * FROM attempts WHERE run = ? ORDER BY number"
        return [Attempt(*row) for row in self._connection.execute(query, (run,))]

    def ask(self, kind: Literal["stop", "reset"], names: Sequence[str]) -> None:
        """Leave a request for the supervisor."""
        with self.transaction() as execute:
            for name in names:
                execute("INSERT OR IGNORE INTO requests VALUES (?, ?)", (name, kind))

    def requests(self) -> list[Request]:
        """What is asked for and was not yet done."""
        return [Request(*row) for row in self._connection.execute("SELECT * FROM requests")]

    def fulfil(self, request: Request) -> None:
        """Note that a request was done."""
        with self.transaction() as execute:
            execute("DELETE FROM requests WHERE run = ? AND kind = ?", request)

    def peaks(self) -> list[Peak]:
        """What was measured of past runs."""
        return [Peak(*row) for row in self._connection.execute("SELECT * FROM peaks")]

    def record_peak(self, peak: Peak) -> None:
        """Keep the highest peak of each shape on each kind of device."""
        with self.transaction() as execute:
            execute(
                "INSERT INTO peaks VALUES (?, ?, ?, ?) ON CONFLICT (shape, device_kind) DO UPDATE "
                "SET peak_bytes = max(peak_bytes, excluded.peak_bytes), "
                "estimate_bytes = excluded.estimate_bytes",
                peak,
            )

    def estimate(self, key: str) -> str | None:
        """What was once found for a key; None if nothing was."""
        query = "SELECT value FROM estimates WHERE key = ?"
        row = self._connection.execute(query, (key,)).fetchone()
        return None if row is None else str(row[0])

    def record_estimate(self, key: str, value: str) -> None:
        """Keep what was found."""
        with self.transaction() as execute:
            execute("INSERT OR REPLACE INTO estimates VALUES (?, ?)", (key, value))


def _run_of(row: sqlite3.Row) -> RunRecord:
    values = dict(row)
    for name in _LISTS:
        values[name] = tuple(json.loads(values[name]))
    for name in _FLAGS:
        values[name] = bool(values[name])
    return RunRecord(**values)
