"""Decides what to do with the folder a writer is given: begin, go on, replace, or refuse."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from ttt_config.errors import DataError
from ttt_data.store.digest import FileRecord
from ttt_data.store.durable import TMP_SUFFIX, AtomicFile, fsync_folder
from ttt_data.store.journal import JOURNAL_NAME, Journal
from ttt_data.store.lock import LOCK_NAME
from ttt_data.store.manifest import MANIFEST_NAME, TOKENIZER_NAME, Plan

_SHARD_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*-\d{5,}\.(bin|idx)(\.tmp)?")
_UNFINISHED = {name + TMP_SUFFIX for name in (MANIFEST_NAME, TOKENIZER_NAME, JOURNAL_NAME)}


def begin(folder: Path, plan: Plan, tokenizer_json: bytes, *, overwrite: bool) -> Journal:
    """Make a locked folder ready for writing and return what is already in it.

    At every moment the folder is one of: finished (it has a manifest), unfinished (it has a
    journal and no manifest), or not ours. So a kill in here, too, is made good by running again.

    Args:
        folder: exists, and no other writer is in it.
        plan: what the store shall be.
        tokenizer_json: content of its tokenizer file.
        overwrite: replace a finished store, or an unfinished one with another plan.

    Raises:
        DataError: the folder holds something that must not be touched, or the disk is full.
    """
    if (folder / MANIFEST_NAME).exists():
        if not overwrite:
            _remove(folder, {JOURNAL_NAME, *_UNFINISHED})
            raise DataError(
                f"`{folder}` holds a finished token store; "
                "choose another folder, or replace it with overwrite=True"
            )
        journal = None
    elif (folder / JOURNAL_NAME).exists():
        journal = _continued(folder, plan, overwrite=overwrite)
    else:
        _check_empty(folder)
        journal = None
    if journal is None:
        journal = Journal.create(folder, plan)  # before the manifest goes: never neither of them
        _remove(folder, {MANIFEST_NAME})
        fsync_folder(folder)
    _remove(folder, _orphans(folder, journal))
    with AtomicFile(folder / TOKENIZER_NAME) as file:
        file.write(tokenizer_json)
    return journal


def _continued(folder: Path, plan: Plan, *, overwrite: bool) -> Journal | None:
    """Return the journal to go on with, or None to begin anew."""
    try:
        journal = Journal.read(folder)
        _check_continues(folder, journal, plan)
    except DataError:
        if overwrite:
            return None
        raise
    return journal


def _check_continues(folder: Path, journal: Journal, plan: Plan) -> None:
    if journal.plan != plan:
        raise DataError(
            f"`{folder}` was begun with other options: {_difference(journal.plan, plan)}; "
            "use the same, or begin anew with overwrite=True"
        )
    for record in _records(journal):
        path = folder / record.name
        found = path.stat().st_size if path.is_file() else None
        if found != record.bytes:
            raise DataError(
                f"`{path}` was finished with {record.bytes} bytes and now "
                f"{'is missing' if found is None else f'has {found}'}; "
                "put it back, or begin anew with overwrite=True"
            )


def _check_empty(folder: Path) -> None:
    ours = {LOCK_NAME, *_UNFINISHED}
    if others := sorted(path.name for path in folder.iterdir() if path.name not in ours):
        raise DataError(
            f"`{folder}` is neither empty nor a token store: it holds `{others[0]}`; "
            "choose another folder"
        )


def _orphans(folder: Path, journal: Journal) -> Iterator[str]:
    """Name the files of this folder that a killed writer left."""
    finished = {record.name for record in _records(journal)}
    for path in folder.iterdir():
        unknown_shard = _SHARD_FILE.fullmatch(path.name) and path.name not in finished
        if unknown_shard or path.name in _UNFINISHED:
            yield path.name


def _records(journal: Journal) -> Iterator[FileRecord]:
    for shards in journal.shards.values():
        for shard in shards:
            yield from (shard.bin, shard.idx)


def _remove(folder: Path, names: Iterable[str]) -> None:
    for name in list(names):
        (folder / name).unlink(missing_ok=True)


def _difference(old: Plan, new: Plan) -> str:
    before, now = (dict(_flat("", msgspec.to_builtins(plan))) for plan in (old, new))
    name = next(name for name in (*before, *now) if before.get(name) != now.get(name))
    return f"{name} was {before.get(name)}, now it is {now.get(name)}"


def _flat(name: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield a nested value as one level of names, `tokenizer.sha256` and the like."""
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        yield name, value
        return
    for key, inner in items:
        yield from _flat(f"{name}.{key}" if name else str(key), inner)
