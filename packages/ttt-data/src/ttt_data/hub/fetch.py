"""Brings the files of a recipe into a folder."""

import shutil
from collections.abc import Callable
from os.path import commonprefix
from pathlib import Path
from typing import Literal

from msgspec import Struct

from ttt_config.errors import DataError
from ttt_data.hub.cache import find_in_library_cache
from ttt_data.hub.client import Hub, RemoteFile
from ttt_data.hub.lock import HubLock, hash_file, require_unchanged
from ttt_data.hub.recipes import Recipe
from ttt_data.hub.reference import is_safe
from ttt_data.hub.transfer import download, part_of

_NUM_SHOWN = 4

Progress = Callable[[int, int], None]
"""Called with the bytes there are and the bytes there will be, over all files of a fetch."""


class FetchResult(Struct, frozen=True, kw_only=True):
    """What a fetch brought.

    Attributes:
        recipe: its name.
        repo: where the files are from.
        commit: the state of the repository they belong to.
        folder: where they are; the lock file is there too.
        files: the held-out ones first.
        num_bytes: of all the files.
        num_fetched_bytes: of those that were not there before.
        yields: text for the readers, or tokens in llm.c's format.
        separator: the option to read the text files with.
    """

    recipe: str
    repo: str
    commit: str
    folder: Path
    files: tuple[Path, ...]
    num_bytes: int
    num_fetched_bytes: int
    yields: Literal["text", "tokens"]
    separator: str | None


def fetch(
    recipe: Recipe,
    out: str | Path,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
    verify: bool = True,
) -> FetchResult:
    """Bring the files of a recipe into a folder; those that are there already are only checked.

    A fetch that was interrupted goes on where it stopped. With everything there, no network is
    needed.

    Args:
        recipe: what to fetch.
        out: the folder; it belongs to this recipe alone.
        limit: how many of the training files; None: all. Held-out files always come.
        progress: called with bytes done and bytes in all.
        verify: hash the files that are there already, not only compare their sizes.

    Raises:
        DataError: the hub cannot be reached, a file is not what it was or should be, or the folder
            holds something else or lacks the space.
    """
    if limit is not None and limit < 1:
        raise DataError(f"limit must be 1 file or more, got {limit}")
    folder = Path(out)
    try:
        lock = _existing_lock(recipe, folder) or _new_lock(recipe, folder)
        wanted = recipe.select(lock.files, limit)
        missing = [file for file in wanted if not (folder / file.path).exists()]
        lock = _check_present(lock, folder, [f for f in wanted if f not in missing], verify)
        num_bytes = sum(file.bytes for file in wanted)
        report = _Report(progress, num_bytes - sum(file.bytes for file in missing), num_bytes)
        _obtain(missing, lock, recipe, folder, report)
    except OSError as error:
        raise DataError(f"cannot fetch into `{folder}`: {error.strerror or error}") from error
    return FetchResult(
        recipe=recipe.name,
        repo=recipe.repo,
        commit=lock.commit,
        folder=folder,
        files=tuple(folder / file.path for file in wanted),
        num_bytes=num_bytes,
        num_fetched_bytes=sum(file.bytes for file in missing),
        yields=recipe.yields,
        separator=recipe.separator,
    )


class _Report:
    """Adds up the progress of the single files."""

    def __init__(self, progress: Progress | None, done: int, total: int) -> None:
        self._progress = progress
        self._done = done
        self._total = total

    def within_file(self, num_bytes: int) -> None:
        """This much of the current file is there."""
        if self._progress is not None:
            self._progress(self._done + num_bytes, self._total)

    def end_file(self, num_bytes: int) -> None:
        """The current file is whole."""
        self._done += num_bytes
        self.within_file(0)


def _existing_lock(recipe: Recipe, folder: Path) -> HubLock | None:
    lock = HubLock.read(folder)
    if lock is None:
        return None
    if (lock.repo, lock.revision) != (recipe.repo, recipe.revision):
        raise DataError(
            f"`{folder}` holds {lock.repo}@{lock.revision}, not {recipe.repo}@{recipe.revision}; "
            "choose another folder"
        )
    _require_known_hashes(recipe, lock.files)
    return lock


def _new_lock(recipe: Recipe, folder: Path) -> HubLock:
    """Ask the hub what the recipe's files are, and write it down."""
    hub = Hub()
    hub.require_reachable(_alternative(recipe))
    listing = hub.listing(recipe.repo, recipe.revision)
    files = recipe.select(listing.files)
    if not files:
        some = ", ".join(file.path for file in listing.files[:_NUM_SHOWN]) or "nothing"
        raise DataError(
            f"`{recipe.repo}` has no file {' or '.join(recipe.train[:_NUM_SHOWN])}; it holds {some}"
        )
    unsafe = next((file.path for file in files if not is_safe(file.path)), None)
    if unsafe is not None:
        raise DataError(f"`{recipe.repo}` holds a file with an unsafe path: {unsafe!r}")
    _require_known_hashes(recipe, files)
    lock = HubLock(
        repo=recipe.repo,
        revision=recipe.revision,
        commit=listing.commit,
        files=tuple(
            RemoteFile(file.path, file.bytes, recipe.sha256.get(file.path, file.sha256))
            for file in files
        ),
    )
    lock.write(folder)
    return lock


def _require_known_hashes(recipe: Recipe, files: tuple[RemoteFile, ...]) -> None:
    for file in files:
        known = recipe.sha256.get(file.path, file.sha256)
        if file.sha256 is not None and file.sha256 != known:
            raise DataError(
                f"`{file.path}` of {recipe.repo} was changed: the recipe says sha256 {known}, got "
                f"{file.sha256}"
            )


def _check_present(lock: HubLock, folder: Path, files: list[RemoteFile], verify: bool) -> HubLock:
    """Compare files with the lock; a hash it lacks yet is added."""
    for file in files:
        require_unchanged(folder, file, by_hash=verify)
        if file.sha256 is None:
            lock = lock.with_hash(file.path, hash_file(folder / file.path))
            lock.write(folder)
    return lock


def _obtain(
    missing: list[RemoteFile], lock: HubLock, recipe: Recipe, folder: Path, report: _Report
) -> None:
    """Copy the files from the library's cache or download them."""
    if not missing:
        return
    _require_space(missing, folder)
    hub = Hub()
    reachable = False
    for file in missing:
        target = folder / file.path
        cached = _find_cached(lock, file)
        if cached is not None:  # now the download has nothing left to fetch
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cached, part_of(target))
        elif not reachable:
            hub.require_reachable(_alternative(recipe))
            reachable = True
        sha256 = download(
            hub.url(lock.repo, lock.commit, file.path),
            target,
            num_bytes=file.bytes,
            sha256=file.sha256,
            on_progress=report.within_file,
        )
        report.end_file(file.bytes)
        if file.sha256 is None:
            lock = lock.with_hash(file.path, sha256)
            lock.write(folder)


def _find_cached(lock: HubLock, file: RemoteFile) -> Path | None:
    """The file in the library's cache, if it is what the lock says."""
    cached = find_in_library_cache(lock.repo, file.path, lock.commit)
    if cached is None or cached.path.stat().st_size != file.bytes:
        return None
    return cached.path if file.sha256 in (None, hash_file(cached.path)) else None


def _require_space(missing: list[RemoteFile], folder: Path) -> None:
    needed = sum(file.bytes for file in missing)
    parts = [part_of(folder / file.path) for file in missing]
    needed -= sum(part.stat().st_size for part in parts if part.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"not enough space in `{folder}`: {needed:,} bytes are needed, {free:,} are free; "
            "fetch fewer files or choose another folder"
        )


def _alternative(recipe: Recipe) -> str:
    """What to do without a connection: the exact command for a machine that has one."""
    patterns = recipe.held_out + recipe.train
    if len(patterns) > _NUM_SHOWN:
        shared = commonprefix(patterns)  # noqa: RUF071 - of patterns, character by character
        patterns = (shared.rstrip("*.") + "*",)
    included = " ".join(f"--include '{pattern}'" for pattern in patterns)
    return (
        f"on a machine with internet run `hf download {recipe.repo} --repo-type dataset --revision "
        f"{recipe.revision} {included} --local-dir DIR`, copy DIR here and read that"
    )
