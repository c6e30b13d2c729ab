"""The kernels: whether each computes what the reference does, and what is kept of compiling."""

import os
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ttt_training.doctor.finding import Finding, ok, problem, warning

if TYPE_CHECKING:
    from ttt_kernels.caches import CodeCache


def check_kernel() -> Iterator[Finding]:
    """Run one tile through every kernel with a device here, forward and backward."""
    import torch

    from ttt_kernels.self_check import ONE_TILE, check_kernels, checkable_kernels

    for name in checkable_kernels():
        start_s = time.perf_counter()
        try:
            found = check_kernels(
                [name], kinds=["linear"], cases=[ONE_TILE], dtypes=[torch.float32]
            )
        except Exception as error:  # a compiler or a driver may raise anything
            fix = f"see `ttt kernels check --kernel {name} --debug`; meanwhile --kernel reference"
            text = str(error).strip().split("\n")[0]
            yield problem("kernel", f"{name} fails: {type(error).__name__}: {text}", fix)
            continue
        worst = max(found, key=lambda each: each.error / each.tolerance)
        if worst.passed:
            took = f"{time.perf_counter() - start_s:.1f} s with compilation"
            off = f"off by {worst.error:.0e} at most, {worst.tolerance:.0e} is allowed"
            yield ok("kernel", f"{name}: one tile and its gradients, {off} ({took})")
        else:
            fix = f"use --kernel reference; `ttt kernels check --kernel {name}` shows all results"
            yield problem("kernel", str(worst), fix)


def check_caches() -> Iterator[Finding]:
    """Say where compiled kernels are kept, by what they are known again, and what can go."""
    from ttt_kernels.caches import CACHE_VARIABLE, code_caches

    if find_spec("numba"):
        from ttt_kernels import cpu
        from ttt_kernels.cpu.jit import cache_directory, sources_digest

        digest = sources_digest(Path(cpu.__path__[0]))
        yield _cpu_cache(cache_directory(), digest, CACHE_VARIABLE)
    yield from (_triton_cache(each) for each in code_caches() if each.name == "triton")


def _cpu_cache(folder: Path | None, digest: str, variable: str) -> Finding:
    """Of the kernel `cpu`: a folder for each digest of its sources, of which one is in use."""
    if folder is None:
        text = "compiled code of the kernel `cpu` is not kept: every process compiles it anew"
        fix = f"set {variable} to a directory that only you can write, or unset it"
        return warning("caches", text, fix)
    others = [each for each in folder.iterdir() if each.is_dir() and each.name != digest]
    found = f"cpu: {folder}, {size_of([folder / digest])} for sources {digest[:12]}"
    if not others:
        return ok("caches", found)
    text = f"{found}; {size_of(others)} for sources that are no longer these"
    return ok("caches", text)


def _triton_cache(cache: "CodeCache") -> Finding:
    """Of Triton, which keys what it compiled by everything that decides what comes out."""
    folder = cache.directory
    parent = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(parent, os.W_OK):
        fix = f"set {cache.variable} to a directory that you can write"
        return problem("caches", f"triton: {folder} cannot be written", fix)
    return ok("caches", f"triton: {folder}, {size_of([folder])}; key: {cache.key}")


def size_of(folders: Sequence[Path]) -> str:
    """The files below some folders, in MB."""
    sizes = [
        each.stat().st_size for folder in folders for each in folder.rglob("*") if each.is_file()
    ]
    return f"{sum(sizes) / 1e6:,.1f} MB in {len(sizes)} files"
