"""Single PTX instructions against what the PTX manual says they do, in plain Python."""

import math
import struct
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_kernels.verify.ptx import execute_ptx

LANES = 32
few = settings(max_examples=6, deadline=None)  # of 32 lanes each
WIDTHS = {"b16": 16, "u16": 16, "s16": 16, "b32": 32, "u32": 32, "s32": 32, "f32": 32}
WIDTHS |= {"b64": 64, "u64": 64, "s64": 64, "f64": 64, "f16": 16, "bf16": 16, "pred": 16}
WIDTHS |= {"f16x2": 32, "bf16x2": 32}
STORAGE = {16: torch.uint16, 32: torch.uint32, 64: torch.uint64}

_MODULE = """
.version 8.0
.target sm_80
.address_size 64
.visible .entry kernel({parameters}
)
.reqntid 32
{{
	.reg .pred %p<9>;
	.reg .b16 %rs<9>;
	.reg .b32 %r<9>;
	.reg .b64 %rd<9>;
	.reg .b16 %h<9>;
	.reg .b32 %w<9>;
	.reg .b64 %d<9>;
	mov.u32 %r1, %tid.x;
{body}
	ret;
}}
"""
_REGISTER = {16: "%h", 32: "%w", 64: "%d"}


def run(instruction: str, out: str, **inputs: tuple[str, list[int]]) -> list[int]:
    """Execute an instruction whose operands are names: bits in, bits of `out` out.

    Args:
        instruction: with `{out}` and the names of the inputs in braces.
        out: type of the result.
        inputs: type and bits of each lane.
    """
    names = {"out": (out, [0] * LANES), **inputs}
    lines, loads, registers = [], [], {}
    for index, (name, (kind, _)) in enumerate(names.items()):
        size = WIDTHS[kind]
        registers[name] = f"{_REGISTER[size]}{index}"
        lines += [
            f"ld.param.b64 %rd1, [kernel_param_{index}];",
            f"mad.wide.u32 %rd{2 if name == 'out' else 3}, %r1, {size // 8}, %rd1;",
        ]
        if name != "out":
            loads.append(f"ld.global.b{size} {registers[name]}, [%rd3];")
            lines.append(loads[-1])
    lines.append(instruction.format(**registers))
    lines.append(f"st.global.b{WIDTHS[out]} [%rd2], {registers['out']};")
    tensors = {
        name: torch.tensor(bits, dtype=STORAGE[WIDTHS[kind]])
        for name, (kind, bits) in names.items()
    }
    parameters = ",".join(f"\n\t.param .u64 .ptr kernel_param_{i}" for i in range(len(names)))
    body = "\n".join("\t" + line for line in lines)
    execute_ptx(_MODULE.format(parameters=parameters, body=body), 0, (1,), tensors)
    return tensors["out"].tolist()


def signed(bits: int, width: int) -> int:
    return bits - (1 << width) if bits >> (width - 1) else bits


def wrap(value: int, width: int) -> int:
    return value & ((1 << width) - 1)


def f32(bits: int) -> float:
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def bits_of(value: float) -> int:
    return struct.unpack("<I", struct.pack("<f", value))[0]


def lanes(width: int) -> st.SearchStrategy[list[int]]:
    edges = [0, 1, (1 << width) - 1, 1 << (width - 1), (1 << (width - 1)) - 1]
    one = st.integers(0, (1 << width) - 1) | st.sampled_from(edges)
    return st.lists(one, min_size=LANES, max_size=LANES)


def _divide(x: int, y: int) -> int:
    return int(math.copysign(1, x) * math.copysign(1, y)) * (abs(x) // abs(y)) if y else -1


def _field(x: int, start: int, length: int, width: int, *, sign: bool) -> int:
    start, length = start & 255, length & 255
    if length == 0:
        return 0
    digits = [(x >> min(start + i, width - 1)) & 1 if sign or start + i < width else 0
              for i in range(min(length, width))]  # fmt: skip
    value = sum(digit << i for i, digit in enumerate(digits))
    fill = digits[-1] if sign else 0
    return wrap(value - (fill << len(digits)), width)


TWO_INTEGERS = {
    "add.s32": lambda x, y: x + y,
    "sub.s32": lambda x, y: x - y,
    "mul.lo.s32": lambda x, y: x * y,
    "mul.hi.u32": lambda x, y: x * y >> 32,
    "mul.hi.s32": lambda x, y: x * y >> 32,
    "mul.wide.s32": lambda x, y: x * y,
    "mul.wide.u32": lambda x, y: x * y,
    "mul.hi.u64": lambda x, y: x * y >> 64,
    "mul.lo.s64": lambda x, y: x * y,
    "min.s32": min,
    "max.u32": max,
    "div.s32": _divide,
    "rem.s32": lambda x, y: x - _divide(x, y) * y if y else x,
    "div.u32": lambda x, y: x // y if y else -1,
    "and.b32": lambda x, y: x & y,
    "xor.b64": lambda x, y: x ^ y,
    "or.b16": lambda x, y: x | y,
}


@pytest.mark.parametrize("name", TWO_INTEGERS)
@few
@given(data=st.data())
def test_integer_arithmetic(name: str, data: st.DataObject) -> None:
    kind = name.rsplit(".", maxsplit=1)[-1]
    width = WIDTHS[kind]
    x, y = data.draw(lanes(width)), data.draw(lanes(width))
    out = {"s32": "s64", "u32": "u64"}[kind] if "wide" in name else kind
    got = run(f"{name} {{out}}, {{x}}, {{y}};", out, x=(kind, x), y=(kind, y))
    read = (lambda v: signed(v, width)) if kind[0] == "s" else int
    expected = [TWO_INTEGERS[name](read(a), read(b)) for a, b in zip(x, y, strict=True)]
    assert got == [wrap(each, WIDTHS[out]) for each in expected]


@pytest.mark.parametrize("name", ["shl.b32", "shr.u32", "shr.s32", "shl.b64", "shr.s64"])
@few
@given(data=st.data())
def test_shifts(name: str, data: st.DataObject) -> None:
    kind = name[4:]
    width = WIDTHS[kind]
    x = data.draw(lanes(width))
    n = data.draw(st.lists(st.integers(0, 80), min_size=LANES, max_size=LANES))
    got = run(f"{name} {{out}}, {{x}}, {{n}};", kind, x=(kind, x), n=("u32", n))
    read = (lambda v: signed(v, width)) if kind[0] == "s" else int
    expected = [
        read(a) << b if name[:3] == "shl" else read(a) >> b for a, b in zip(x, n, strict=True)
    ]
    assert got == [wrap(each, width) for each in expected]


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
@few
@given(data=st.data())
def test_bit_fields(kind: str, data: st.DataObject) -> None:
    width = WIDTHS[kind]
    x = data.draw(lanes(width))
    small = st.lists(st.integers(0, 70), min_size=LANES, max_size=LANES)
    start, length = data.draw(small), data.draw(small)
    got = run(
        f"bfe.{kind} {{out}}, {{x}}, {{a}}, {{b}};",
        kind,
        x=(kind, x),
        a=("u32", start),
        b=("u32", length),
    )
    triples = zip(x, start, length, strict=True)
    assert got == [_field(*each, width, sign=kind[0] == "s") for each in triples]


@few
@given(lanes(32), lanes(32), lanes(32))
def test_bytes_are_permuted(x: list[int], y: list[int], selector: list[int]) -> None:
    got = run(
        "prmt.b32 {out}, {x}, {y}, {s};", "b32", x=("b32", x), y=("b32", y), s=("b32", selector)
    )

    def permuted(a: int, b: int, select: int) -> int:
        source = a.to_bytes(4, "little") + b.to_bytes(4, "little")
        chosen = [source[select >> 4 * i & 7] for i in range(4)]
        signs = [select >> 4 * i & 8 for i in range(4)]
        pairs = zip(chosen, signs, strict=True)
        return sum((0xFF * (c >> 7) if s else c) << 8 * i for i, (c, s) in enumerate(pairs))

    assert got == [permuted(*each) for each in zip(x, y, selector, strict=True)]


@few
@given(lanes(32), lanes(32), lanes(32), st.integers(0, 255))
def test_any_function_of_three_bits(x: list[int], y: list[int], z: list[int], table: int) -> None:
    instruction = f"lop3.b32 {{out}}, {{x}}, {{y}}, {{z}}, {table};"
    got = run(instruction, "b32", x=("b32", x), y=("b32", y), z=("b32", z))

    def function(a: int, b: int, c: int) -> int:
        rows = ((a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1 for i in range(32))
        return sum((table >> row & 1) << i for i, row in enumerate(rows))

    assert got == [function(*each) for each in zip(x, y, z, strict=True)]


@few
@given(lanes(32), lanes(32), st.lists(st.integers(0, 40), min_size=LANES, max_size=LANES))
def test_funnel_shifts(low: list[int], high: list[int], n: list[int]) -> None:
    inputs = {"a": ("b32", low), "b": ("b32", high), "n": ("u32", n)}
    both = [h << 32 | x for x, h in zip(low, high, strict=True)]
    left = run("shf.l.wrap.b32 {out}, {a}, {b}, {n};", "b32", **inputs)
    assert left == [wrap(v << (k & 31) >> 32, 32) for v, k in zip(both, n, strict=True)]
    right = run("shf.r.clamp.b32 {out}, {a}, {b}, {n};", "b32", **inputs)
    assert right == [wrap(v >> min(k, 32), 32) for v, k in zip(both, n, strict=True)]


@few
@given(lanes(32))
def test_bits_are_counted_and_found(x: list[int]) -> None:
    given_ = {"x": ("b32", x)}
    assert run("popc.b32 {out}, {x};", "u32", **given_) == [v.bit_count() for v in x]
    assert run("clz.b32 {out}, {x};", "u32", **given_) == [32 - v.bit_length() for v in x]
    found = [wrap(v.bit_length() - 1, 32) for v in x]
    assert run("bfind.u32 {out}, {x};", "u32", **given_) == found
    mirrored = [int(f"{v:032b}"[::-1], 2) for v in x]
    assert run("brev.b32 {out}, {x};", "b32", **given_) == mirrored


def _same(got: list[int], expected: torch.Tensor) -> bool:
    """Equal as numbers of the type of `expected`, NaN to NaN."""
    tensor = torch.tensor(got, dtype=STORAGE[8 * expected.itemsize]).view(expected.dtype)
    return torch.equal(tensor.double().nan_to_num(7.7), expected.double().nan_to_num(7.7))


FLOATS = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}


@pytest.mark.parametrize("kind", FLOATS)
@few
@given(data=st.data())
def test_float_arithmetic_rounds_once(kind: str, data: st.DataObject) -> None:
    width = WIDTHS[kind]
    x, y, z = (data.draw(lanes(width)) for _ in range(3))
    a, b, c = (torch.tensor(v, dtype=STORAGE[width]).view(FLOATS[kind]).double() for v in (x, y, z))
    inputs = {"x": (kind, x), "y": (kind, y), "z": (kind, z)}

    def check(instruction: str, expected: torch.Tensor) -> None:
        assert _same(run(instruction, kind, **inputs), expected.to(FLOATS[kind]))

    check(f"add.{kind} {{out}}, {{x}}, {{y}};", a + b)
    check(f"mul.{kind} {{out}}, {{x}}, {{y}};", a * b)
    check(f"fma.rn.{kind} {{out}}, {{x}}, {{y}}, {{z}};", a * b + c)
    check(f"neg.{kind} {{out}}, {{x}};", -a)
    check(f"max.NaN.{kind} {{out}}, {{x}}, {{y}};", torch.maximum(a, b))
    check(f"min.{kind} {{out}}, {{x}}, {{y}};", torch.fmin(a, b))


@few
@given(lanes(32), lanes(32))
def test_packed_halves_are_two_numbers(x: list[int], y: list[int]) -> None:
    a, b = (torch.tensor(v, dtype=torch.uint32).view(torch.bfloat16).double() for v in (x, y))
    got = run("mul.bf16x2 {out}, {x}, {y};", "bf16x2", x=("b32", x), y=("b32", y))
    halves = [half for both in got for half in (both & 0xFFFF, both >> 16)]
    assert _same(halves, (a * b).bfloat16())


@few
@given(st.lists(st.floats(width=32), min_size=LANES, max_size=LANES))
def test_floats_are_converted(values: list[float]) -> None:
    x, tensor = [bits_of(v) for v in values], torch.tensor(values)
    given_ = {"x": ("f32", x)}
    assert _same(run("cvt.rn.bf16.f32 {out}, {x};", "bf16", **given_), tensor.bfloat16())
    assert _same(run("cvt.rn.f16.f32 {out}, {x};", "f16", **given_), tensor.half())
    pair = run("cvt.rn.bf16x2.f32 {out}, {x}, 0f3F800000;", "b32", **given_)
    assert _same([p >> 16 for p in pair], tensor.bfloat16())
    assert {p & 0xFFFF for p in pair} == {0x3F80}

    def whole(value: float, low: int, high: int) -> int:
        if math.isnan(value):
            return 0
        return max(low, min(high, math.trunc(value))) if math.isfinite(value) else (
            high if value > 0 else low
        )  # fmt: skip

    limits = (-(2**31), 2**31 - 1)
    got = run("cvt.rzi.s32.f32 {out}, {x};", "s32", **given_)
    assert got == [wrap(whole(v, *limits), 32) for v in values]
    got = run("cvt.rzi.u32.f32 {out}, {x};", "u32", **given_)
    assert got == [whole(v, 0, 2**32 - 1) for v in values]


@few
@given(lanes(32))
def test_integers_are_converted(x: list[int]) -> None:
    given_ = {"x": ("b32", x)}
    numbers = torch.tensor([signed(v, 32) for v in x])
    assert _same(run("cvt.rn.f32.s32 {out}, {x};", "f32", **given_), numbers.float())
    wide = run("cvt.s64.s32 {out}, {x};", "s64", **given_)
    assert wide == [wrap(signed(v, 32), 64) for v in x]
    assert run("cvt.u64.u32 {out}, {x};", "u64", **given_) == x
    assert run("cvt.u16.u32 {out}, {x};", "u16", **given_) == [wrap(v, 16) for v in x]
    saturated = run("cvt.sat.s16.s32 {out}, {x};", "s16", **given_)
    assert saturated == [wrap(max(-(2**15), min(2**15 - 1, signed(v, 32))), 16) for v in x]


@pytest.mark.parametrize("name", ["lt", "le", "eq", "ne", "gtu", "neu", "num", "nan"])
@few
@given(x=lanes(32), y=lanes(32))
def test_floats_are_compared(name: str, x: list[int], y: list[int]) -> None:
    instruction = f"setp.{name}.f32 %p1, {{x}}, {{y}};\n\tselp.b32 {{out}}, 1, 0, %p1;"
    got = run(instruction, "b32", x=("f32", x), y=("f32", y))

    def holds(a: float, b: float) -> bool:
        unordered = math.isnan(a) or math.isnan(b)
        if name in ("num", "nan"):
            return unordered == (name == "nan")
        if unordered:
            return name.endswith("u")
        return {"lt": a < b, "le": a <= b, "eq": a == b, "ne": a != b, "gtu": a > b, "neu": a != b}[
            name
        ]

    pairs = zip(x, y, strict=True)
    assert got == [int(holds(f32(a), f32(b))) for a, b in pairs]


SPECIAL: dict[str, Any] = {
    "ex2.approx.ftz.f32": torch.exp2,
    "lg2.approx.f32": lambda v: torch.log2(v.abs()),
    "rsqrt.approx.f32": lambda v: torch.rsqrt(v.abs()),
    "sqrt.rn.f32": lambda v: torch.sqrt(v.abs()),
    "rcp.rn.f32": lambda v: 1 / v,
    "tanh.approx.f32": torch.tanh,
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_functions(name: str) -> None:
    values = torch.linspace(-6, 5.9, LANES)
    argument = "{x}" if name[:3] in ("ex2", "rcp", "tan") else "%w8"
    instruction = f"abs.f32 %w8, {{x}};\n\t{name} {{out}}, {argument};"
    got = run(instruction, "f32", x=("f32", values.view(torch.uint32).tolist()))
    expected = SPECIAL[name](values.double())
    result = torch.tensor(got, dtype=torch.uint32).view(torch.float32)
    assert ((result - expected).abs() <= 1e-6 * expected.abs()).all()


@pytest.mark.parametrize(
    ("mode", "by", "limits", "source"),
    [
        ("bfly", 5, 31, lambda lane: lane ^ 5),
        ("up", 3, 0, lambda lane: lane - 3 if lane >= 3 else lane),
        ("down", 3, 31, lambda lane: lane + 3 if lane <= 28 else lane),
        ("idx", 9, 31, lambda _lane: 9),
        ("idx", 1, 0x1C1F, lambda lane: (lane & 0x1C) | 1),  # within groups of four
    ],
)
def test_shuffles(mode: str, by: int, limits: int, source: Callable[[int], int]) -> None:
    x = [7 * lane for lane in range(LANES)]
    got = run(f"shfl.sync.{mode}.b32 {{out}}, {{x}}, {by}, {limits}, -1;", "b32", x=("b32", x))
    assert got == [x[source(lane)] for lane in range(LANES)]


def test_votes_and_warp_reductions() -> None:
    x = [lane % 3 for lane in range(LANES)]
    given_ = {"x": ("b32", x)}
    vote = "setp.eq.b32 %p1, {x}, 0;\n\tvote.sync.ballot.b32 {out}, %p1, -1;"
    assert run(vote, "b32", **given_) == [sum(1 << i for i in range(0, 32, 3))] * LANES
    assert run("redux.sync.add.s32 {out}, {x}, -1;", "s32", **given_) == [sum(x)] * LANES
    assert run("redux.sync.max.u32 {out}, {x}, -1;", "u32", **given_) == [2] * LANES


def test_registers_are_packed_and_unpacked() -> None:
    x = list(range(0x10000, 0x10000 + LANES))
    body = "mov.b32 {{%rs1, %rs2}}, {x};\n\tmov.b32 {out}, {{%rs2, %rs1}};"
    assert run(body, "b32", x=("b32", x)) == [wrap(v << 16, 32) | v >> 16 for v in x]


def _fragments(kind: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(16, 16, generator=generator).to(kind),
        torch.randn(16, 8, generator=generator).to(kind),
    )


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_a_product_of_tiles_is_laid_out_as_the_manual_says(kind: str) -> None:
    a, b = _fragments(FLOATS[kind])
    pairs_a = a.view(torch.int16).to(torch.int64) & 0xFFFF
    pairs_b = b.view(torch.int16).to(torch.int64) & 0xFFFF

    def pair(matrix: torch.Tensor, row: int, column: int, along_rows: bool = False) -> int:
        next_ = matrix[row + 1, column] if along_rows else matrix[row, column + 1]
        return int(matrix[row, column] | next_ << 16)

    group = [(lane >> 2, 2 * (lane & 3)) for lane in range(LANES)]
    inputs = {
        f"a{i}": ("b32", [pair(pairs_a, g + 8 * (i & 1), c + 8 * (i >> 1)) for g, c in group])
        for i in range(4)
    } | {
        f"b{i}": ("b32", [pair(pairs_b, c + 8 * i, g, along_rows=True) for g, c in group])
        for i in range(2)
    }
    mma = (
        f"mma.sync.aligned.m16n8k16.row.col.f32.{kind}.{kind}.f32 {{{{%r2, %r3, %r4, %r5}}}},"
        " {{{a0}, {a1}, {a2}, {a3}}}, {{{b0}, {b1}}}, {{%r6, %r6, %r6, %r6}};"
    ).replace("{{{", "{{ {").replace("}}}", "} }}")  # fmt: skip
    expected = a.double() @ b.double()
    for register, (row, column) in {2: (0, 0), 3: (0, 1), 4: (8, 0), 5: (8, 1)}.items():
        got = run(f"mov.b32 %r6, 0;\n\t{mma}\n\tmov.b32 {{out}}, %r{register};", "f32", **inputs)
        result = torch.tensor(got, dtype=torch.uint32).view(torch.float32)
        true = torch.stack([expected[g + row, c + column] for g, c in group])
        assert (result - true).abs().max() <= 1e-5
