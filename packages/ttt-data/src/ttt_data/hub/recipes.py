"""Well-known training sets by name: where their files are and what is in them.

Revisions and hashes marked as pinned were collected from public manifests and pages of the hub; the
files themselves were not downloaded when this was written. A hash that is not known here is taken
from the hub at the first fetch and kept in the lock file.
"""

import difflib
from fnmatch import fnmatchcase
from typing import Literal

import msgspec
from msgspec import Struct

from ttt_config.errors import DataError
from ttt_data.hub.client import RemoteFile


class Recipe(Struct, frozen=True, kw_only=True):
    """How to get a dataset.

    Attributes:
        name: what users call it.
        about: one line for them.
        repo: `owner/name` on the hub.
        revision: commit, or a branch that the first fetch resolves and the lock file keeps.
        train: patterns of the files with training data; a fetch may be limited to the first few.
        held_out: patterns of the files for validation and test, which are always fetched.
        licence: of the data.
        size_bytes: of all files together, about.
        yields: text for the readers, or tokens in llm.c's format.
        separator: what stands between the documents of its text files.
        sha256: known hashes by path.
        verified: False: a copy by a third party that nobody compared with the original; another
            repository can be given to `find_recipe`.
    """

    name: str
    about: str
    repo: str
    revision: str = "main"
    train: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    licence: str
    size_bytes: int
    yields: Literal["text", "tokens"] = "text"
    separator: str | None = None
    sha256: dict[str, str] = {}
    verified: bool = True

    def select(
        self, files: tuple[RemoteFile, ...], limit: int | None = None
    ) -> tuple[RemoteFile, ...]:
        """Return its files among others: the held-out ones and the first `limit` to train on."""
        held_out = [file for file in files if _matches(file.path, self.held_out)]
        train = [file for file in files if _matches(file.path, self.train) and file not in held_out]
        return (*held_out, *train[:limit])


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="tinystories",
            about="2.1 M short stories in simple words, written by GPT-3.5 and GPT-4",
            repo="roneneldan/TinyStories",
            revision="f54c09fd23315a6f9c86f9dc80f725de7d8f9c64",
            train=("TinyStories-train.txt",),
            held_out=("TinyStories-valid.txt",),
            licence="CDLA-Sharing-1.0",
            size_bytes=1_943_728_838,
            separator="<|endoftext|>",
            sha256={
                "TinyStories-train.txt": (
                    "c5cf5e22ff13614e830afbe61a99fbcbe8bcb7dd72252b989fa1117a368d401f"
                ),
                "TinyStories-valid.txt": (
                    "94e431816c4cce81ff71e4408ff8d3bda9a42e8d2663986697c3954288cb38b4"
                ),
            },
        ),
        Recipe(
            name="fineweb10b-gpt2",
            about="10 B tokens of web text in GPT-2's vocabulary, 103 shards and one held out",
            repo="kjj0/fineweb10B-gpt2",
            revision="889765ea1f903759787add96995d81171b632d0c",
            train=("fineweb_train_[0-9]*.bin",),
            held_out=("fineweb_val_[0-9]*.bin",),
            licence="ODC-By-1.0 (of FineWeb)",
            size_bytes=20_800_106_496,
            yields="tokens",
            sha256={
                "fineweb_val_000000.bin": (
                    "5b95c8e0966f0861685b307b23dc5ae42b228ef74b28cb499784ae021f201640"
                ),
                "fineweb_train_000001.bin": (
                    "771fa4a99b9fe0946ffb6e848b4ba5c6a9b0fe87860ebf03bc2c1c7e45f8178e"
                ),
            },
        ),
        Recipe(
            name="fineweb-edu",
            about="10 B tokens of web text chosen for educational value, 14 Parquet files",
            repo="HuggingFaceFW/fineweb-edu",
            revision="87f09149ef4734204d70ed1d046ddc9ca3f2b8f9",
            train=("sample/10BT/*.parquet",),
            licence="ODC-By-1.0",
            size_bytes=28_518_193_415,
        ),
        Recipe(
            name="pg19",
            about="28,752 books published before 1919, 23 Parquet files and two held out",
            repo="emozilla/pg19",
            revision="c021754c8e01c5b1cc83a1f549c1f97fbbb756b8",
            train=("data/train-*.parquet",),
            held_out=("data/validation-*.parquet", "data/test-*.parquet"),
            licence="Apache-2.0 (texts in the public domain)",
            size_bytes=6_600_000_000,
            verified=False,
        ),
    )
}


def find_recipe(name: str, *, repo: str | None = None, revision: str | None = None) -> Recipe:
    """Return a recipe, perhaps for a copy of the data elsewhere on the hub.

    Args:
        name: of the recipe.
        repo: another repository with the same files; its revision is then `main` unless given.
        revision: another commit, branch or tag.

    Raises:
        DataError: there is no recipe of that name.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise DataError(f"unknown recipe `{name}`, expected one of {', '.join(RECIPES)}{hint}")
    recipe = RECIPES[name]
    if repo is None and revision is None:
        return recipe
    return msgspec.structs.replace(
        recipe, repo=repo or recipe.repo, revision=revision or "main", sha256={}, verified=True
    )
