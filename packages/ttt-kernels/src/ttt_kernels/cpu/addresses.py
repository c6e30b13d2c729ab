"""Tensors by their addresses, one array of integers for them all.

A token passes some twenty small tensors through each layer. Given to compiled code one by one, to
unpack them would take longer than the token.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.np.arrayobj import make_array, populate_array
from torch import Tensor

from ttt_kernels.cpu.jit import intrinsic
from ttt_kernels.cpu.vector import INDEX, data_of


def addresses_of(tensors: Iterable[Tensor]) -> np.ndarray:
    """Where each of the tensors begins; they have to be contiguous, and outlive the array."""
    return np.array([tensor.data_ptr() for tensor in tensors], np.int64)


@intrinsic
def part_of(
    typing_context: Any, addresses: Any, place: Any, index: Any, count: Any, like: Any
) -> Any:
    """Part number `index` of the tensor whose address is at `place`, in parts of `count` numbers.

    The numbers are of the type of the array `like`.
    """
    del typing_context, place, index, count
    kind = types.Array(like.dtype, 1, "C")

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = data_of(context, builder, sig.args[0], args[0])
        address = builder.load(builder.gep(data, [args[1]]))
        numbers = context.get_value_type(kind.dtype)
        size = INDEX(kind.dtype.bitwidth // 8)
        first = builder.mul(args[2], args[3])
        start = builder.gep(builder.inttoptr(address, ir.PointerType(numbers)), [first])
        array = make_array(kind)(context, builder)
        populate_array(
            array, data=start, shape=[args[3]], strides=[size], itemsize=size, meminfo=None
        )
        return array._getvalue()

    return kind(addresses, types.intp, types.intp, types.intp, like), emit
