"""A vector register as a type of compiled code, with loads, stores, + - * and a sum.

LLVM turns loops over an array into vector code only behind checks that no two arrays overlap, and
on rows of 64 numbers these checks take longer than the work. Code written in vectors needs none.

    total = zeros(row_of)
    for d in range(0, width, vector_length(x)):
        total += load(x, i, d) * load(y, i, d)
    dot = total_of(total)
"""

import operator
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

from ttt_kernels.cpu.jit import intrinsic


def _vector_bytes() -> int:
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx2") else 16


VECTOR_BYTES = _vector_bytes()
"""Width of this machine's vector registers."""
INDEX = ir.IntType(64)
_LANE = ir.IntType(32)


class Vector(types.Type):
    """As many numbers of one type as fit a register."""

    def __init__(self, number: Any) -> None:
        self.number = number
        self.count = VECTOR_BYTES * 8 // number.bitwidth
        super().__init__(name=f"Vector({number} x {self.count})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        number = manager.lookup(kind.number).get_value_type()
        super().__init__(manager, kind, ir.VectorType(number, kind.count))


class _Arithmetic(AbstractTemplate):
    """Vector with vector, or with a number that then stands in every lane."""

    def generic(self, args: Any, kws: Any) -> Any:
        del kws
        if len(args) != 2 or not any(isinstance(each, Vector) for each in args):
            return None
        vector = next(each for each in args if isinstance(each, Vector))
        if all(each in (vector, vector.number) for each in args):
            return signature(vector, *args)
        return None


def _emit(instruction: str) -> Any:
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = context.get_value_type(sig.return_type)
        left, right = (
            value if isinstance(kind, Vector) else broadcast(builder, value, vector)
            for kind, value in zip(sig.args, args, strict=True)
        )
        return getattr(builder, instruction)(left, right)

    return lower


_register: Any = infer_global
for _operator, _instruction in (
    (operator.add, "fadd"),
    (operator.iadd, "fadd"),
    (operator.sub, "fsub"),
    (operator.isub, "fsub"),
    (operator.mul, "fmul"),
):
    _register(_operator)(type(f"_{_instruction}", (_Arithmetic,), {}))
    for _sides in ((Vector, Vector), (Vector, types.Float), (types.Float, Vector)):
        lower_builtin(_operator, *_sides)(_emit(_instruction))


def broadcast(builder: Any, value: Any, vector: Any) -> Any:
    """Emit a vector with a number in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, _LANE(0))
    zeros = ir.Constant(ir.VectorType(_LANE, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, zeros)


@intrinsic
def vector_length(typing_context: Any, array: Any) -> Any:
    """Numbers of an array's type in a vector, a constant to the compiler."""
    del typing_context
    count = INDEX(Vector(array.dtype).count)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        del context, builder, sig, args
        return count

    return types.intp(array), emit


@intrinsic
def zeros(typing_context: Any, array: Any) -> Any:
    """A vector of zeros of an array's type."""
    del typing_context

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        del builder, args
        return ir.Constant(context.get_value_type(sig.return_type), None)

    return Vector(array.dtype)(array), emit


@intrinsic
def load(typing_context: Any, array: Any, row: Any, column: Any) -> Any:
    """Read a vector from a C-contiguous matrix, from (row, column) on."""
    del typing_context, row, column

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _place(context, builder, sig.args[0], *args)
        return builder.load(place, align=sig.args[0].dtype.bitwidth // 8)

    return Vector(array.dtype)(array, types.intp, types.intp), emit


@intrinsic
def store(typing_context: Any, array: Any, row: Any, column: Any, vector: Any) -> Any:
    """Write a vector into a C-contiguous matrix, from (row, column) on."""
    del typing_context, row, column

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _place(context, builder, sig.args[0], *args[:3])
        builder.store(args[3], place, align=sig.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vector), emit


@intrinsic
def total_of(typing_context: Any, vector: Any) -> Any:
    """Sum of the lanes."""
    del typing_context

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = context.get_value_type(sig.return_type)
        kind = context.get_value_type(sig.args[0])
        name = f"llvm.vector.reduce.fadd.v{kind.count}f{sig.return_type.bitwidth}"
        reduce = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(number, [number, kind]), name
        )
        return builder.call(reduce, [ir.Constant(number, -0.0), args[0]], fastmath=("reassoc",))

    return vector.number(vector), emit


def matrix(context: Any, builder: Any, kind: Any, value: Any) -> tuple[Any, Any]:
    """Emit the address of an array, and how many numbers one row is from the next."""
    fields = context.data_model_manager[kind]
    data = builder.extract_value(value, fields.get_field_position("data"))
    strides = builder.extract_value(value, fields.get_field_position("strides"))
    size = INDEX(kind.dtype.bitwidth // 8)
    return data, builder.sdiv(builder.extract_value(strides, 0), size, flags=("exact",))


def _place(context: Any, builder: Any, kind: Any, value: Any, row: Any, column: Any) -> Any:
    data, row_step = matrix(context, builder, kind, value)
    vector = context.get_value_type(Vector(kind.dtype))
    index = builder.add(builder.mul(row, row_step), column)
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())
