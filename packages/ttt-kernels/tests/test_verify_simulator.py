"""The PTX simulator: compiled kernels compute what they should, and their faults are seen."""

import re
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from kernel_launches import CASES, TOLERANCES, Case, add, linear_attention, matmul, softmax

from ttt_kernels.verify import (
    BarrierError,
    KernelFaultError,
    LaunchError,
    OutOfBoundsError,
    RaceError,
    UninitializedError,
    UnsupportedError,
    compile_kernel,
    hardened,
    simulate,
    simulated,
)
from ttt_kernels.verify.ptx import execute_ptx


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("add", torch.bfloat16),
        ("softmax", torch.float32),
        ("layer_norm", torch.float16),
        *((name, dtype) for name in ("matmul", "linear_attention") for dtype in TOLERANCES),
    ],
)
def test_compiled_kernels_compute_what_they_should(name: str, dtype: torch.dtype) -> None:
    case = CASES[name](dtype)
    with simulated() as runs:
        case.launch(num_warps=4)
    assert case.error() <= TOLERANCES[dtype]
    assert [run.programs for run in runs] == [torch.tensor(case.grid).prod().item()]
    assert runs[0].pending_copies == 0


@pytest.mark.parametrize("num_warps", [1, 8])
def test_any_number_of_warps_gives_the_same(num_warps: int) -> None:
    case = linear_attention(torch.float16)
    with simulated():
        case.launch(num_warps=num_warps)
    assert case.error() <= TOLERANCES[torch.float16]


@pytest.mark.parametrize("name", ["layer_norm", "matmul"])
def test_interpreter_and_simulator_agree(name: str) -> None:
    interpreted, executed = CASES[name](torch.float32), CASES[name](torch.float32)
    with hardened():
        interpreted.launch()
    with simulated():
        executed.launch()
    (out,) = interpreted.expected
    difference = (interpreted.arguments[out] - executed.arguments[out]).abs().max()
    assert difference <= 1e-5


def test_what_is_executed_is_counted() -> None:
    case = add(torch.float32, n=1024)
    compiled = compile_kernel(case.kernel, num_warps=2, **case.arguments)
    run = simulate(compiled, case.grid, **case.arguments)
    assert run.global_bytes_loaded == 2 * 1024 * 4
    assert run.global_bytes_stored == 1024 * 4
    assert run.global_sectors_loaded == 2 * 1024 * 4 // 32
    assert run.warp_instructions == sum(run.by_class.values())
    assert run.by_class["ret"] == 4 * 2
    assert run.mma == run.barriers == run.shared_wavefronts == 0


def test_matrix_instructions_are_counted_by_warp() -> None:
    with simulated() as runs:
        matmul(torch.bfloat16).launch(num_warps=4)
    (run,) = runs
    assert run.mma == (64 // 16) * (64 // 8) * (96 // 16)  # none is done twice
    assert run.by_class["mma"] == run.mma
    assert run.barriers > 0
    assert run.shared_wavefronts >= run.ideal_shared_wavefronts > 0


def test_arguments_may_be_left_out_only_if_they_are_constants() -> None:
    case = softmax(torch.float32)
    compiled = compile_kernel(case.kernel, **case.arguments)
    arguments = dict(case.arguments)
    del arguments["COLUMNS"]
    simulate(compiled, case.grid, *arguments.values())
    assert case.error() <= 1e-6
    with pytest.raises(LaunchError, match="no `out_ptr`"):
        simulate(compiled, case.grid, case.arguments["x_ptr"])


def test_an_access_outside_a_tensor_is_named() -> None:
    case = add(torch.float32)
    case.arguments["out_ptr"] = torch.zeros(999)
    case.arguments["n"] = 1000
    with simulated(), pytest.raises(OutOfBoundsError, match=r"`out_ptr`, which has 3996") as caught:
        case.launch(num_warps=1)
    assert any("st.global" in note for note in caught.value.__notes__)
    assert any("launch of `add`" in note for note in caught.value.__notes__)


def test_tensors_that_share_memory_share_it_in_the_simulator() -> None:
    both = torch.arange(64.0)

    @triton.jit
    def twice(x_ptr: tl.tensor, out_ptr: tl.tensor, N: tl.constexpr) -> None:
        i = tl.arange(0, N)
        tl.store(out_ptr + i, tl.load(x_ptr + i) * 2)

    with simulated():
        twice[(1,)](both[:32], both[16:48], N=32, num_warps=1)
    before = torch.arange(64.0)
    assert torch.equal(both[16:48], before[:32] * 2)
    assert torch.equal(both[:16], before[:16])


# Mutations: a fault put into a compiled kernel must show.


def _mutants(case: Case, pattern: str, replacement: str, **options: Any) -> list[str]:
    """What becomes of a kernel when each match of a pattern in its PTX is replaced in turn."""
    compiled = compile_kernel(case.kernel, **case.arguments, **options)
    ptx = compiled.text("ptx")
    given = {name: case.arguments[name] for name in compiled.parameters}
    fates = []
    for match in re.finditer(pattern, ptx, re.MULTILINE):
        mutant = ptx[: match.start()] + match.expand(replacement) + ptx[match.end() :]
        for name in case.expected:
            case.arguments[name].fill_(float("nan"))
        try:
            execute_ptx(mutant, compiled.shared_bytes, case.grid, given)
        except KernelFaultError as error:
            fates.append(type(error).__name__)
        else:
            fates.append("right" if case.error() <= 2e-2 else "wrong result")
    assert fates
    return fates


@pytest.mark.parametrize("name", ["matmul", "linear_attention"])
def test_every_deleted_barrier_is_a_race(name: str) -> None:
    fates = _mutants(CASES[name](torch.bfloat16), r"^\s*bar\.sync\s+0;\n", "", num_warps=4)
    # Some nothing needs: the pipeline begins with one before any shared memory has been read.
    assert fates.count("right") <= (1 if triton.__version__.startswith("3.7.") else 2)
    assert fates.count("RaceError") >= 6
    assert set(fates) <= {"RaceError", "right"}


def test_every_flipped_fragment_gives_a_wrong_result() -> None:
    case, plain = matmul(torch.bfloat16), r"(ldmatrix\.\S+?\.x\d)\.shared"
    flipped = _mutants(case, plain, r"\1.trans.shared", num_warps=4)
    flipped += _mutants(case, r"(ldmatrix\.\S+?)\.trans\.shared", r"\1.shared", num_warps=4)
    assert set(flipped) == {"wrong result"}


def test_every_copy_that_is_not_waited_for_is_seen() -> None:
    wait = r"^\s*cp\.async\.wait_group\s+\S+;\n"
    fates = _mutants(matmul(torch.bfloat16), wait, "", num_warps=4, num_stages=3)
    assert "RaceError" in fates
    assert set(fates) <= {"RaceError", "UninitializedError", "right"}


def test_every_deleted_mask_is_out_of_bounds() -> None:
    case = add(torch.float32, n=769)  # the last program has one element
    fates = _mutants(case, r"@%p\d+ ((?:ld|st)\.global)", r"\1", num_warps=1)
    assert set(fates) == {"OutOfBoundsError"}


# Faults written by hand.

_MODULE = """
.version 8.0
.target sm_80
.address_size 64
.extern .shared .align 16 .b8 global_smem[];
.visible .entry kernel(
	.param .u64 .ptr .global .align 1 kernel_param_0
)
.reqntid 64
{{
	.reg .pred %p<9>;
	.reg .b32 %r<99>;
	.reg .b64 %rd<9>;
	.local .align 8 .b8 	__local_depot0[16];
	.reg .b64 	%SP;
	.reg .b64 	%SPL;
	ld.param.b64 %rd1, [kernel_param_0];
	mov.u32 %r1, %tid.x;
	shl.b32 %r2, %r1, 2;
	cvt.u64.u32 %rd2, %r2;
	add.s64 %rd3, %rd1, %rd2;
	{body}
	ret;
}}
"""


def _run(body: str, shared: int = 256) -> torch.Tensor:
    out = torch.full((64,), -1, dtype=torch.int32)
    module = _MODULE.format(body=body.replace("\n", "\n\t"))
    execute_ptx(module, shared, (1,), {"out": out}, max_instructions=1000)
    return out


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("ld.shared.b32 %r3, [%r2];", UninitializedError, "nothing has written"),
        ("st.shared.b32 [%r2+4], %r1;", OutOfBoundsError, "of shared memory, which has 256"),
        ("and.b32 %r3, %r2, 124;\nst.shared.v2.b32 [%r3+4], {%r1, %r1};",
         KernelFaultError, "8 bytes at 0x4 of shared memory is not aligned"),
        ("xor.b32 %r3, %r2, 128;\nst.shared.b32 [%r2], %r1;\nld.shared.b32 %r4, [%r3];",
         RaceError, "load of shared memory that another warp has stored to"),
        ("and.b32 %r3, %r2, 124;\nst.shared.b32 [%r3], %r1;", RaceError, "a different value"),
        ("setp.lt.u32 %p1, %r1, 32;\n@%p1 bra $L;\nbar.sync 0;\n$L:", BarrierError, "only some"),
        ("setp.lt.u32 %p1, %r1, 3;\n@%p1 bra $L;\nshfl.sync.bfly.b32 %r3, %r1, 1, 31, -1;\n$L:",
         BarrierError, "a lane that does not take part"),
        ("cp.async.ca.shared.global [%r2], [%rd3], 4;\nld.shared.b32 %r3, [%r2];",
         RaceError, "still filling"),
        ("ld.global.b32 %r3, [%rd3+4];", OutOfBoundsError, r"byte 256 of `out`.*element 64"),
        ("ld.global.b32 %r3, [%rd3+-4];", OutOfBoundsError, r"byte -4 of `out`"),
        ("st.global.b32 [%rd1], %r1;", RaceError, "store to global memory"),
        ("$L:\nbra.uni $L;", KernelFaultError, "has not ended"),
        ("tcgen05.alloc.b32 %r3;", UnsupportedError, r"tcgen05.alloc.b32 %r3` \(PTX line"),
        ("add.cc.u32 %r3, %r1, %r1;", UnsupportedError, "does not know `add.cc.u32"),
    ],
)  # fmt: skip
def test_faults_are_named(body: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        _run(body)


def test_threads_that_part_meet_again() -> None:
    body = """setp.lt.u32 %p1, %r1, 40;
@%p1 bra $SMALL;
mov.b32 %r3, 7;
bra.uni $END;
$SMALL:
mov.b32 %r3, 0;
$LOOP:
add.s32 %r3, %r3, 1;
setp.lt.u32 %p2, %r3, %r1;
@%p2 bra $LOOP;
$END:
bar.sync 0;
st.global.b32 [%rd3], %r3;"""
    expected = [max(lane, 1) if lane < 40 else 7 for lane in range(64)]
    assert _run(body).tolist() == expected


def test_a_thread_may_end_early() -> None:
    body = "setp.gt.u32 %p1, %r1, 5;\n@%p1 ret;\nbar.sync 0;\nst.global.b32 [%rd3], %r1;"
    assert _run(body).tolist() == [0, 1, 2, 3, 4, 5, *[-1] * 58]


def test_each_thread_has_memory_of_its_own() -> None:
    body = """mov.b64 %SPL, __local_depot0;
cvta.local.u64 %SP, %SPL;
st.local.b32 [%SPL+4], %r1;
ld.b32 %r3, [%SP+4];
st.global.b32 [%rd3], %r3;"""
    assert _run(body).tolist() == list(range(64))


def test_atomics_of_threads_follow_each_other() -> None:
    body = "atom.global.gpu.acq_rel.add.u32 %r3, [%rd1], 2;\nst.shared.b32 [%r2], %r3;"
    assert _run(body)[0] == -1 + 2 * 64


def test_bank_conflicts_are_counted() -> None:
    from ttt_kernels.verify.ptx.shared_memory import wavefronts

    lanes = torch.arange(32).numpy()
    assert wavefronts(lanes * 4, 4, lanes) == (1, 1)
    assert wavefronts(lanes * 8, 4, lanes) == (2, 1)
    assert wavefronts(lanes * 128, 4, lanes) == (32, 1)
    assert wavefronts(lanes * 0, 4, lanes) == (1, 1)
    assert wavefronts(lanes * 16, 16, lanes) == (4, 4)
    assert wavefronts(lanes * 8, 8, lanes) == (2, 2)
