"""The hardened interpreter: the numbers of a GPU, and every access checked."""

import example_kernels
import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_launches import CASES, TOLERANCES, matmul

from ttt_kernels.verify import (
    LaunchError,
    OutOfBoundsError,
    RaceError,
    compile_kernel,
    hardened,
    poisoned,
)

SCALE = tl.constexpr(3)


@triton.jit
def binary(
    x_ptr: tl.tensor,
    y_ptr: tl.tensor,
    sum_ptr: tl.tensor,
    product_ptr: tl.tensor,
    less_ptr: tl.tensor,
    N: tl.constexpr,
) -> None:
    i = tl.arange(0, N)
    x, y = tl.load(x_ptr + i), tl.load(y_ptr + i)
    tl.store(sum_ptr + i, x + y)
    tl.store(product_ptr + i, x * y)
    tl.store(less_ptr + i, (x < y).to(tl.int8))


@triton.jit
def cast(x_ptr: tl.tensor, out_ptr: tl.tensor, N: tl.constexpr) -> None:
    i = tl.arange(0, N)
    tl.store(out_ptr + i, tl.load(x_ptr + i).to(out_ptr.dtype.element_ty))


@triton.jit
def unmasked(x_ptr: tl.tensor, out_ptr: tl.tensor, OFFSET: tl.constexpr, N: tl.constexpr) -> None:
    i = tl.arange(0, N)
    tl.store(out_ptr + i, tl.load(x_ptr + i + OFFSET))


@triton.jit
def all_to_one(out_ptr: tl.tensor, N: tl.constexpr) -> None:
    i = tl.arange(0, N)
    tl.store(out_ptr + i // 2, i)


@triton.jit
def follow(table_ptr: tl.tensor, out_ptr: tl.tensor) -> None:
    source = tl.load(table_ptr).to(tl.pointer_type(tl.float32))
    tl.store(out_ptr, tl.load(source))


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_results_are_right_in_every_format(name: str, dtype: torch.dtype) -> None:
    case = CASES[name](dtype)
    with hardened():
        case.launch()
    assert case.error() <= TOLERANCES[dtype]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2**16 - 1), min_size=32, max_size=32))
def test_bfloat16_arithmetic_is_that_of_torch(bits: list[int]) -> None:
    x, y = torch.tensor(bits, dtype=torch.uint16).view(torch.bfloat16).split(16)
    total, product, less = (torch.empty(16).bfloat16() for _ in range(3))
    less = less.to(torch.int8)
    with hardened():
        binary[(1,)](x, y, total, product, less, N=16)
    assert torch.equal(total.nan_to_num(7.0), (x + y).nan_to_num(7.0))
    assert torch.equal(product.nan_to_num(7.0), (x * y).nan_to_num(7.0))
    assert torch.equal(less.bool(), x < y)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(width=32), min_size=16, max_size=16))
def test_conversion_to_bfloat16_rounds_to_nearest_even(values: list[float]) -> None:
    x, out = torch.tensor(values), torch.empty(16).bfloat16()
    with hardened():
        cast[(1,)](x, out, N=16)
    assert torch.equal(out.nan_to_num(7.0), x.bfloat16().nan_to_num(7.0))


def test_tf32_products_see_ten_mantissa_bits() -> None:
    case = matmul(torch.float32, "tf32")
    with hardened():
        case.launch()
    cut = [
        (case.arguments[n].view(torch.int32) & ~0x1FFF).view(torch.float32).double()
        for n in ("a_ptr", "b_ptr")
    ]
    assert (case.arguments["c_ptr"].double() - cut[0] @ cut[1]).abs().max() <= 2e-5


@pytest.mark.parametrize(
    ("precision", "error"), [("ieee", 1e-6), ("tf32x3", 2e-6), ("bf16x6", 2e-6), ("bf16x3", 3e-5)]
)
def test_split_products_keep_their_precision(precision: str, error: float) -> None:
    case = matmul(torch.float32, precision)
    with hardened():
        case.launch()
    assert case.error() <= error


def test_a_product_too_small_for_the_target_is_refused() -> None:
    case = matmul(torch.float16)
    case.arguments["K_BLOCK"] = 8
    with hardened(), pytest.raises(AssertionError, match="K >= 16"):
        case.launch()


def test_a_precision_that_the_target_has_not_is_refused() -> None:
    case = matmul(torch.float32, "tf32")
    with hardened(target="gfx1100"), pytest.raises(AssertionError, match="input_precision must be"):
        case.launch()


@pytest.mark.parametrize(("offset", "element"), [(1, 16), (-3, -3), (1000, 1000)])
def test_an_access_outside_its_argument_is_named(offset: int, element: int) -> None:
    x, out = torch.zeros(2, 16)  # neighbours in one allocation: what is beyond x is out
    with hardened(), pytest.raises(OutOfBoundsError, match=rf"`x_ptr` at element {element}, .* 16"):
        unmasked[(1,)](x, out, OFFSET=offset, N=16)


def test_a_missing_mask_is_found() -> None:
    x = torch.zeros(1000)
    with hardened(), pytest.raises(OutOfBoundsError, match=r"`out_ptr`.*program \(3, 0, 0\)"):
        # n says more than there is: the same as no mask
        example_kernels.add[(4,)](torch.zeros(1024), torch.zeros(1024), x, 1024, BLOCK=256)


def test_a_strided_view_reaches_to_its_last_element() -> None:
    x, out = torch.zeros(4, 8)[:, :2], torch.zeros(32)
    with hardened():
        unmasked[(1,)](x, out, OFFSET=10, N=16)
    with hardened(), pytest.raises(OutOfBoundsError, match="element 26, but it has 26"):
        unmasked[(1,)](x, out, OFFSET=11, N=16)


def test_addresses_read_from_memory_must_lie_in_an_argument() -> None:
    x, out = torch.tensor([5.0]), torch.zeros(1)
    table = torch.tensor([out.data_ptr()])
    with hardened():
        follow[(1,)](table, out)
    table[0] = x.data_ptr()
    with hardened(), pytest.raises(OutOfBoundsError, match="belongs to no argument"):
        follow[(1,)](table, out)


def test_programs_that_update_one_address_race_unless_by_atomics() -> None:
    x, out = torch.ones(32, 8), torch.zeros(8)
    with hardened():
        example_kernels.column_sums[(2,)](x, out, ROWS=16, COLUMNS=8, ATOMIC=True)
    assert torch.equal(out, torch.full((8,), 32.0))
    with hardened(), pytest.raises(RaceError, match="`out_ptr` element 0 had a store by another"):
        example_kernels.column_sums[(2,)](x, out, ROWS=16, COLUMNS=8, ATOMIC=False)
    with hardened(races=False):
        example_kernels.column_sums[(2,)](x, out, ROWS=16, COLUMNS=8, ATOMIC=False)


def test_a_program_that_reads_what_another_writes_races_through_any_alias() -> None:
    both = torch.zeros(64)

    @triton.jit
    def shift(x_ptr: tl.tensor, out_ptr: tl.tensor, N: tl.constexpr) -> None:
        i = tl.program_id(0) * N + tl.arange(0, N)
        tl.store(out_ptr + i, tl.load(x_ptr + i))

    with hardened():
        shift[(2,)](both, both, N=16)
    with hardened(), pytest.raises(RaceError, match="race between programs"):
        shift[(2,)](both, both[8:], N=16)


def test_lanes_of_one_store_must_agree() -> None:
    with hardened(), pytest.raises(RaceError, match="race within a store: 8 addresses"):
        all_to_one[(1,)](torch.zeros(16, dtype=torch.int32), N=16)


def test_an_output_that_is_not_written_is_poison() -> None:
    with hardened(), poisoned():
        out = torch.empty(300)
        example_kernels.add[(1,)](torch.zeros(300), torch.zeros(300), out, 300, BLOCK=256)
    assert out[:256].eq(0).all()
    assert out[256:].isnan().all()
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_kernel_may_close_over_functions_and_constants() -> None:
    factor = tl.constexpr(2)

    @triton.jit
    def double(x: tl.tensor) -> tl.tensor:
        return x * factor

    @triton.jit
    def scale(x_ptr: tl.tensor, N: tl.constexpr = 8) -> None:
        i = tl.arange(0, N)
        x = tl.load(x_ptr + i)
        tl.store(x_ptr + i, double(x) * SCALE + x.sum() * 0)

    x = torch.ones(8)
    with hardened():
        scale[lambda meta: (meta["N"] // 8,)](x)
    assert torch.equal(x, torch.full((8,), 6.0))


def test_an_autotuned_kernel_runs_its_first_configuration() -> None:
    @triton.autotune([triton.Config({"N": 4}), triton.Config({"N": 8})], key=[])
    @triton.jit
    def fill(x_ptr: tl.tensor, N: tl.constexpr) -> None:
        tl.store(x_ptr + tl.arange(0, N), 1.0)

    x = torch.zeros(8)
    with hardened():
        fill[(1,)](x)
    assert x.sum() == 4


def test_kernels_still_compile_after_a_failed_interpretation() -> None:
    case = CASES["softmax"](torch.float32)
    with hardened(), pytest.raises(OutOfBoundsError):
        example_kernels.softmax[(9,)](**case.arguments)
    assert compile_kernel(case.kernel, **case.arguments).report.instructions > 0


def test_wrong_launches_are_refused() -> None:
    x = torch.zeros(8)
    with hardened():
        with pytest.raises(LaunchError, match="missing a required argument: 'out_ptr'"):
            unmasked[(1,)](x)
        with pytest.raises(LaunchError, match="a grid is one to three positive integers"):
            unmasked[(0,)](x, x, OFFSET=0, N=8)
        with pytest.raises(LaunchError, match="`x_ptr` is on meta"):
            unmasked[(1,)](x.to("meta"), x, OFFSET=0, N=8)
    with pytest.raises(LaunchError, match="no target `sm_42`"), hardened(target="sm_42"):
        pass
