"""The tile kernels as a GPU would run them: compiled for sm_80, executed by the PTX simulator."""

import pytest
import torch
from inner_inputs import make_inputs
from kernel_results import assert_close, expected_results, results

from ttt_kernels.verify import poisoned, simulated

SHAPES = {"whole tiles": (64, 16, 40), "padded tiles": (24, 5, 13), "several tiles": (32, 20, 50)}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 1.5e-2), (torch.float16, 2e-3)])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_compiled_code_computes_what_the_reference_does(
    dtype: torch.dtype, tolerance: float, shape: tuple[int, int, int]
) -> None:
    dim, size, tokens = shape
    x = make_inputs(
        head_dim=dim, mini_batch_size=size, tokens=tokens, batch=1, heads=1, dtype=torch.float32
    )
    x = x.with_tokens(dtype)
    with poisoned(), simulated() as runs:
        found = results(x, "tile-multi")
    assert len(runs) == 2
    assert all(run.pending_copies == 0 for run in runs)
    assert_close(found, expected_results(x), lambda _: tolerance)
