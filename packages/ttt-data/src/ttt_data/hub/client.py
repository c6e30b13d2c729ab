"""Talks to the Hugging Face hub: what a dataset holds, and where its files are.

`huggingface_hub` knows the addresses and the answers. Whether the hub can be reached at all is
found out first and quickly, because the library would go on trying for half a minute.
"""

import os
import re
import socket
import threading
import urllib.request
from types import ModuleType
from urllib.parse import urlsplit

from msgspec import Struct

from ttt_config.errors import DataError

CONNECT_TIMEOUT_S = 1.2
ANSWER_TIMEOUT_S = 30.0

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PORTS = {"http": 80, "https": 443}


class RemoteFile(Struct, frozen=True):
    """A file as the hub describes it.

    Attributes:
        path: inside the repository.
        bytes: its size.
        sha256: of its content; the hub knows it of large files only.
    """

    path: str
    bytes: int
    sha256: str | None = None


class Listing(Struct, frozen=True):
    """The files of a repository at one commit, by path."""

    commit: str
    files: tuple[RemoteFile, ...]


class Hub:
    """The hub at `HF_ENDPOINT`, or the public one. Only what needs no account can be reached.

    Attributes:
        library: huggingface_hub.
        endpoint: address of the hub.

    Raises:
        DataError: huggingface_hub is not installed, or the endpoint is no web address.
    """

    def __init__(self) -> None:
        self.library = import_library()
        endpoint = os.environ.get("HF_ENDPOINT") or self.library.constants.ENDPOINT
        self.endpoint = endpoint.rstrip("/")
        parts = urlsplit(self.endpoint)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise DataError(f"HF_ENDPOINT must be an http or https address, got `{endpoint}`")

    def listing(self, repo: str, revision: str) -> Listing:
        """Ask what a dataset holds.

        Raises:
            DataError: the hub does not answer, or there is no such public dataset or revision.
        """
        errors = self.library.errors
        try:
            info = self.library.HfApi(endpoint=self.endpoint, token=False).dataset_info(
                repo, revision=revision, files_metadata=True, timeout=ANSWER_TIMEOUT_S
            )
        except errors.RevisionNotFoundError as error:
            raise DataError(f"the dataset `{repo}` has no revision `{revision}`") from error
        except (errors.RepositoryNotFoundError, errors.GatedRepoError) as error:
            raise DataError(f"no public dataset `{repo}` on {self.endpoint}") from error
        except Exception as error:  # the library lets those of its HTTP client through
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{self.endpoint} could not list `{repo}`: {reason}") from error
        if not info.sha or not _COMMIT.fullmatch(info.sha):
            raise DataError(f"{self.endpoint} named no commit of `{repo}`, got {info.sha!r}")
        files = [
            RemoteFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None)
            for file in info.siblings or []
        ]
        return Listing(info.sha, tuple(sorted(files, key=lambda file: file.path)))

    def url(self, repo: str, commit: str, path: str) -> str:
        """Address of one file."""
        return self.library.hf_hub_url(
            repo, path, repo_type="dataset", revision=commit, endpoint=self.endpoint
        )

    def require_reachable(self, alternative: str) -> None:
        """Find out within `CONNECT_TIMEOUT_S` whether there is a connection.

        Args:
            alternative: what to do without one.

        Raises:
            DataError: there is none, or HF_HUB_OFFLINE forbids one.
        """
        if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
            raise DataError(f"offline, HF_HUB_OFFLINE is set; {alternative}")
        parts = urlsplit(_first_hop(self.endpoint))
        failure = _connect(parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80))
        if failure is not None:
            raise DataError(f"cannot reach {self.endpoint} ({failure}); {alternative}")


def import_library() -> ModuleType:
    """Import huggingface_hub.

    Raises:
        DataError: it is not installed.
    """
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise DataError(
            "the hub needs huggingface-hub; install the extra: pip install 'ttt-data[hf]'"
        ) from error
    return huggingface_hub


def _first_hop(endpoint: str) -> str:
    """The machine a connection goes to: a proxy, if the environment names one."""
    parts = urlsplit(endpoint)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return endpoint
    proxy = urllib.request.getproxies().get(parts.scheme, endpoint)
    return proxy if "://" in proxy else f"http://{proxy}"


def _connect(host: str, port: int) -> str | None:
    """Try to connect; return why it failed. In a thread, since name lookups heed no timeout."""
    outcome: list[str | None] = []

    def attempt() -> None:
        try:
            socket.create_connection((host, port), CONNECT_TIMEOUT_S).close()
        except OSError as error:
            outcome.append(error.strerror or str(error))
        else:
            outcome.append(None)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(CONNECT_TIMEOUT_S)
    return outcome[0] if outcome else f"no answer within {CONNECT_TIMEOUT_S} s"
