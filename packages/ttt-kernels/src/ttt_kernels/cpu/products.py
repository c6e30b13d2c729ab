"""Matrix products of the size of a mini-batch, with all sums in registers.

Tiles of 16 x 64 are too small for a BLAS call, and LLVM's loop vectoriser writes every partial sum
back to memory. So the innermost loop is emitted here, in LLVM's own terms and for any machine it
knows.

Every matrix consists of *panels*: rows of one vector each, one after the other. So the distance
from row to row is a constant of the compiled code, and addresses need no registers.
"""

from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ttt_kernels.cpu.jit import intrinsic, jit
from ttt_kernels.cpu.vector import INDEX, VECTOR_BYTES, Vector, broadcast, data_of

_ROWS = {1: 16} if VECTOR_BYTES == 64 else {1: 8, 2: 4}
"""Rows of a tile by the panels it goes over: as many sums as keep the adders busy, while each waits
for its last result, and no more than there are registers. With AVX-512 the FMA itself spreads a
factor over all lanes, so that more panels save no work; otherwise two share what is spread."""
_MOST = max(_ROWS)


@jit
def multiply(
    out: Any,
    out_step: int,
    a: Any,
    a_step: int,
    flipped: bool,
    b: Any,
    b_step: int,
    panels: int,
    rows: int,
    inner: int,
    fresh: bool,
) -> None:
    """Compute the product of `a` with every panel of `b`: out_c[i, :] += sum_p a[i, p] b_c[p, :].

    Args:
        out: the first panel, at least `rows` vectors; those of other panels lie `out_step` apart.
        out_step: numbers from one panel of `out` to the next.
        a: a matrix, its columns in panels; a[i, p] is number i * V + p % V of panel p // V.
        a_step: numbers from one panel of `a` to the next.
        flipped: use the transpose of `a` instead.
        b: the first panel, `inner` vectors.
        b_step: numbers from one panel of `b` to the next.
        panels: of `b`, and of `out`.
        rows: of the product, a multiple of 16.
        inner: range of p, a multiple of the vector length.
        fresh: start from zero instead of what `out` holds.
    """
    done = 0
    while done + _MOST <= panels and not flipped:
        _multiply_most(
            *(out, done * out_step, out_step, a, a_step, b, done * b_step, b_step),
            *(rows, inner, fresh),
        )
        done += _MOST
    while done < panels:
        if flipped:
            _multiply_flipped(
                *(out, done * out_step, out_step, a, a_step, b, done * b_step, b_step),
                *(rows, inner, fresh),
            )
        else:
            _multiply_one(
                *(out, done * out_step, out_step, a, a_step, b, done * b_step, b_step),
                *(rows, inner, fresh),
            )
        done += 1


def _multiply_panels(panels: int, *, flipped: bool) -> Any:
    """Make the function that computes a product over that many panels."""

    @intrinsic
    def multiply_panels(
        typing_context: Any,
        out: Any,
        out_at: Any,
        out_step: Any,
        a: Any,
        a_step: Any,
        b: Any,
        b_at: Any,
        b_step: Any,
        rows: Any,
        inner: Any,
        fresh: Any,
    ) -> Any:
        del typing_context
        arguments = out, out_at, out_step, a, a_step, b, b_at, b_step, rows, inner, fresh
        return types.void(*arguments), partial(_emit_product, panels, flipped)

    return multiply_panels


_multiply_most = _multiply_panels(_MOST, flipped=False)
_multiply_one = _multiply_panels(1, flipped=False)
_multiply_flipped = _multiply_panels(1, flipped=True)


def _emit_product(
    panels: int, flipped: bool, context: Any, builder: Any, signature: Any, arguments: Any
) -> Any:
    """Call the function of a tile for tile after tile, down the rows."""
    out, out_at, out_step, a, a_step, b, b_at, b_step, rows, inner, fresh = arguments
    number = signature.args[0].dtype
    vector = context.get_value_type(Vector(number))
    lanes = INDEX(vector.count)
    tile_rows = min(_ROWS[panels], vector.count)
    out = builder.gep(data_of(context, builder, signature.args[0], out), [out_at])
    a = data_of(context, builder, signature.args[3], a)
    b = builder.gep(data_of(context, builder, signature.args[5], b), [b_at])
    function = _tile(builder.module, tile_rows, panels, vector, number.bitwidth, flipped)
    loop = cgutils.for_range_slice(builder, INDEX(0), rows, INDEX(tile_rows), intp=INDEX)
    with loop as (row, _):
        start = first = builder.mul(row, lanes)
        if flipped:
            panel = builder.mul(builder.sdiv(row, lanes), a_step)
            start = builder.add(panel, builder.srem(row, lanes))
            # A constant to this caller, but not to the function: had it two known and equal steps,
            # LLVM would count on with one index, and an FMA with an indexed factor is two
            # operations to Intel's processors.
            a_step = INDEX(_round_length(vector, flipped) * vector.count)
        places = builder.gep(out, [first]), out_step, builder.gep(a, [start]), a_step, b, b_step
        builder.call(function, [*places, inner, fresh])
    return context.get_dummy_value()


def _round_length(vector: Any, flipped: bool) -> int:
    """Terms that a round of a tile's loop adds to the sums."""
    return min(4, vector.count) if flipped else vector.count


def _tile(module: Any, rows: int, panels: int, vector: Any, bits: int, flipped: bool) -> Any:
    """Find or emit the function that takes sums, runs over p with them in registers, stores them.

    It is never inlined: a product is called for in many places, and compiled once.
    """
    pointer = vector.element.as_pointer()
    name = f"ttt_kernels_tile_{rows}x{panels}x{vector.count}_f{bits}_{'t' if flipped else 'n'}"
    kind = ir.FunctionType(
        ir.VoidType(),
        [pointer, INDEX, pointer, INDEX, pointer, INDEX, INDEX, ir.IntType(1)],
    )
    function = cgutils.get_or_insert_function(module, kind, name)
    if function.blocks:
        return function
    function.linkage = "linkonce_odr"
    for attribute in ("noinline", "nounwind"):
        function.attributes.add(attribute)
    builder = ir.IRBuilder(function.append_basic_block())
    out, out_step, a, a_step, b, b_step, inner, fresh = function.args
    tile = [(row, panel) for row in range(rows) for panel in range(panels)]

    def vectors_at(base: Any, step: Any) -> list[Any]:
        return [builder.gep(base, [builder.mul(step, INDEX(panel))]) for panel in range(panels)]

    def place(base: Any, row: int) -> Any:
        spot = builder.gep(base, [INDEX(row * vector.count)])
        return builder.bitcast(spot, vector.as_pointer())

    columns = vectors_at(out, out_step)
    places = [place(columns[panel], row) for row, panel in tile]
    sums = _starts(builder, places, fresh, vector, bits)
    length = _round_length(vector, flipped)
    row_step, term_step = (1, vector.count) if flipped else (vector.count, 1)
    fma = cgutils.get_or_insert_function(
        module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{vector.count}f{bits}"
    )

    def add_terms(a: Any, b: Any, sums: list[Any]) -> list[Any]:
        starts = vectors_at(b, b_step)
        for term in range(length):
            terms = [builder.load(place(start, term), align=bits // 8) for start in starts]
            factors = [
                builder.load(builder.gep(a, [INDEX(row * row_step + term * term_step)]))
                for row in range(rows)
            ]
            splats = [broadcast(builder, factor, vector) for factor in factors]
            sums = [
                builder.call(fma, [splats[row], terms[panel], total])
                for (row, panel), total in zip(tile, sums, strict=True)
            ]
        return sums

    sums = _sum_terms(
        builder, builder.sdiv(inner, INDEX(length)), a, a_step, b, length * vector.count, sums,
        add_terms,
    )  # fmt: skip
    for spot, total in zip(places, sums, strict=True):
        builder.store(total, spot, align=bits // 8)
    builder.ret_void()
    return function


def _starts(builder: Any, places: list[Any], fresh: Any, vector: Any, bits: int) -> list[Any]:
    """Emit the sums to start from: zeros, or what is there."""
    before = builder.block
    old, ready = builder.append_basic_block("old"), builder.append_basic_block("ready")
    builder.cbranch(fresh, ready, old)
    builder.position_at_end(old)
    found = [builder.load(place, align=bits // 8) for place in places]
    builder.branch(ready)
    builder.position_at_end(ready)
    sums = [builder.phi(vector) for _ in places]
    for phi, content in zip(sums, found, strict=True):
        phi.add_incoming(ir.Constant(vector, None), before)
        phi.add_incoming(content, old)
    return sums


def _sum_terms(
    builder: Any,
    rounds: Any,
    a: Any,
    a_step: Any,
    b: Any,
    b_step: int,
    starts: list[Any],
    add_terms: Any,
) -> list[Any]:
    """Emit `for _ in range(rounds): sums = add_terms(a, b, sums)`, a and b going on by steps."""
    before = builder.block
    loop, after = builder.append_basic_block("terms"), builder.append_basic_block("after")
    builder.branch(loop)
    builder.position_at_end(loop)
    first = [INDEX(0), a, b, *starts]
    carried = [builder.phi(each.type) for each in first]
    index, a, b, *sums = carried
    following = [
        builder.add(index, INDEX(1)),
        builder.gep(a, [a_step]),
        builder.gep(b, [INDEX(b_step)]),
        *add_terms(a, b, sums),
    ]
    builder.cbranch(builder.icmp_signed("<", following[0], rounds), loop, after)
    for phi, start, next_ in zip(carried, first, following, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(next_, loop)
    builder.position_at_end(after)
    return following[3:]
