"""Offline compilation: any target, an honest report, and one clear error."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import example_kernels
import pytest
import torch
import triton
import triton.language as tl
from kernel_launches import matmul, softmax

from ttt_kernels.verify import CompiledKernel, CompileError, LaunchError, compile_kernel, compiling
from ttt_kernels.verify.offline.amd import AMDGCN
from ttt_kernels.verify.offline.listing import Listing, count, count_loops
from ttt_kernels.verify.offline.nvidia import SASS
from ttt_kernels.verify.offline.occupancy import estimate


@triton.jit
def leaves_early(x_ptr: tl.tensor) -> None:
    for i in range(4):
        if i == 2:
            break
        tl.store(x_ptr + i, 0.0)


@triton.jit
def nvidia_only(x_ptr: tl.tensor) -> None:
    x = tl.load(x_ptr)
    y = tl.inline_asm_elementwise(
        "tanh.approx.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
    )
    tl.store(x_ptr, y)


def _compile_matmul(target: str, **options: Any) -> CompiledKernel:
    case = matmul(torch.bfloat16, "ieee")
    return compile_kernel(case.kernel, target=target, **case.arguments, **options)


def test_a_report_says_what_the_machine_code_is_made_of() -> None:
    kernel = _compile_matmul("sm_80", num_warps=4, num_stages=3)
    report = kernel.report
    assert report.spill_bytes == report.stack_bytes == 0
    assert 32 < report.registers <= 255
    assert report.shared_bytes == kernel.shared_bytes >= 3 * (32 * 32 + 32 * 64) * 2 // 2
    (loop,) = report.loops
    assert loop.mma == 8  # 2 x 8 x 2 products of 16 x 8 x 16, by four warps
    assert 0 < loop.instructions < report.instructions
    assert loop.async_copies == 3
    assert loop.barriers in (2, 3)  # by the version of Triton
    assert loop.ldmatrix > 0
    assert report.occupancy is not None
    assert report.occupancy.limiter in ("registers", "shared", "warps", "programs")
    assert kernel.parameters == ("a_ptr", "b_ptr", "c_ptr", "N", "K")


def test_a_report_is_a_row_of_plain_values() -> None:
    row = _compile_matmul("sm_80", num_warps=4, num_stages=3).report.row()
    assert json.loads(json.dumps(row)) == row
    assert {"spill_bytes", "registers", "shared_bytes", "instructions", "mma"} <= row.keys()


GFX1030 = triton.__version__ < "3.9"
_rarely = {"marks": pytest.mark.slow}


@pytest.mark.parametrize(
    "target",
    [
        "sm_90",
        "gfx942",
        pytest.param("gfx1030", marks=pytest.mark.skipif(not GFX1030, reason="dropped in 3.9")),
        pytest.param("sm_86", **_rarely),
        pytest.param("sm_89", **_rarely),
        pytest.param("gfx90a", **_rarely),
        pytest.param("gfx1100", **_rarely),
    ],
)
def test_one_kernel_compiles_for_every_target(target: str) -> None:
    kernel = _compile_matmul(target, num_warps=4)
    report = kernel.report
    assert report.target == target
    assert report.registers > 0
    assert report.shared_bytes > 0
    assert report.counts.barriers > 0
    assert report.counts.global_loads + report.counts.async_copies > 0
    assert report.counts.global_stores > 0
    assert any(loop.mma + loop.fma > 0 for loop in report.loops)
    assert (report.mma > 0) == (target != "gfx1030")  # which has no matrix unit


def test_spills_are_reported() -> None:
    report = _compile_matmul("sm_80", num_warps=1, maxnreg=32).report
    assert report.registers <= 32
    assert report.spill_bytes > 0
    assert report.stack_bytes > 0
    assert report.counts.spill_loads > 0
    assert report.counts.spill_stores > 0


def test_every_launch_in_a_context_is_compiled_and_none_runs() -> None:
    case = softmax(torch.float32)
    with compiling("sm_80", "gfx942") as kernels:
        case.launch(num_warps=2)
    assert [(k.name, k.target, k.num_warps) for k in kernels] == [
        ("softmax", "sm_80", 2),
        ("softmax", "gfx942", 2),
    ]
    assert case.arguments["out_ptr"].isnan().all()


def test_an_error_of_the_language_names_the_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CompileError, match=r"`leaves_early`: .*Break at line 4: `break`"):
        compile_kernel(leaves_early, torch.zeros(4))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        ("os.abort()", "the compiler was ended by signal 6"),
        ("sys.stderr.write('LLVM ERROR: no such thing'); os._exit(1)", "no such thing"),
        ("os._exit(0)", "the compiler ended with code 0"),
    ],
)
def test_a_compiler_that_dies_takes_nobody_with_it(
    death: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(f"import os, sys; {death}")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("ttt_kernels.verify.offline.compiler._WORKER", worker)
    with pytest.raises(CompileError, match=f"cannot compile `add` for sm_80: {reason}$"):
        compile_kernel(example_kernels.add, *torch.zeros(3, 4), 4, BLOCK=4)


@pytest.mark.skipif(not triton.__version__.startswith("3.7."), reason="later ones compile it")
def test_assembly_of_another_vendor_is_one_error(capfd: pytest.CaptureFixture[str]) -> None:
    x = torch.zeros(4)
    with pytest.raises(CompileError, match="cannot compile `nvidia_only` for gfx942: ") as caught:
        compile_kernel(nvidia_only, x, target="gfx942")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
    assert "tanh.approx.f32" in compile_kernel(nvidia_only, x).text("ptx")


def test_a_compiler_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    with pytest.raises(CompileError, match="not done after 0 s"):
        compile_kernel(example_kernels.add, *torch.zeros(3, 4), 4, BLOCK=4, timeout_s=0.01)
    assert not any(path.is_dir() for path in (tmp_path / "offline").iterdir())


def test_what_was_compiled_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    source = tmp_path / "changing.py"
    text = "import triton, triton.language as tl\n@triton.jit\ndef set_to(x_ptr):\n    {}\n"
    runs = 0
    stock_run = subprocess.run

    def counted_run(command: Any, **keywords: Any) -> Any:
        nonlocal runs
        runs += "worker.py" in str(command)
        return stock_run(command, **keywords)

    monkeypatch.setattr(subprocess, "run", counted_run)

    def compiled(value: int) -> str:
        source.write_text(text.format(f"tl.store(x_ptr, {value})"))
        os.utime(source, (value, value))  # inspect reads a file again when its time changes
        spec = importlib.util.spec_from_file_location(f"changing{value}", source)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return compile_kernel(module.set_to, torch.zeros(1, dtype=torch.int32)).text("ptx")

    first = compiled(41)
    assert compiled(41) == first
    assert runs == 1
    assert "42" in compiled(42)  # a changed source never serves an old binary
    assert runs == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "sm_42"}, "no target `sm_42`; there are sm_75, sm_80"),
        ({"num_wraps": 4}, "num_wraps"),
        ({"BLOCK": None}, "missing a required argument: 'BLOCK'"),
    ],
)
def test_wrong_requests_are_refused(changes: dict[str, Any], message: str) -> None:
    keywords: dict[str, Any] = {"n": 4, "BLOCK": 4, **changes}
    keywords = {name: value for name, value in keywords.items() if value is not None}
    with pytest.raises(LaunchError, match=message):
        compile_kernel(example_kernels.add, *torch.zeros(3, 4), **keywords)


def test_loops_are_what_lies_between_a_branch_and_its_label() -> None:
    instructions = ["LDS R1", "FFMA R1", "FFMA R2", "BRA `(.L_x_1)", "HMMA.16816 R1",
                    "BRA `(.L_x_0)", "BRA `(.L_x_2)"]  # fmt: skip
    listing = Listing(instructions, {".L_x_0": 0, ".L_x_1": 2, ".L_x_2": 6})
    inner, outer = count_loops(listing, SASS)
    assert (inner.instructions, inner.fma, outer.instructions, outer.mma) == (2, 1, 6, 1)


def test_instructions_are_told_apart() -> None:
    sass = count(["LDG.E R1", "LDGSTS.E R1", "LDSM.16 R1", "LDS.128 R1", "LDL R1", "STS R1"], SASS)
    assert (sass.global_loads, sass.async_copies, sass.ldmatrix) == (1, 1, 1)
    assert (sass.shared_loads, sass.spill_loads, sass.shared_stores) == (1, 1, 1)
    amd = count(
        ["v_mfma_f32_32x32x8", "ds_read_b128 v1", "buffer_store_dword v0, off, s[0:3], 0 offset:4",
         "buffer_store_dword v0, v1, s[0:3], 0 offen", "s_barrier", "v_fmac_f32_e32 v1"],
        AMDGCN,
    )  # fmt: skip
    assert (amd.mma, amd.shared_loads, amd.spill_stores, amd.global_stores) == (1, 1, 1, 1)
    assert (amd.barriers, amd.fma) == (1, 1)


@pytest.mark.parametrize(
    ("target", "warps", "registers", "shared", "resident", "limiter"),
    [
        ("sm_80", 4, 255, 0, 8, "registers"),  # the occupancy calculator's rows for A100
        ("sm_80", 4, 32, 0, 64, "registers"),
        ("sm_80", 4, 32, 82 * 1024, 4, "shared"),
        ("sm_90", 8, 128, 16384, 16, "registers"),
        ("gfx942", 4, 128, 0, 16, "registers"),
        ("gfx942", 4, 64, 65536, 4, "shared"),
    ],
)
def test_occupancy_follows_from_the_scarcest_resource(
    target: str, warps: int, registers: int, shared: int, resident: int, limiter: str
) -> None:
    occupancy = estimate(target, warps, registers, shared)
    assert occupancy is not None
    assert (occupancy.warps, occupancy.limiter) == (resident, limiter)
