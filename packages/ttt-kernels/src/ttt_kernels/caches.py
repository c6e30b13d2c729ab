"""Where compiled kernels are kept, what they are kept by, and how they are thrown away."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

CACHE_VARIABLE = "TTT_KERNELS_CACHE"
"""Environment variable that names the directory of the cpu kernel's code; empty: keep nothing."""


@dataclass(frozen=True)
class CodeCache:
    """A directory of compiled code.

    Attributes:
        name: of what is in it.
        directory: where.
        variable: environment variable that moves it.
        key: what an entry is found by: if any of it changes, the old code is not found.
        entries: pattern of the names of the folders that are its entries, and of nothing else.
    """

    name: str
    directory: Path
    variable: str
    key: str
    entries: re.Pattern[str]

    def folders(self) -> Iterator[Path]:
        """The entries that are there."""
        if self.directory.is_dir():
            for path in self.directory.iterdir():
                if self.entries.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                    yield path

    def size_bytes(self) -> int:
        """Bytes of all entries."""
        files = (file for folder in self.folders() for file in folder.rglob("*"))
        return sum(file.lstat().st_size for file in files if not file.is_dir())

    def clear(self) -> None:
        """Remove all entries; other files of the directory stay."""
        for folder in list(self.folders()):
            shutil.rmtree(folder)


def code_caches() -> list[CodeCache]:
    """The caches of this installation, whether or not anything is in them."""
    found = []
    if cpu_directory():
        found.append(
            CodeCache(
                *("cpu", Path(cpu_directory()), CACHE_VARIABLE),
                "every source of the cpu kernel, the version of Numba, the processor",
                re.compile("[0-9a-f]{32}"),
            )
        )
    if find_spec("triton") is not None:
        import triton

        directory, variable = Path(triton.knobs.cache.dir), "TRITON_CACHE_DIR"
        found += [
            CodeCache(
                *("triton", directory, variable),
                "the source of the kernel and of all it calls, types and constants of the "
                "arguments, warps and stages, the target, the version of Triton and the "
                "environment; other programs of this user keep theirs here, too",
                re.compile("[A-Z2-7]{52}"),  # a hash of 256 bits in base 32
            ),
            CodeCache(
                *("triton offline", directory / "offline", variable),
                "the kernel as Triton IR, which contains all it calls, warps and stages, the "
                "target, the version of Triton",
                re.compile("[0-9a-f]{40}"),
            ),
        ]
    return found


def cpu_directory() -> str:
    """Where the cpu kernel's code is kept; empty if it is not."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return os.environ.get(CACHE_VARIABLE, str(Path(base) / "ttt-kernels"))
