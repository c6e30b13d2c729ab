"""Brings the files of an `hf://` reference onto this machine, into a cache of its own."""

from glob import escape
from pathlib import Path

from msgspec import Struct

from ttt_config.errors import DataError
from ttt_data.hub.cache import cache_folder, find_in_library_cache
from ttt_data.hub.fetch import Progress, fetch
from ttt_data.hub.lock import HubLock
from ttt_data.hub.recipes import Recipe
from ttt_data.hub.reference import HubReference


class HubFiles(Struct, frozen=True):
    """An `hf://` reference on this machine.

    Attributes:
        path: file or folder.
        repo: where it is from.
        commit: the state of the repository it belongs to.
    """

    path: Path
    repo: str
    commit: str


def materialize(
    reference: HubReference, suffixes: tuple[str, ...], *, progress: Progress | None = None
) -> HubFiles:
    """Make the files of a reference available on this machine.

    They are looked for in our cache, then in that of huggingface_hub, and only then downloaded. A
    branch or tag keeps the commit it had at the first download; to follow it, delete the folder of
    the cache or name the commit.

    Args:
        reference: what to look for.
        suffixes: ends of the names of files worth downloading; the dataset's README is not.
        progress: called with bytes done and bytes in all.

    Raises:
        DataError: there is no such file, or the network is needed and missing.
    """
    folder = cache_folder(reference)
    recipe = _anonymous_recipe(reference, suffixes)
    lock = HubLock.read(folder)
    if lock is None and reference.path.lower().endswith(suffixes):
        cached = find_in_library_cache(reference.repo, reference.path, reference.revision)
        if cached is not None:
            return HubFiles(cached.path, reference.repo, cached.commit)
    try:
        result = fetch(recipe, folder, progress=progress, verify=False)
    except DataError as error:
        raise DataError(f"{reference}: {error}") from error
    return HubFiles(folder / reference.path, reference.repo, result.commit)


def _anonymous_recipe(reference: HubReference, suffixes: tuple[str, ...]) -> Recipe:
    path = escape(reference.path)
    if path.lower().endswith(suffixes):
        patterns = [path]
    elif path:
        patterns = [f"{path}/*{suffix}" for suffix in suffixes]
    else:  # Markdown beside the data describes it
        patterns = [f"*/*{suffix}" if ".md" in suffix else f"*{suffix}" for suffix in suffixes]
    return Recipe(
        name=str(reference),
        about="",
        repo=reference.repo,
        revision=reference.revision,
        train=tuple(patterns),
        licence="",
        size_bytes=0,
    )
