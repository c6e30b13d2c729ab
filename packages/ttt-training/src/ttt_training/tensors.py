"""Named tensors on the disk, as safetensors."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from ttt_config import CheckpointMismatchError


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to a file.

    Raises:
        OSError, safetensors.SafetensorError: the disk refused it.
    """
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(on_cpu, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read what `write_tensors` wrote, onto the CPU."""
    return safetensors.torch.load_file(path)


def check_fit(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compare names, shapes and dtypes.

    Raises:
        CheckpointMismatchError: they differ.
    """
    if missing := sorted(expected.keys() - found.keys()):
        raise CheckpointMismatchError(f"{path} lacks {_some(missing)}; was the model changed?")
    if surplus := sorted(found.keys() - expected.keys()):
        raise CheckpointMismatchError(f"{path} has {_some(surplus)}, which the model has not")
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
            raise CheckpointMismatchError(
                f"{path}: `{name}` is {_describe(found[name])}; "
                f"the model expects {_describe(tensor)}"
            )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"`{name}`" for name in names[:3]) + more


def _describe(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {tensor.dtype}".replace("torch.", "")
