"""The GPU: whether there is one, whether its driver and this torch understand each other."""

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from ttt_training.doctor.finding import Finding, ok, problem, warning

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
AMD_DEVICE = Path("/dev/kfd")


def check_device() -> Iterator[Finding]:
    """Say what torch computes on, and why not on a GPU that is there."""
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
    if usable:
        for index in range(torch.cuda.device_count()):
            yield _of_gpu(index)
        return
    vendor = _vendor_of_unused_gpu()
    if vendor is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        yield ok("device", f"no GPU: {cores} CPU cores, {torch.backends.cpu.get_cpu_capability()}")
        return
    reason = "; ".join(str(each.message).split("\n")[0] for each in said)
    yield _unused(vendor, reason)


def _vendor_of_unused_gpu() -> str | None:
    if NVIDIA_DRIVER.exists():
        return "NVIDIA"
    return "AMD" if AMD_DEVICE.exists() else None


def _unused(vendor: str, reason: str) -> Finding:
    """Why torch does not see a GPU whose driver is loaded."""
    import torch

    here = f"there is the driver of an {vendor} GPU, but"
    built = torch.version.cuda if vendor == "NVIDIA" else torch.version.hip
    if built is None:
        backend = "cuda" if vendor == "NVIDIA" else "rocm7.2"
        fix = f"install torch for it: scripts/setup_env.sh {backend}"
        return problem("device", f"{here} this torch was not built for it", fix)
    if vendor == "AMD":
        if not os.access(AMD_DEVICE, os.R_OK | os.W_OK):
            fix = "join its group: sudo usermod -aG render,video $USER, then log in again"
            return problem("device", f"{here} {AMD_DEVICE} is closed to this user", fix)
        fix = "see `rocminfo`; HIP_VISIBLE_DEVICES must not hide it"
        return problem("device", f"{here} torch (ROCm {built}) finds none. {reason}".rstrip(), fix)
    driver = _nvidia_driver()
    fix = (
        f"update the driver {driver} to one for CUDA {built} (`nvidia-smi` shows what it is for); "
        "CUDA_VISIBLE_DEVICES must not hide it"
    )
    return problem("device", f"{here} torch (CUDA {built}) finds none. {reason}".rstrip(), fix)


def _nvidia_driver() -> str:
    found = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", NVIDIA_DRIVER.read_text())
    return found[1] if found else ""


def _of_gpu(index: int) -> Finding:
    """Name a GPU; compare its architecture with those this torch was compiled for."""
    import torch

    about = torch.cuda.get_device_properties(index)
    compiled = torch.cuda.get_arch_list()
    found = f"{about.name}, {about.total_memory / 2**30:.0f} GiB"
    if torch.version.hip:
        own = about.gcnArchName.split(":")[0]
        fix = "HSA_OVERRIDE_GFX_VERSION=10.3.0 lets gfx1031 to gfx1036 run code for gfx1030"
        fits = own in compiled
    else:
        own = f"sm_{about.major}{about.minor}"
        fix = "take a torch that was: scripts/setup_env.sh, or an older release with CUDA 12"
        fits = any(_runs_on(each, about.major, about.minor) for each in compiled)
    found = f"{found}, {own}"
    if not fits:
        text = f"{found}: torch was compiled for {', '.join(compiled)}"
        return problem("device", text, fix)
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        return warning("device", f"{found}, without bfloat16", "train with --dtype f16")
    return ok("device", found)


def _runs_on(compiled: str, major: int, minor: int) -> bool:
    """Whether code for sm_XY runs on a device: same major version, and not a newer minor one."""
    matched = re.fullmatch(r"(?:sm|compute)_(\d+)(\d)[a-z]*", compiled)
    if matched is None:
        return False
    if compiled.startswith("compute"):
        return (int(matched[1]), int(matched[2])) <= (major, minor)
    return int(matched[1]) == major and int(matched[2]) <= minor
