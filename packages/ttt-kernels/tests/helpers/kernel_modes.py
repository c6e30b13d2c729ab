"""The ways to run a kernel of a few lines without a GPU, and what to run it on."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from ttt_kernels.verify import hardened, simulated

MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "interpreted": hardened,
    "compiled": simulated,
}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def padded(tile: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(tile, (0, width - tile.shape[-1]))
