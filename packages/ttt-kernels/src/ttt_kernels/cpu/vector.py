"""A vector register as a type of compiled code, with loads, stores, + - * /, roots and a sum.

LLVM turns loops over an array into vector code only behind checks that no two arrays overlap, and
on rows of 64 numbers these checks take longer than the work. Code written in vectors needs none.

    total = zeros(x)
    for i in range(0, len(x), vector_length(x)):
        total += load(x, i) * load(y, i)
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
LINE_BYTES = 64
"""Of memory that moves through the caches as one, on all machines of today."""
WHOLE_LINES = VECTOR_BYTES == LINE_BYTES
"""Whether a vector is a whole line: what is written and not read again soon goes past the caches.
Otherwise its memory has to be asked for before it is written, see `claim`."""
INDEX = ir.IntType(64)
_LANE = ir.IntType(32)
_BYTES = ir.IntType(8).as_pointer()


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
    (operator.truediv, "fdiv"),
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
def load(typing_context: Any, array: Any, index: Any) -> Any:
    """Read a vector from contiguous memory, from that number on."""
    del typing_context, index

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _place(context, builder, sig.args[0], *args)
        return builder.load(place, align=sig.args[0].dtype.bitwidth // 8)

    return Vector(array.dtype)(array, types.intp), emit


@intrinsic
def store(typing_context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write a vector into contiguous memory, from that number on."""
    del typing_context, index

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _place(context, builder, sig.args[0], *args[:2])
        builder.store(args[2], place, align=sig.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), emit


@intrinsic
def stream(typing_context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write what is not read again soon, as `store` but past the caches.

    The array has to start on the border of a line, and `index` be that of a whole vector.
    """
    del typing_context, index

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _emit_stream(builder, args[2], _place(context, builder, sig.args[0], *args[:2]))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), emit


@intrinsic
def row(typing_context: Any, panel: Any, index: Any) -> Any:
    """Read a row of a panel, whose rows are vectors."""
    del typing_context, index

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _place(context, builder, sig.args[0], args[0], _row_start(builder, sig, args[1]))
        return builder.load(place, align=sig.args[0].dtype.bitwidth // 8)

    return Vector(panel.dtype)(panel, types.intp), emit


@intrinsic
def put(typing_context: Any, panel: Any, index: Any, vector: Any) -> Any:
    """Write a row of a panel."""
    del typing_context, index

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _place(context, builder, sig.args[0], args[0], _row_start(builder, sig, args[1]))
        builder.store(args[2], place, align=sig.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(panel, types.intp, vector), emit


@intrinsic
def spread(typing_context: Any, array: Any, index: Any) -> Any:
    """One number of contiguous memory, in every lane."""
    del typing_context, index

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = builder.gep(data_of(context, builder, sig.args[0], args[0]), [args[1]])
        return broadcast(builder, builder.load(place), context.get_value_type(sig.return_type))

    return Vector(array.dtype)(array, types.intp), emit


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


@intrinsic
def totals_of(typing_context: Any, panel: Any, index: Any) -> Any:
    """Sums of the lanes of as many rows as a vector has lanes, from the row `index` on.

    Each pass turns two vectors of sums into one of sums of half as many numbers.
    """
    del typing_context, index

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count, size = sig.return_type.count, sig.args[0].dtype.bitwidth // 8
        start = _row_start(builder, sig, args[1])
        sums = []
        for n in range(count):
            index = builder.add(start, INDEX(n * count))
            place = _place(context, builder, sig.args[0], args[0], index)
            sums.append(builder.load(place, align=size))
        bit = count // 2
        while bit:
            pairs = [_swap_lanes(builder, sums[n], sums[n + bit], bit) for n in range(bit)]
            sums = [builder.fadd(low, high) for low, high in pairs]
            bit //= 2
        return sums[0]

    return Vector(panel.dtype)(panel, types.intp), emit


def _prefetch(to_write: int) -> Any:
    """Make the function that asks for the number at an index, or where that would be."""

    @intrinsic
    def ask(typing_context: Any, array: Any, index: Any) -> Any:
        del typing_context, index

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            data = data_of(context, builder, sig.args[0], args[0])
            place = builder.bitcast(builder.gep(data, [args[1]]), _BYTES)
            kind = ir.FunctionType(ir.VoidType(), [_BYTES, _LANE, _LANE, _LANE])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            builder.call(function, [place, _LANE(to_write), _LANE(2), _LANE(1)])  # second cache
            return context.get_dummy_value()

        return types.void(array, types.intp), emit

    return ask


prefetch = _prefetch(0)
"""Ask for what is read soon."""
claim = _prefetch(1)
"""Ask for memory that is written soon."""


@intrinsic
def root_of(typing_context: Any, vector: Any) -> Any:
    """Square root of every lane."""
    del typing_context

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = context.get_value_type(sig.return_type)
        name = f"llvm.sqrt.v{kind.count}f{sig.return_type.number.bitwidth}"
        root = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), name)
        return builder.call(root, args)

    return vector(vector), emit


def _transpose(streamed: bool) -> Any:
    """Make the function that transposes a square matrix, as wide as a vector is long.

    Each pass swaps, in pairs of rows whose numbers differ in one bit, the lanes that differ in it.
    The first pass is made by loading halves of rows, which is no work for the unit that shuffles.
    """

    @intrinsic
    def transpose(
        typing_context: Any,
        out: Any,
        out_at: Any,
        out_step: Any,
        source: Any,
        source_at: Any,
        source_step: Any,
    ) -> Any:
        del typing_context, out_at, out_step, source_at, source_step

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            number, size = sig.args[0].dtype, sig.args[0].dtype.bitwidth // 8
            count = Vector(number).count
            half = ir.VectorType(context.get_value_type(number), count // 2)

            def place(argument: int, row: int, column: int) -> Any:
                array, at, step = args[argument : argument + 3]
                index = builder.add(at, builder.mul(step, INDEX(row)))
                index = builder.add(index, INDEX(column))
                return _place(context, builder, sig.args[argument], array, index)

            def load_half(row: int, column: int) -> Any:
                spot = builder.bitcast(place(3, row, column), half.as_pointer())
                return builder.load(spot, align=size)

            bit = count // 2
            rows = [
                _join(builder, *(load_half(n % bit + row, n // bit * bit) for row in (0, bit)))
                for n in range(count)
            ]
            while bit := bit // 2:
                for n in range(count):
                    if not n & bit:
                        rows[n], rows[n + bit] = _swap_lanes(builder, rows[n], rows[n + bit], bit)
            for n, content in enumerate(rows):
                if streamed:
                    _emit_stream(builder, content, place(0, n, 0))
                else:
                    builder.store(content, place(0, n, 0), align=size)
            return context.get_dummy_value()

        index = types.intp
        return types.void(out, index, index, source, index, index), emit

    return transpose


transpose_square = _transpose(streamed=False)
"""Write the transpose of a square matrix as wide as a vector is long; of the result and of what is
transposed: the array, the number to start at, and numbers from one row to the next."""
stream_square = _transpose(streamed=True)
"""The same, past the caches; see `stream`."""


def _emit_stream(builder: Any, content: Any, place: Any) -> None:
    """Store a vector; past the caches if it is a whole line, for parts of lines would be read.

    Other threads see it once this one has used a lock, which waits for all stores.
    """
    if WHOLE_LINES:
        stored = builder.store(content, place, align=LINE_BYTES)
        mark = builder.module.add_metadata([_LANE(1)])
        stored.set_metadata("nontemporal", mark)
    else:
        builder.store(content, place, align=VECTOR_BYTES // content.type.count)


def _join(builder: Any, low: Any, high: Any) -> Any:
    count = 2 * low.type.count
    order = ir.Constant(ir.VectorType(_LANE, count), list(range(count)))
    return builder.shuffle_vector(low, high, order)


def _swap_lanes(builder: Any, low: Any, high: Any, bit: int) -> tuple[Any, Any]:
    count = low.type.count
    lanes = ir.VectorType(_LANE, count)
    to_low = [lane if not lane & bit else count + lane - bit for lane in range(count)]
    to_high = [lane + bit if not lane & bit else count + lane for lane in range(count)]
    return (
        builder.shuffle_vector(low, high, ir.Constant(lanes, to_low)),
        builder.shuffle_vector(low, high, ir.Constant(lanes, to_high)),
    )


def data_of(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Emit the address of an array's first number."""
    fields = context.data_model_manager[kind]
    return builder.extract_value(value, fields.get_field_position("data"))


def _row_start(builder: Any, sig: Any, index: Any) -> Any:
    return builder.mul(index, INDEX(Vector(sig.args[0].dtype).count))


def _place(context: Any, builder: Any, kind: Any, value: Any, index: Any) -> Any:
    vector = context.get_value_type(Vector(kind.dtype))
    data = data_of(context, builder, kind, value)
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())
