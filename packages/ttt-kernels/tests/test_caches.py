"""Where compiled code is kept: what is there, what it is kept by, and that it is never stale."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ttt_kernels.caches import CodeCache, code_caches
from ttt_kernels.verify import compile_kernel
from ttt_kernels.verify.targets import find_target, offline_driver

HELPER = """
import triton
import triton.language as tl

@triton.jit
def scaled(x: tl.tensor) -> tl.tensor:
    return x * {factor}
"""
KERNEL = """
import triton
import triton.language as tl
from cached_helper import scaled

@triton.jit
def scale(x_ptr: tl.tensor) -> None:
    x = tl.load(x_ptr)
    tl.store(x_ptr, scaled(x){more})
"""


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, CodeCache]:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    monkeypatch.setenv("TTT_KERNELS_CACHE", str(tmp_path / "cpu"))
    return {cache.name: cache for cache in code_caches()}


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("cached_helper", "cached_kernel"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))  # restored afterwards
    return folder


def ptx(folder: Path, factor: str, more: str = "") -> tuple[str, str]:
    """The kernel of these sources as Triton's own cache and the offline one hand it out."""
    (folder / "cached_helper.py").write_text(HELPER.format(factor=factor))
    (folder / "cached_kernel.py").write_text(KERNEL.format(more=more))
    for name in ("cached_helper", "cached_kernel"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    kernel = importlib.import_module("cached_kernel").scale
    with offline_driver(find_target("sm_80")):
        compiled = kernel.warmup(torch.zeros(1), grid=(1,))
    return compiled.asm["ptx"], compile_kernel(kernel, torch.zeros(1)).text("ptx")


def test_a_changed_source_is_compiled_anew(caches: dict[str, CodeCache], sources: Path) -> None:
    three = "0f40400000"  # 3.0, 5.0 and 1.0 as PTX writes them
    five, one = "0f40A00000", "0f3F800000"
    for code in ptx(sources, "3.0"):
        assert three in code
    for code in ptx(sources, "5.0"):  # the helper alone has changed
        assert five in code
        assert three not in code
    for code in ptx(sources, "5.0", " + 1.0"):
        assert five in code
        assert one in code
    entries = len(list(caches["triton offline"].folders()))
    assert entries == 3
    ptx(sources, "3.0")
    assert len(list(caches["triton offline"].folders())) == entries


def test_clearing_leaves_what_is_not_compiled_code(
    caches: dict[str, CodeCache], sources: Path
) -> None:
    ptx(sources, "3.0")
    (caches["cpu"].directory / ("0" * 32)).mkdir(parents=True)
    for cache in caches.values():
        assert list(cache.folders()), cache.name
        (cache.directory / "mine").mkdir()
        (cache.directory / "mine" / "notes.txt").write_text("keep")
        cache.clear()
        assert not list(cache.folders())
        assert (cache.directory / "mine" / "notes.txt").read_text() == "keep"
        assert cache.size_bytes() == 0


def test_a_link_to_elsewhere_is_no_entry(caches: dict[str, CodeCache], tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    cache = caches["cpu"]
    cache.directory.mkdir()
    (cache.directory / ("1" * 32)).symlink_to(elsewhere)
    cache.clear()
    assert elsewhere.is_dir()


def test_no_cache_of_the_cpu_kernel_if_it_is_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTT_KERNELS_CACHE", "")
    assert "cpu" not in [cache.name for cache in code_caches()]
