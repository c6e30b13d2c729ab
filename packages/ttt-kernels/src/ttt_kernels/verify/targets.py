"""The accelerators a kernel can be compiled for, and a driver that stands in for each."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime.driver import driver as driver_config

from ttt_kernels.verify.errors import LaunchError

TARGETS: dict[str, GPUTarget] = {
    **{f"sm_{arch}": GPUTarget("cuda", arch, 32) for arch in (75, 80, 86, 89, 90, 100, 120)},
    **{arch: GPUTarget("hip", arch, 64) for arch in ("gfx90a", "gfx942", "gfx950")},
    **{arch: GPUTarget("hip", arch, 32) for arch in ("gfx1030", "gfx1100", "gfx1201")},
}
"""What to compile for, by the name of the instruction set."""


def find_target(name: str) -> GPUTarget:
    """The target of that name.

    Raises:
        LaunchError: there is none.
    """
    if name not in TARGETS:
        raise LaunchError(f"no target `{name}`; there are {', '.join(TARGETS)}")
    return TARGETS[name]


class OfflineDriver(DriverBase):
    """Answers what the compiler asks a GPU's driver; nothing can be launched on it."""

    def __init__(self, target: GPUTarget) -> None:
        super().__init__()
        self._target = target

    @classmethod
    def is_active(cls) -> bool:
        """Say that there is such a device."""
        return True

    def map_python_to_cpp_type(self, ty: str) -> str:
        """Leave a type as it is: no launcher is compiled."""
        return ty

    def get_current_target(self) -> GPUTarget:
        """Return the target that was asked for."""
        return self._target

    def get_current_device(self) -> int:
        """Return an index that no device has."""
        return -1

    def get_current_stream(self, _device: int) -> int:
        """Return the default stream."""
        return 0

    def get_active_torch_device(self) -> torch.device:
        """Return where the tensors are."""
        return torch.device("cpu")

    def get_benchmarker(self) -> Any:
        """Return a benchmark that finds everything equally fast: an autotuner takes the first."""

        def benchmark(*_args: Any, **_keywords: Any) -> list[float]:
            return [0.0, 0.0, 0.0]

        return benchmark


@contextmanager
def offline_driver(target: GPUTarget) -> Iterator[None]:
    """Let Triton believe that the current device is of this target."""
    previous = driver_config._active
    driver_config.set_active(OfflineDriver(target))
    try:
        yield
    finally:
        driver_config._active = previous
