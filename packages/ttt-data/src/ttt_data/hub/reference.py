"""What `hf://owner/repo[/path][@revision]` names: files of a dataset at a point of its history."""

import re
from pathlib import PurePosixPath

from msgspec import Struct

from ttt_config.errors import DataError

SCHEME = "hf://"

_NAME = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_LONGEST_REPO = 96
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")


class HubReference(Struct, frozen=True):
    """Files of one dataset repository.

    Attributes:
        repo: `owner/name`.
        path: file or folder inside it; empty: all of it.
        revision: commit, branch or tag.
    """

    repo: str
    path: str = ""
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> "HubReference":
        """Read the written form; `hf://datasets/owner/repo`, as other tools spell it, is the same.

        Raises:
            DataError: it is not of that form.
        """
        rest, at, revision = text.removeprefix(SCHEME).partition("@")
        owner, name, *parts = [*rest.removeprefix("datasets/").rstrip("/").split("/"), ""]
        path = "/".join(parts[:-1])
        valid = (
            text.startswith(SCHEME)
            and _NAME.fullmatch(owner)
            and _NAME.fullmatch(name)
            and len(owner) + len(name) < _LONGEST_REPO
            and (not path or is_safe(path))
            and (not at or (_REVISION.fullmatch(revision) and is_safe(revision)))
        )
        if not valid:
            raise DataError(
                f"not a dataset on the hub: {text!r}; expected hf://owner/repo[/path][@revision]"
            )
        return cls(f"{owner}/{name}", path, revision or "main")

    def __str__(self) -> str:
        path = f"/{self.path}" if self.path else ""
        return f"{SCHEME}{self.repo}{path}@{self.revision}"


def is_safe(path: str) -> bool:
    """Whether a path from elsewhere stays inside the folder it is meant for."""
    return (
        path.isprintable()
        and "\\" not in path
        and path == PurePosixPath(path).as_posix()
        and not PurePosixPath(path).is_absolute()
        and ".." not in PurePosixPath(path).parts
        and path != "."
    )
