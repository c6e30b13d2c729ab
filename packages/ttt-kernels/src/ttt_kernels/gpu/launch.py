"""How the kernels are launched: warps and pipeline stages by kernel, shape, dtype and device."""

from typing import Any

from torch import Tensor


def settings(kernel: str, q: Tensor, mini_batch_size: int) -> dict[str, Any]:
    """Options of a launch."""
    del mini_batch_size
    wide = q.shape[3] > 64
    return {"num_warps": 8 if wide else 4, "num_stages": 2, "enable_fp_fusion": False}
