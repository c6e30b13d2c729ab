"""Matrix products of the size of a mini-batch, with all sums in registers.

Tiles of 16 x 64 are too small for a BLAS call, and LLVM's loop vectoriser writes every partial sum
back to memory. So the innermost loop is emitted here, in LLVM's own terms and for any machine it
knows.
"""

from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ttt_kernels.cpu.jit import intrinsic, jit
from ttt_kernels.cpu.vector import INDEX, VECTOR_BYTES, Vector, broadcast, matrix, vector_length

_WIDE = (4, 2 if VECTOR_BYTES == 32 else 4)
"""Rows of a tile and vectors in a row; AVX2 has 16 registers, of which 4 x 2 hold sums."""
_NARROW = (8, 1)
"""Of what is left of the columns: again 8 sums or more, as many as it takes to keep the adders busy
while each waits for its last result."""
_TALL = (16 if VECTOR_BYTES == 64 else 8, 1)
"""For products of few columns, whose `a` is larger than the first cache: it is read once."""
_BROAD = (8 if VECTOR_BYTES == 64 else 4, 2)
"""The same for two vectors of columns."""
TALL_ROW_UNIT = _TALL[0]
"""Rows of an operand of `multiply_add_tall` are padded to a multiple of so many."""
ROW_UNIT = 8
"""Matrices are padded to a multiple of so many rows."""


@jit
def multiply_add(
    out: Any, a: Any, row_step: int, inner_step: int, b: Any, rows: int, inner: int, columns: int
) -> None:
    """Add a product: out[i, j] += sum_p a[i * row_step + p * inner_step] * b[p, j].

    Args:
        out: (at least `rows` rounded up to ROW_UNIT, `columns`), C-contiguous.
        a: contiguous; (lda, 1) are the steps of a matrix, (1, lda) those of its transpose.
        row_step: numbers in `a` from one row of the product to the next.
        inner_step: numbers in `a` from one p to the next.
        b: (at least `inner`, `columns`), C-contiguous.
        rows: of the product; what lies between it and the next multiple of ROW_UNIT is written.
        inner: range of p.
        columns: a multiple of the vector length.
    """
    vector = vector_length(out)
    block = vector * _WIDE[1]
    whole = columns // block * block
    for i in range(0, rows, _WIDE[0]):
        for j in range(0, whole, block):
            _add_wide_tile(out, i, j, a, row_step, inner_step, b, inner)
    for i in range(0, rows, _NARROW[0]):
        for j in range(whole, columns, vector):
            _add_narrow_tile(out, i, j, a, row_step, inner_step, b, inner)


@jit
def multiply_add_tall(
    out: Any, a: Any, row_step: int, inner_step: int, b: Any, rows: int, inner: int, columns: int
) -> None:
    """As `multiply_add`, made for one or two vectors of columns and for a large `a`.

    Rows between `rows` and the next multiple of TALL_ROW_UNIT are written.
    """
    vector = vector_length(out)
    paired = columns // (2 * vector) * (2 * vector)
    for i in range(0, rows, _TALL[0]):
        for j in range(0, paired, 2 * vector):
            for part in range(i, i + _TALL[0], _BROAD[0]):
                _add_broad_tile(out, part, j, a, row_step, inner_step, b, inner)
        for j in range(paired, columns, vector):
            _add_tall_tile(out, i, j, a, row_step, inner_step, b, inner)


def _tile(num_rows: int, num_vectors: int) -> Any:
    """Make the function that adds a product to `num_rows` x `num_vectors` vectors of `out`."""

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
        return types.void(*arguments), partial(_emit_tile, num_rows, num_vectors)

    return add_tile


_add_wide_tile = _tile(*_WIDE)
_add_narrow_tile = _tile(*_NARROW)
_add_tall_tile = _tile(*_TALL)
_add_broad_tile = _tile(*_BROAD)


def _emit_tile(
    num_rows: int, num_vectors: int, context: Any, builder: Any, signature: Any, arguments: Any
) -> Any:
    """Call the function of a tile, at its first sum, its first factor and its first b."""
    out_value, i, j, a_value, row_step, inner_step, b_value, inner = arguments
    kind = signature.args[0].dtype
    out, out_step = matrix(context, builder, signature.args[0], out_value)
    a, _ = matrix(context, builder, signature.args[3], a_value)
    b, b_step = matrix(context, builder, signature.args[6], b_value)
    out = builder.gep(out, [builder.add(builder.mul(i, out_step), j)])
    a = builder.gep(a, [builder.mul(i, row_step)])
    b = builder.gep(b, [j])
    vector = context.get_value_type(Vector(kind))
    function = _tile_function(builder.module, num_rows, num_vectors, vector, kind.bitwidth)
    builder.call(function, [out, out_step, a, row_step, inner_step, b, b_step, inner])
    return context.get_dummy_value()


def _tile_function(module: Any, num_rows: int, num_vectors: int, vector: Any, bits: int) -> Any:
    """Find or emit the function that loads sums, runs over p with them in registers, stores them.

    It is never inlined: a product is called for in many places, and compiled once.
    """
    pointer = vector.element.as_pointer()
    name = f"ttt_kernels_tile_{num_rows}x{num_vectors}x{vector.count}_f{bits}"
    kind = ir.FunctionType(
        ir.VoidType(), [pointer, INDEX, pointer, INDEX, INDEX, pointer, INDEX, INDEX]
    )
    function = cgutils.get_or_insert_function(module, kind, name)
    if function.blocks:
        return function
    function.linkage = "linkonce_odr"
    for attribute in ("noinline", "nounwind"):
        function.attributes.add(attribute)
    builder = ir.IRBuilder(function.append_basic_block())
    out, out_step, a, row_step, inner_step, b, b_step, inner = function.args
    fma = cgutils.get_or_insert_function(
        module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{vector.count}f{bits}"
    )
    tile = [(row, column) for row in range(num_rows) for column in range(num_vectors)]

    def vector_at(base: Any, index: Any, column: int) -> Any:
        place = builder.gep(base, [builder.add(index, INDEX(column * vector.count))])
        return builder.bitcast(place, vector.as_pointer())

    def add_term(p: Any, sums: list[Any]) -> list[Any]:
        b_row, a_column = builder.mul(p, b_step), builder.mul(p, inner_step)
        b_vectors = [
            builder.load(vector_at(b, b_row, column), align=bits // 8)
            for column in range(num_vectors)
        ]
        factors = [builder.load(builder.gep(row, [a_column])) for row in a_rows]
        splats = [broadcast(builder, factor, vector) for factor in factors]
        return [
            builder.call(fma, [splats[row], b_vectors[column], total])
            for (row, column), total in zip(tile, sums, strict=True)
        ]

    a_rows = [builder.gep(a, [builder.mul(row_step, INDEX(row))]) for row in range(num_rows)]
    places = [vector_at(out, builder.mul(out_step, INDEX(row)), column) for row, column in tile]
    sums = [builder.load(place, align=bits // 8) for place in places]
    for place, total in zip(places, _sum_terms(builder, inner, sums, add_term), strict=True):
        builder.store(total, place, align=bits // 8)
    builder.ret_void()
    return function


def _sum_terms(builder: Any, inner: Any, starts: list[Any], add_term: Any) -> list[Any]:
    """Emit `for p in range(inner): sums = add_term(p, sums)`, two terms at a time."""
    pairs = builder.sub(inner, builder.and_(inner, INDEX(1)))
    sums = starts
    begin: Any = INDEX(0)
    for end, terms in ((pairs, 2), (inner, 1)):
        before = builder.block
        loop, after = (builder.append_basic_block(f"terms.{name}") for name in ("loop", "after"))
        builder.cbranch(builder.icmp_signed("<", begin, end), loop, after)

        builder.position_at_end(loop)
        p = builder.phi(INDEX)
        carried = [builder.phi(total.type) for total in sums]
        added = carried
        for term in range(terms):
            added = add_term(builder.add(p, INDEX(term)), added)
        following = builder.add(p, INDEX(terms))
        builder.cbranch(builder.icmp_signed("<", following, end), loop, after)

        builder.position_at_end(after)
        reached = builder.phi(INDEX)
        results = [builder.phi(total.type) for total in sums]
        for phi, first, next_ in zip(
            (p, *carried), (begin, *sums), (following, *added), strict=True
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(next_, loop)
        for phi, first, next_ in zip(
            (reached, *results), (begin, *sums), (following, *added), strict=True
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(next_, loop)
        begin, sums = reached, results
    return sums
