"""Matrix products of the size of a mini-batch, as vector code that stays in registers.

Tiles of 16 x 64 are too small for a BLAS call and too much for LLVM's loop vectoriser, which
writes every partial sum back to memory: 25 GFLOP/s, where a product of large matrices reaches
150. So the innermost loop is emitted here, in LLVM's own terms and for any machine it knows: 105.
"""

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ttt_kernels.cpu.jit import jit

TILE_ROWS = 4
"""Rows of a product computed at once; matrices are padded to a multiple of it."""


def _vector_bytes() -> int:
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx2") else 16


VECTOR_BYTES = _vector_bytes()
"""Width of this machine's vector registers."""
_TILE_VECTORS = 2 if VECTOR_BYTES == 32 else 4
"""Vectors in a row of a tile; AVX2 has 16 registers, of which 4 x 2 hold sums."""
_INDEX = ir.IntType(64)


@jit
def multiply_add(
    out: Any, a: Any, row_step: int, inner_step: int, b: Any, rows: int, inner: int, columns: int
) -> None:
    """Add a product: out[i, j] += sum_p a[i * row_step + p * inner_step] * b[p, j].

    Args:
        out: (at least `rows` rounded up to TILE_ROWS, `columns`), C-contiguous.
        a: contiguous; (lda, 1) are the steps of a matrix, (1, lda) those of its transpose.
        row_step: numbers in `a` from one row of the product to the next.
        inner_step: numbers in `a` from one p to the next.
        b: (at least `inner`, `columns`), C-contiguous.
        rows: of the product; what lies between it and the next multiple of TILE_ROWS is written.
        inner: range of p.
        columns: a multiple of the vector length.
    """
    vector = vector_length(out)
    block = vector * _TILE_VECTORS
    for i in range(0, rows, TILE_ROWS):
        j = 0
        while j + block <= columns:
            _add_wide_tile(out, i, j, a, row_step, inner_step, b, inner)
            j += block
        while j < columns:
            _add_narrow_tile(out, i, j, a, row_step, inner_step, b, inner)
            j += vector


@intrinsic
def vector_length(typing_context: Any, array: Any) -> Any:
    """Numbers of the array's type in a vector register, a constant to the compiler."""
    del typing_context

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, builder, arguments
        return _INDEX(VECTOR_BYTES // (signature.args[0].dtype.bitwidth // 8))

    return types.intp(array), emit


def _tile(num_vectors: int) -> Any:
    """Make the function that adds a product to TILE_ROWS x `num_vectors` vectors of `out`."""

    @intrinsic
    def add_tile(
        typing_context: Any,
        out: Any,
        i: Any,
        j: Any,
        a: Any,
        row_step: Any,
        inner_step: Any,
        b: Any,
        inner: Any,
    ) -> Any:
        del typing_context
        arguments = (out, i, j, a, row_step, inner_step, b, inner)
        return types.void(*arguments), lambda *parts: _emit_tile(num_vectors, *parts)

    return add_tile


def _emit_tile(
    num_vectors: int, context: Any, builder: Any, signature: Any, arguments: Any
) -> Any:
    """Load the sums, run over p with all of them in registers, store them."""
    out_value, i, j, a_value, row_step, inner_step, b_value, inner = arguments
    number = signature.args[0].dtype
    size = number.bitwidth // 8
    vector = ir.VectorType(context.get_value_type(number), VECTOR_BYTES // size)
    out, out_step = _matrix(context, builder, signature.args[0], out_value, size)
    a, _ = _matrix(context, builder, signature.args[3], a_value, size)
    b, b_step = _matrix(context, builder, signature.args[6], b_value, size)

    def pointer(base: Any, index: Any, number_of_vector: int) -> Any:
        place = builder.add(index, _INDEX(number_of_vector * vector.count))
        return builder.bitcast(builder.gep(base, [place]), vector.as_pointer())

    tile = [(row, column) for row in range(TILE_ROWS) for column in range(num_vectors)]
    rows = [builder.add(i, _INDEX(row)) for row in range(TILE_ROWS)]
    places = [
        pointer(out, builder.add(builder.mul(rows[row], out_step), j), column)
        for row, column in tile
    ]
    starts = [builder.load(place, align=size) for place in places]
    before = builder.block
    loop, after = (builder.append_basic_block(f"tile.{name}") for name in ("loop", "after"))
    builder.cbranch(builder.icmp_signed(">", inner, _INDEX(0)), loop, after)

    builder.position_at_end(loop)
    p = builder.phi(_INDEX)
    sums = [builder.phi(vector) for _ in tile]
    b_row = builder.add(builder.mul(p, b_step), j)
    b_vectors = [
        builder.load(pointer(b, b_row, column), align=size) for column in range(num_vectors)
    ]
    a_place = builder.mul(p, inner_step)
    factors = [
        _broadcast(
            builder,
            builder.load(builder.gep(a, [builder.add(builder.mul(row, row_step), a_place)])),
            vector,
        )
        for row in rows
    ]
    fma = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [vector] * 3),
        f"llvm.fma.v{vector.count}f{number.bitwidth}",
    )
    added = [
        builder.call(fma, [factors[row], b_vectors[column], total])
        for (row, column), total in zip(tile, sums, strict=True)
    ]
    following = builder.add(p, _INDEX(1))
    builder.cbranch(builder.icmp_signed("<", following, inner), loop, after)
    for phi, first, next_ in zip((p, *sums), (_INDEX(0), *starts), (following, *added), strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(next_, loop)

    builder.position_at_end(after)
    results = [builder.phi(vector) for _ in tile]  # phis come before anything else in a block
    for result, start, total, place in zip(results, starts, added, places, strict=True):
        result.add_incoming(start, before)
        result.add_incoming(total, loop)
        builder.store(result, place, align=size)
    return context.get_dummy_value()


def _matrix(context: Any, builder: Any, kind: Any, value: Any, size: int) -> tuple[Any, Any]:
    """Address of an array, and numbers from one row to the next."""
    array = context.make_array(kind)(context, builder, value)
    strides = cgutils.unpack_tuple(builder, array.strides)
    return array.data, builder.sdiv(strides[0], _INDEX(size))


def _broadcast(builder: Any, value: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    lane = ir.IntType(32)
    first = builder.insert_element(undefined, value, lane(0))
    zeros = ir.Constant(ir.VectorType(lane, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, zeros)


_add_wide_tile = _tile(_TILE_VECTORS)
_add_narrow_tile = _tile(1)


@intrinsic
def prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of a number of a flat array; changes nothing but the time."""
    del typing_context

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        flat = context.make_array(signature.args[0])(context, builder, arguments[0])
        flag = ir.IntType(32)
        byte = ir.IntType(8).as_pointer()
        hint = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag]),
            "llvm.prefetch.p0",
        )
        address = builder.bitcast(builder.gep(flat.data, [arguments[1]]), byte)
        builder.call(hint, [address, flag(0), flag(3), flag(1)])  # to read, into L1, data
        return context.get_dummy_value()

    return types.void(array, types.uintp), emit
