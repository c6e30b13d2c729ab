"""A kernel to try the tools on."""

import triton
import triton.language as tl


@triton.jit
def softmax(x_ptr: tl.tensor, out_ptr: tl.tensor, columns: tl.tensor, BLOCK: tl.constexpr) -> None:
    """Softmax of each row of a contiguous matrix; one program a row.

    Args:
        x_ptr: (rows, columns).
        out_ptr: the same.
        columns: at most BLOCK.
        BLOCK: a power of two.
    """
    i = tl.arange(0, BLOCK)
    at = tl.program_id(0) * columns + i
    x = tl.load(x_ptr + at, mask=i < columns, other=-float("inf")).to(tl.float32)
    exponents = tl.exp(x - tl.max(x, 0))
    result = exponents / tl.sum(exponents, 0)
    tl.store(out_ptr + at, result.to(out_ptr.dtype.element_ty), mask=i < columns)
