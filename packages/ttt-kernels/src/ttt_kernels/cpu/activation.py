"""GELU in its tanh form and its derivatives, for whole vectors and from one exponential.

(1 + tanh(u)) / 2 is the logistic function of 2 u, which loses no digits in its tails:

    s = 1 / (1 + exp(-v)),  v = 2 c x (1 + a x^2),  w = dv/dx = 2 c (1 + 3 a x^2)
    gelu = x s,  gelu' = s + x s (1 - s) w,  gelu'' = s (1 - s) (4 (w - c) + x (1 - 2 s) w^2)
"""

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ttt_kernels.cpu.jit import intrinsic

_SCALE = math.sqrt(2.0 / math.pi)
_CUBIC = 0.044715
_FAR = {32: 7.0, 64: 12.0}
"""Beyond it gelu is x, or nothing beside 1. Further out it would be, or its products with others
would, numbers so small that processors take hundreds of cycles for them."""
_TERMS = {32: 7, 64: 13}
"""Degree to which the exponential's series is summed, for |x| <= log(2) / 2."""


@intrinsic
def gelu_terms(typing_context: Any, vector: Any) -> Any:
    """Gelu, gelu' and gelu'' of every lane; NaN gives NaN. What is not used is not computed."""
    del typing_context

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        terms = _emit_gelu(_Lanes(builder, args[0].type, sig.args[0].number.bitwidth), args[0])
        return context.make_tuple(builder, sig.return_type, terms)

    return types.UniTuple(vector, 3)(vector), emit


class _Lanes:
    """Emits arithmetic on whole vectors."""

    def __init__(self, builder: Any, kind: Any, bits: int) -> None:
        self.builder, self.kind, self.bits = builder, kind, bits
        self.add, self.mul, self.div = builder.fadd, builder.fmul, builder.fdiv

    def all(self, number: float) -> Any:
        """A constant in every lane."""
        return ir.Constant(self.kind, [number] * self.kind.count)

    def call(self, name: str, *args: Any) -> Any:
        """One of LLVM's own functions."""
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(self.kind, [self.kind] * len(args)),
            f"llvm.{name}.v{self.kind.count}f{self.bits}",
        )
        return self.builder.call(function, args)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """A * b + c."""
        return self.call("fma", a, b, c)

    def bounded(self, x: Any, sign: str, bound: float) -> Any:
        """The bound instead of what is beyond it: `sign` is "<" or ">"; a NaN stays one."""
        beyond = self.builder.fcmp_ordered(sign, x, self.all(bound))
        return self.builder.select(beyond, self.all(bound), x)


def _emit_gelu(lanes: _Lanes, x: Any) -> list[Any]:
    add, mul, fma, const = lanes.add, lanes.mul, lanes.fma, lanes.all
    far = _FAR[lanes.bits]
    x = lanes.bounded(x, "<", -far)
    near = lanes.bounded(x, ">", far)
    square = mul(near, near)
    # -v, so that no sign has to be turned
    falling = mul(near, fma(square, const(-2.0 * _SCALE * _CUBIC), const(-2.0 * _SCALE)))
    slope = fma(square, const(6.0 * _SCALE * _CUBIC), const(2.0 * _SCALE))
    power = _emit_exp(lanes, falling)
    s = lanes.div(const(1.0), add(power, const(1.0)))
    bell = mul(mul(s, power), s)  # s (1 - s)
    tilt = mul(bell, slope)
    first = fma(near, tilt, s)
    lean = mul(mul(near, mul(slope, slope)), fma(s, const(-2.0), const(1.0)))
    bend = fma(slope, const(4.0), const(-4.0 * _SCALE))
    second = mul(bell, add(bend, lean))
    return [mul(x, s), first, second]


def _emit_exp(lanes: _Lanes, x: Any) -> Any:
    """2^n exp(r) with x = n log(2) + r, |r| <= log(2) / 2; for x in reach of the type."""
    builder, fma, const = lanes.builder, lanes.fma, lanes.all
    whole = lanes.call("rint", lanes.mul(x, const(1.0 / math.log(2.0))))
    high, low = _log2_in_two(lanes.bits)
    rest = fma(whole, const(-low), fma(whole, const(-high), x))
    degree = _TERMS[lanes.bits]
    total = const(1.0 / math.factorial(degree))
    for n in range(degree - 1, -1, -1):
        total = fma(total, rest, const(1.0 / math.factorial(n)))
    integers = ir.VectorType(ir.IntType(lanes.bits), lanes.kind.count)

    def every(number: int) -> Any:
        return ir.Constant(integers, [number] * lanes.kind.count)

    fraction, bias = (23, 127) if lanes.bits == 32 else (52, 1023)
    exponent = builder.add(builder.fptosi(whole, integers), every(bias))
    return lanes.mul(total, builder.bitcast(builder.shl(exponent, every(fraction)), lanes.kind))


def _log2_in_two(bits: int) -> tuple[float, float]:
    """Log 2 as a number of few digits, whose product with n is exact, and what is missing."""
    unit = 2.0 ** (16 if bits == 32 else 40)
    high = math.floor(math.log(2.0) * unit) / unit
    return high, math.log(2.0) - high
