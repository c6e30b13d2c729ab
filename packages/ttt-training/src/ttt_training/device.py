"""Where and in which arithmetic a model runs."""

import platform
import resource
import sys

import torch
from torch import nn

from ttt_config.train import Dtype

_AUTOCAST = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def default_device() -> torch.device:
    """Give the first CUDA (or ROCm) device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(model: nn.Module) -> torch.device:
    """Give the device a model's parameters are on."""
    return next(model.parameters()).device


def describe_device(device: torch.device) -> str:
    """Name a device for people: the GPU's product name, or the CPU's architecture and threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type} ({platform.machine()}, {threads} thread{'s' if threads > 1 else ''})"


def peak_memory_bytes(device: torch.device) -> int:
    """Give the largest memory held so far: of the device, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def autocast(device: torch.device, dtype: Dtype) -> torch.autocast:
    """Compute in `dtype` inside the block where it is safe; parameters keep their own dtype."""
    return torch.autocast(device.type, dtype=_AUTOCAST[dtype], enabled=dtype != "f32")
