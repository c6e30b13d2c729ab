"""What is already on this machine: our own downloads, and those of huggingface_hub."""

import os
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from ttt_data.hub.client import import_library
from ttt_data.hub.reference import SCHEME, HubReference


class CachedFile(Struct, frozen=True):
    """A file that huggingface_hub downloaded earlier, and the commit it belongs to."""

    path: Path
    commit: str


def cache_folder(reference: HubReference) -> Path:
    """Where the files of a reference are kept: below `TTT_HOME`, or the user's cache folder."""
    home = os.environ.get("TTT_HOME")
    if home is None:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        home = Path(caches) / "ttt"
    return Path(home) / "hub" / quote(str(reference).removeprefix(SCHEME), safe="")


def find_in_library_cache(repo: str, path: str, revision: str) -> CachedFile | None:
    """Look a file up where huggingface_hub keeps its downloads; no network is used."""
    found = import_library().try_to_load_from_cache(
        repo, path, revision=revision, repo_type="dataset"
    )
    if not isinstance(found, str):
        return None
    parts = Path(found).parts
    return CachedFile(Path(found), parts[parts.index("snapshots") + 1])
