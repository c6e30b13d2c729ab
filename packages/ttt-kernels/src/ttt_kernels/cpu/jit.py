"""Compiling the kernels: once for each machine and version of their sources, kept on disk.

Numba keys a cached function by the one file it is in, so a change in a module that it calls would
go unnoticed. Here the key is a hash of every source in the folder. What is kept are pickles, as
Numba writes them: they lie in a directory that only its owner can write, and none other is read.
"""

import hashlib
import inspect
import logging
import os
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numba.extending
from numba.core import caching
from numba.core.runtime import rtsys

from ttt_kernels.caches import cpu_directory
from ttt_kernels.cpu.parts import PartCompiler

# Products and sums may become one instruction. Nothing may be reordered: the compiler's order
# depends on names that differ from process to process, and with it the last digit of a result.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    # No counting of references: it costs two locked instructions for each array at each call.
    # Compiled code can then allocate nothing, so all scratch memory comes from Python.
    "_nrt": False,
    "boundscheck": False,
    "error_model": "numpy",
    "fastmath": {"contract", "nsz", "arcp"},
}
_ENTRY_OPTIONS: dict[str, Any] = {**_OPTIONS, "no_cfunc_wrapper": True}
# Only compiled code calls them, so what would let Python call them is not compiled.
_PART_OPTIONS: dict[str, Any] = {
    **_OPTIONS,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "pipeline_class": PartCompiler,
}
_log = logging.getLogger(__name__)

# Numba's base classes say nothing of the types of their methods.
_Locator: Any = caching._CacheLocator
_CacheImpl: Any = caching.CompileResultCacheImpl


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function as part of those that call it; Python itself must not call it."""
    return numba.njit(**_PART_OPTIONS)(function)


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make compiled code out of a function that emits it, as `numba.extending.intrinsic`."""
    return numba.extending.intrinsic(function)


def entry(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that Python calls, and keep it, with all it calls, on disk."""
    compiled = numba.njit(**_ENTRY_OPTIONS)(function)
    folder = Path(inspect.getfile(function)).parent
    if _own_directory(cpu_directory(), sources_digest(folder)) is not None:
        compiled._cache = _SourcesCache(function)  # what numba.njit(cache=True) does
    return compiled


@cache
def sources_digest(folder: Path) -> str:
    """Hash every Python source in a folder, and those of this module's."""
    here = Path(__file__).parent
    sources = sorted({*folder.glob("*.py"), *here.glob("*.py")})
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sources:
        content = source.read_bytes()
        digest.update(f"{source.name} {len(content)} ".encode() + content)
    return digest.hexdigest()[:32]


def cache_directory() -> Path | None:
    """Where compiled code is kept, each version of the sources in a folder of its own.

    None if nothing is kept: the variable is empty, or somebody else can write there.
    """
    own = _own_directory(cpu_directory(), sources_digest(Path(__file__).parent))
    return None if own is None else own.parent


@cache
def _own_directory(base: str, name: str) -> Path | None:
    """A directory that nobody else can write, made if need be; None if that is impossible."""
    if not base:
        return None
    path = Path(base) / name
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for each in (path.parent, path):
            status = each.stat()
            if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return None
        return path if os.access(path, os.W_OK) else None
    except OSError:
        return None


class _SourcesLocator(_Locator):
    """Where a function is kept, and what it was compiled from."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._line = function.__code__.co_firstlineno
        self._digest = sources_digest(Path(inspect.getfile(function)).parent)

    def get_cache_path(self) -> str:
        return str(_own_directory(cpu_directory(), self._digest))

    def get_source_stamp(self) -> str:
        return self._digest

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> "_SourcesLocator":
        del py_file
        return cls(py_func)


class _SourcesCacheImpl(_CacheImpl):
    _locator_classes = (_SourcesLocator,)


class _SourcesCache(caching.FunctionCache):
    _impl_class: Any = _SourcesCacheImpl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        # Not as the base class does it, which first imports, in a fifth of a second, all that Numba
        # can compile. What is compiled needs the run time alone, and the compiler sees to the rest.
        rtsys.initialize(target_context)
        found = self._load_overload(sig, target_context)
        if found is None:
            _log.warning(
                "compiling `%s` of the cpu kernel: once for this machine, some seconds",
                self._py_func.__name__,
            )
        return found
