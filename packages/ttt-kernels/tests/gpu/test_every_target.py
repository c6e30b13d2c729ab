"""Every kernel compiles for every accelerator: nothing is executed, so any Triton can do it."""

import pytest
import torch
import triton
from inner_inputs import make_inputs
from kernel_results import results

from ttt_kernels import read_open_tokens
from ttt_kernels.gpu.decode import OpenMiniBatch
from ttt_kernels.reference import InnerParameters
from ttt_kernels.verify import compiling

TARGETS = ("sm_80", "sm_90", "gfx90a", "gfx942", "gfx1030", "gfx1100")
LAST_OF_GFX1030 = (3, 8)
"""Triton's last version that compiles for it."""


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("target", TARGETS)
def test_every_kernel_compiles(target: str, dtype: torch.dtype) -> None:
    version = tuple(int(part) for part in triton.__version__.split(".")[:2])
    if target == "gfx1030" and version > LAST_OF_GFX1030:
        pytest.skip(f"triton {triton.__version__} does not compile for gfx1030")
    x = make_inputs(
        tokens=20, head_dim=32, mini_batch_size=16, batch=1, heads=1, dtype=torch.float32
    ).with_tokens(dtype)
    one, weight, bias = x.tokens(0, 1), x.weights[0][None], x.biases[0][None]
    parameters = InnerParameters((weight,), (bias,))
    none = read_open_tokens(x.k[:, :0], x.v[:, :0], parameters, x.ln_w, x.ln_b, eps=1e-6)
    held = OpenMiniBatch.of(parameters, none, x.lr[:, :0], mini_batch_size=16)
    with compiling(target) as compiled:
        for kernel in ("naive-multi", "tile-multi"):
            results(x, kernel)
        held.step(one.q, one.k, one.v, x.token_eta, one.lr, x.ln_w, x.ln_b)
    names = [each.name for each in compiled]
    assert names == [
        *("naive_forward", "naive_backward", "tile_forward", "tile_backward", "decode_token")
    ]
    assert all(each.report.instructions > 0 for each in compiled)
