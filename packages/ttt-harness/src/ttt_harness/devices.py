"""What runs can be placed on, and how much memory of it may be used.

GPUs are asked for by the vendors' libraries, if those are installed; else a machine is one CPU.
"""

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from ttt_config import HarnessConfig

GIB = 2**30
UNBOUNDED = 2**60
"""Capacity, in bytes, of what a queue gives out."""
Kind = Literal["cuda", "hip", "cpu"]

_VISIBLE: dict[Kind, str] = {"cuda": "CUDA_VISIBLE_DEVICES", "hip": "HIP_VISIBLE_DEVICES"}


class Device(NamedTuple):
    """A GPU, or the CPU with the machine's RAM."""

    name: str
    """`cuda:0`, on another machine `cuda:0@HOST`; unique."""
    kind: Kind
    model: str
    """For people."""
    capacity_bytes: int
    """That runs may take now: of what there is, without the margin and what others hold."""
    limit_bytes: int
    """That they may take when nobody else holds any."""

    @property
    def environment(self) -> dict[str, str]:
        """By which a process sees this device and no other."""
        index = self.name.partition("@")[0].partition(":")[2]
        return {_VISIBLE[self.kind]: index} if index else {}


def kind_of(name: str) -> str:
    """The kind of a device, from its name."""
    return name.partition("@")[0].partition(":")[0]


class Memory(NamedTuple):
    """What a device was found to be."""

    index: str
    """As the driver counts, or as the user named it."""
    model: str
    total_bytes: int
    used_bytes: int


def find_devices(settings: HarnessConfig, reserved: Mapping[str, int]) -> list[Device]:
    """The devices of this machine, with the memory that runs may take of each.

    Args:
        settings: `total_vram_gb` overrules what is found; `vram_margin` stays free.
        reserved: bytes that runs of this harness hold already, by the name of the device; they do
            not count as held by others.
    """
    found: list[tuple[Kind, Memory]] = [("cuda", each) for each in _nvidia()]
    found = found or [("hip", each) for each in _amd()]
    found = found or [("cpu", _ram())]
    return [_device(settings, kind, memory, reserved) for kind, memory in found]


def _device(
    settings: HarnessConfig, kind: Kind, memory: Memory, reserved: Mapping[str, int]
) -> Device:
    name, given = "cpu" if kind == "cpu" else f"{kind}:{memory.index}", settings.total_vram_gb
    others = max(0, memory.used_bytes - reserved.get(name, 0))
    limit = int((memory.total_bytes if given is None else given * GIB) * (1 - settings.vram_margin))
    return Device(
        name=name,
        kind=kind,
        model=memory.model,
        capacity_bytes=max(0, limit - others) if given is None else limit,
        limit_bytes=limit,
    )


def visible(indices: Sequence[str], named: str | None) -> list[str]:
    """Which devices a process may use, under the names that the environment gives them.

    Args:
        indices: all, as the driver counts.
        named: value of CUDA_VISIBLE_DEVICES or its like; None if it is not set.
    """
    if named is None:
        return list(indices)
    chosen = [each.strip() for each in named.split(",") if each.strip()]
    valid = []
    for each in chosen:  # what follows one that is not valid is hidden, as CUDA does
        if (each.isdecimal() and each not in indices) or each.startswith("-"):
            break
        valid.append(each)
    return valid


def _nvidia() -> Iterator[Memory]:
    try:
        import pynvml
    except ImportError:
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver
        return
    try:
        indices = [str(number) for number in range(pynvml.nvmlDeviceGetCount())]
        for name in visible(indices, os.environ.get("CUDA_VISIBLE_DEVICES")):
            if name.isdecimal():
                handle = pynvml.nvmlDeviceGetHandleByIndex(int(name))
            else:
                handle = pynvml.nvmlDeviceGetHandleByUUID(name)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            model = pynvml.nvmlDeviceGetName(handle)
            yield Memory(name, str(model), int(memory.total), int(memory.used))
    finally:
        pynvml.nvmlShutdown()


def _amd() -> Iterator[Memory]:
    try:
        amdsmi = importlib.import_module("amdsmi")  # extra `amd`
    except (ImportError, KeyError, OSError):  # it looks for ROCm's libraries when imported
        return
    try:
        amdsmi.amdsmi_init()
    except amdsmi.AmdSmiException:
        return
    try:
        handles = amdsmi.amdsmi_get_processor_handles()
        indices = [str(number) for number in range(len(handles))]
        for name in visible(indices, os.environ.get("HIP_VISIBLE_DEVICES")):
            handle = handles[int(name)]
            kind = amdsmi.AmdSmiMemoryType.VRAM
            total = amdsmi.amdsmi_get_gpu_memory_total(handle, kind)
            used = amdsmi.amdsmi_get_gpu_memory_usage(handle, kind)
            model = amdsmi.amdsmi_get_gpu_asic_info(handle)["market_name"]
            yield Memory(name, str(model), int(total), int(used))
    finally:
        amdsmi.amdsmi_shut_down()


def _ram() -> Memory:
    import psutil

    memory = psutil.virtual_memory()
    total = memory.total
    with suppress(OSError, ValueError):  # a container may have less than its machine
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return Memory("", "RAM", total, min(total, memory.total - memory.available))
