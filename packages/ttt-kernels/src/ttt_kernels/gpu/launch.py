"""How the kernels are launched: warps and pipeline stages."""

from typing import Any


def settings(dim: int) -> dict[str, Any]:
    """Options of a launch for heads of `dim` features.

    Contraction of a product and a sum into one rounding is off: where lanes hold copies of a sum,
    each adds another's product to its own, and the copies would differ in the last bit.
    """
    return {"num_warps": 8 if dim > 64 else 4, "num_stages": 2, "enable_fp_fusion": False}
