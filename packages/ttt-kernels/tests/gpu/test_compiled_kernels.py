"""The tile kernels as a GPU would run them: compiled for sm_80, executed by the PTX simulator."""

import pytest
import torch
from inner_inputs import make_inputs
from kernel_results import assert_close, expected_results, results

from ttt_kernels.verify import compiling, poisoned, simulated

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


@pytest.mark.parametrize("kernel", ["naive-multi", "tile-multi"])
def test_a_new_length_is_no_new_kernel(kernel: str) -> None:
    code: list[set[str]] = [set(), set()]  # forward, backward
    for tokens in (1, 5, 8, 16):
        x = make_inputs(
            tokens=tokens, head_dim=16, mini_batch_size=4, batch=1, heads=3, dtype=torch.float32
        )
        with compiling("sm_80") as compiled:
            results(x, kernel)
        for known, each in zip(code, compiled, strict=True):
            known.add(each.text("ptx"))
    assert [len(known) for known in code] == [1, 1]
