"""What each kernel can compute, as a table, and what is asked of one.

The table is for choosing and for people: a kernel that refuses by shape, strides or options says so
in `Kernel.refusal`, which sees the arguments themselves.
"""

import importlib.util
import os
import sys
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

import torch

from ttt_kernels.kernel import InnerLoop

KINDS = ("linear", "linear-adam", "mlp", "mlp2", "mlp3", "mlp4")
"""Inner models by the names of the configuration; `mlp3` has three hidden layers."""


class Problem(NamedTuple):
    """What a kernel is asked for, as far as the table can tell.

    Attributes:
        kind: one of `KINDS`, or `mlp` with a higher number.
        device: type of the device, as `cpu`; None while that is not known.
        dtype: of the state.
    """

    kind: str
    device: str | None = None
    dtype: torch.dtype = torch.float32

    @classmethod
    def of(cls, loop: InnerLoop) -> "Problem":
        """Read it off the arguments."""
        kind = kind_of(len(loop.parameters.weights), adam=loop.adam is not None)
        return cls(kind, loop.q.device.type, loop.lr.dtype)


def kind_of(layers: int, *, adam: bool) -> str:
    """Name the inner model of so many weight matrices."""
    if layers == 1:
        return "linear-adam" if adam else "linear"
    return "mlp" if layers == 2 else f"mlp{layers - 1}"


@dataclass(frozen=True)
class Capability:
    """A row of the table; None stands for anything.

    Attributes:
        kinds: inner models it computes.
        devices: types of devices it runs on.
        dtypes: of the state; tokens may have any float dtype.
        shapes: for people: what it asks of D, M and T.
        needs: a module that has to be installed.
        about: for people: what it is.
    """

    kinds: tuple[str, ...] | None = None
    devices: tuple[str, ...] | None = None
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64)
    shapes: str = "any"
    needs: str | None = None
    about: str = ""

    def refusal(self, problem: Problem) -> str | None:
        """Say in a few words why a problem cannot be solved; None if it can, or may."""
        if self.kinds is not None and problem.kind not in self.kinds:
            return f"it computes {', '.join(self.kinds)}, not {problem.kind}"
        if not (self.runs_on(problem.device) or (problem.device == "cpu" and self.interpreted)):
            return f"it runs on {', '.join(self.devices or ())}, not {problem.device}"
        if problem.dtype not in self.dtypes:
            return f"its state is {' or '.join(map(dtype_name, self.dtypes))}"
        return None

    def runs_on(self, device: str | None) -> bool:
        """Whether it was made for a type of device, or for any."""
        return self.devices is None or device is None or device in self.devices

    @property
    def interpreted(self) -> bool:
        """Whether launches are interpreted just now, on tensors in main memory (slowly)."""
        if self.needs != "triton":
            return False
        verifying = sys.modules.get("ttt_kernels.verify.launch")
        return os.environ.get("TRITON_INTERPRET") == "1" or (
            verifying is not None and verifying.intercepting()
        )

    def missing(self) -> str:
        """Say why the kernel is not part of this installation."""
        if self.needs is not None and importlib.util.find_spec(self.needs) is None:
            return f"{self.needs} is not installed"
        return "not in this version"


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a dtype without `torch.`."""
    return str(dtype).removeprefix("torch.")


class _Row(TypedDict):
    kinds: tuple[str, ...]
    devices: tuple[str, ...]
    dtypes: tuple[torch.dtype, ...]
    needs: str


_TRITON: _Row = {
    "kinds": ("linear",),
    "devices": ("cuda",),
    "dtypes": (torch.float32,),
    "needs": "triton",
}

CAPABILITIES: dict[str, Capability] = {
    "reference": Capability(about="batched matrix products of torch; the oracle of all others"),
    "cpu": Capability(
        devices=("cpu",), needs="numba", about="compiled vector code, the state in the cache"
    ),
    "naive": Capability(
        **_TRITON, shapes="D <= 128", about="a launch for each mini-batch, no matrix units"
    ),
    "naive-multi": Capability(
        **_TRITON, shapes="D <= 128", about="a launch for all mini-batches, no matrix units"
    ),
    "tile": Capability(
        **_TRITON, shapes="D <= 128", about="a launch for each mini-batch, matrix units"
    ),
    "tile-multi": Capability(
        **_TRITON, shapes="D <= 128", about="a launch for all mini-batches, matrix units"
    ),
    "d2d-streaming": Capability(
        **_TRITON, shapes="not settled", about="a launch that stays, fed by copies on the device"
    ),
    "ptr-streaming": Capability(
        **_TRITON, shapes="not settled", about="a launch that stays, fed by pointers"
    ),
}
"""Every kernel name the project speaks of, whether or not this installation has it."""
