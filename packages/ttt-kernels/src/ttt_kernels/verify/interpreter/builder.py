"""What `triton.language` calls to compute, with the numbers and the limits of a GPU."""

from typing import Any

import numpy as np
import triton.language as tl
from numpy.typing import NDArray
from triton._C.libtriton import interpreter as native
from triton._C.libtriton import ir
from triton.backends.compiler import GPUTarget
from triton.compiler.compiler import make_backend
from triton.runtime import interpreter as stock
from triton.runtime.interpreter import TensorHandle

from ttt_kernels.verify.errors import RaceError, UnsupportedError
from ttt_kernels.verify.interpreter.bfloat16 import BFLOAT16, numpy_dtype
from ttt_kernels.verify.interpreter.memory import Memory
from ttt_kernels.verify.interpreter.precision import matmul


class HardenedBuilder(stock.InterpreterBuilder):
    """Triton's interpreter with bfloat16, operand rounding, and checked memory.

    Args:
        target: its rules hold for `tl.dot`: smallest tiles, input precisions.
        memory: of the launch.
    """

    def __init__(self, target: GPUTarget, memory: Memory) -> None:
        super().__init__()
        self.memory = memory
        backend = make_backend(target)
        options = backend.parse_options({})
        self.options = options
        self.codegen_fns["min_dot_size"] = backend.get_codegen_implementation(options)[
            "min_dot_size"
        ]

    def set_grid_idx(self, x: int, y: int, z: int) -> None:
        """Begin a program."""
        super().set_grid_idx(x, y, z)
        self.memory.enter((x, y, z))

    # casts

    def cast_impl(self, src: Any, dst_type: Any) -> Any:
        """Convert numbers, rounding to nearest."""
        data, to = src.data, numpy_dtype(dst_type.scalar)
        if data.dtype == BFLOAT16 or (to == BFLOAT16 and data.dtype != np.float64):
            data = data.astype(np.float32)
        return TensorHandle(data.astype(to), dst_type.scalar)

    def create_fp_to_fp(self, src: Any, dst_type: Any, rounding_mode: Any) -> Any:
        """Convert between floating-point formats."""
        wide = (tl.bfloat16, tl.float16, tl.float32, tl.float64)
        nearest = rounding_mode in (None, ir.ROUNDING_MODE.RTNE)
        if nearest and src.dtype.scalar in wide and dst_type.scalar in wide:
            return self.cast_impl(src, dst_type)
        return super().create_fp_to_fp(src, dst_type, rounding_mode)

    create_si_to_fp = create_ui_to_fp = create_fp_to_si = create_fp_to_ui = cast_impl
    create_fp_ext = create_fp_trunc = cast_impl

    def get_bf16(self, value: float) -> Any:
        """Make a bfloat16 constant."""
        return TensorHandle(np.array([value], dtype=BFLOAT16), tl.bfloat16)

    # products

    def create_dot(self, a: Any, b: Any, d: Any, input_precision: Any, *rest: Any) -> Any:
        """Multiply tiles, accumulating in float32, as the matrix unit does."""
        kinds = (np.float16, np.float32, BFLOAT16)
        if a.data.dtype not in kinds or b.data.dtype not in kinds:
            return super().create_dot(a, b, d, input_precision, *rest)
        product = matmul(a.data, b.data, input_precision) + d.data.astype(np.float32)
        return TensorHandle(product.astype(d.data.dtype), d.dtype.scalar)

    # memory

    def create_masked_load(self, ptrs: Any, mask: Any, other: Any, *_policy: Any, **_: Any) -> Any:
        """Load the lanes of a mask; the others are `other`, or zero."""
        element = ptrs.get_element_ty()
        kind = numpy_dtype(element)
        lanes = _mask(mask, ptrs)
        fill = np.zeros(lanes.shape, kind)
        if other is not None:
            fill[...] = other.data
        real = self.memory.access("load", ptrs.data, lanes, kind.itemsize)
        bits = _bits(kind)
        loaded = native.load(real, lanes, fill.view(bits), bits)
        return TensorHandle(loaded.view(kind), element)

    def create_masked_store(self, ptrs: Any, value: Any, mask: Any, *_policy: Any) -> None:
        """Store the lanes of a mask."""
        kind = numpy_dtype(ptrs.get_element_ty())
        lanes = _mask(mask, ptrs)
        real = self.memory.access("store", ptrs.data, lanes, kind.itemsize)
        data = np.broadcast_to(value.data, lanes.shape).astype(kind)
        bits = np.ascontiguousarray(data).view(_bits(kind))
        self._check_single_writer(real[lanes], bits[lanes])
        native.store(real, bits, lanes)

    def _check_single_writer(self, addresses: NDArray[Any], bits: NDArray[Any]) -> None:
        order = np.argsort(addresses, kind="stable")
        addresses, bits = addresses[order], bits[order]
        twice = (addresses[1:] == addresses[:-1]) & (bits[1:] != bits[:-1])
        if twice.any():
            raise RaceError(
                f"race within a store: {int(twice.sum())} addresses are given different values by"
                f" several lanes, in program {self.memory.program}"
            )

    def create_atomic_rmw(
        self, rmw_op: Any, ptr: Any, val: Any, mask: Any, sem: Any, scope: Any
    ) -> Any:
        """Update memory lane by lane."""
        kind = numpy_dtype(ptr.get_element_ty())
        lanes = _mask(mask, ptr)
        real = TensorHandle(self.memory.access("atomic", ptr.data, lanes, kind.itemsize), ptr.dtype)
        if kind != BFLOAT16:
            whole = TensorHandle(np.ascontiguousarray(lanes), tl.int1)
            return super().create_atomic_rmw(rmw_op, real, val, whole, sem, scope)
        return self._bfloat16_atomic(rmw_op, real.data, val, lanes)

    def _bfloat16_atomic(
        self, rmw_op: Any, real: NDArray[np.uint64], val: Any, lanes: NDArray[np.bool_]
    ) -> Any:
        if rmw_op not in (ir.ATOMIC_OP.FADD, ir.ATOMIC_OP.XCHG):
            raise UnsupportedError(f"no atomic {rmw_op} on bfloat16: GPUs have none either")
        values = np.broadcast_to(val.data, lanes.shape)
        old = np.zeros(lanes.shape, BFLOAT16)
        one, bits = np.ones(1, bool), _bits(BFLOAT16)
        for lane in np.argwhere(lanes):
            at, address = tuple(lane), real[tuple(lane)].reshape(1)
            before = native.load(address, one, np.zeros(1, bits), bits).view(BFLOAT16)
            old[at] = before[0]
            value = values[at].reshape(1)
            after = np.add(before, value) if rmw_op == ir.ATOMIC_OP.FADD else value
            native.store(address, after.view(bits), one)
        return TensorHandle(old, tl.bfloat16)

    def create_atomic_cas(self, ptr: Any, cmp: Any, val: Any, sem: Any, scope: Any) -> Any:
        """Exchange where memory equals `cmp`."""
        size = numpy_dtype(ptr.get_element_ty()).itemsize
        lanes = np.ones(ptr.data.shape, bool)
        real = TensorHandle(self.memory.access("atomic", ptr.data, lanes, size), ptr.dtype)
        return super().create_atomic_cas(real, cmp, val, sem, scope)


def _mask(mask: Any, ptrs: Any) -> NDArray[np.bool_]:
    data = mask.data if hasattr(mask, "data") and not isinstance(mask, np.ndarray) else mask
    shape = np.broadcast_shapes(np.shape(data), ptrs.data.shape)
    return np.ascontiguousarray(np.broadcast_to(data, shape).astype(bool))


def _bits(kind: np.dtype[Any]) -> np.dtype[Any]:
    """The type that the native loads and stores move it as."""
    return np.dtype(np.uint16) if kind == BFLOAT16 else kind
