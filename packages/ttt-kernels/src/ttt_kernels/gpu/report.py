"""What the kernels are made of, compiled for any target without a GPU, beside the least possible.

Work and traffic of a token and head come from the kernel's own IR: every product of tiles and every
access to global memory in the loop, padding included. The floor is what the mathematics needs
(docs/kernels.md, "Work"): each argument read once, each result written once.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ttt_kernels.capability import dtype_name
from ttt_kernels.errors import KernelUnavailableError
from ttt_kernels.gpu.trial import DIRECTIONS, Trial

if TYPE_CHECKING:
    from ttt_kernels.verify.launch import Launch

TARGETS = ("sm_80", "sm_90", "gfx90a", "gfx942", "gfx1030", "gfx1100")
FAMILIES = ("tile", "naive")
FORMS = ("latency", "throughput")
SIMULATED = "sm_80"
"""The target whose compiled code can be executed here."""

Row = dict[str, Any]


class Work(NamedTuple):
    """Floating-point operations of matrix products, and bytes of global memory."""

    flops: float | None
    bytes: float | None


def kernel_report(
    targets: Sequence[str] = TARGETS,
    kernels: Sequence[str] = FAMILIES,
    *,
    head_dims: Sequence[int] = (64,),
    mini_batch_sizes: Sequence[int] = (16,),
    dtypes: Sequence[torch.dtype] = (torch.bfloat16,),
    form: str = "latency",
    executed: bool = False,
    on_progress: Callable[[str], None] | None = None,
) -> list[Row]:
    """Compile kernels and say what they are made of; nothing needs a GPU.

    Args:
        targets: of `ttt_kernels.verify.TARGETS`.
        kernels: `tile` or `naive`; their `-multi` forms are the same code and named alike.
        head_dims: D.
        mini_batch_sizes: M.
        dtypes: of the tokens.
        form: of the launch table, `latency` or `throughput`.
        executed: also run the code for sm_80 in a simulator, and add what one more mini-batch of
            one sequence and head makes it do.
        on_progress: told what is about to be compiled.

    Returns:
        A row for each kernel, direction, shape, dtype and target. If the compiler refuses a kernel,
        its row has `error` in place of the figures.

    Raises:
        KernelUnavailableError: Triton is not installed, knows no such target or kernel, or the
            kernel refuses the shape.
    """
    families = list(dict.fromkeys(name.removesuffix("-multi") for name in kernels))
    require_compiler(targets, families)
    rows: list[Row] = []
    points = itertools.product(families, head_dims, mini_batch_sizes, dtypes, targets)
    for family, dim, size, dtype, target in points:
        if on_progress is not None:
            on_progress(f"compiling {family} for {target}, D = {dim}, M = {size}")
        trial = Trial(family, dim, size, dtype)
        rows += _rows(trial, target, form, executed=executed and target == SIMULATED)
    return rows


def require_compiler(targets: Sequence[str], kernels: Sequence[str]) -> None:
    """Raise if there is nothing to compile, or nothing to compile it with.

    Args:
        targets: to compile for.
        kernels: families.

    Raises:
        KernelUnavailableError: Triton is not installed, or knows no such target or kernel.
    """
    if find_spec("triton") is None:
        raise KernelUnavailableError("triton is not installed; install ttt-kernels[triton,verify]")
    from ttt_kernels.verify.targets import TARGETS as KNOWN

    for asked, known, what in ((targets, KNOWN, "target"), (kernels, FAMILIES, "Triton kernel")):
        for name in asked:
            if name not in known:
                raise KernelUnavailableError(
                    f"unknown {what} `{name}`: expected one of {', '.join(known)}"
                )


def _rows(trial: Trial, target: str, form: str, *, executed: bool) -> list[Row]:
    from ttt_kernels.gpu.launch import launched_as

    rows = [form_row(trial, direction, target, form) for direction in DIRECTIONS]
    if executed and not any("error" in row for row in rows):
        with launched_as(trial.forms(target, form)):
            ran = execute(trial)
        for row in rows:
            row["executed"] = ran[row["direction"]]
    return rows


def form_row(trial: Trial, direction: str, target: str, form: str) -> Row:
    """The row of one direction, launched as the table says."""
    launch = trial.launches(target)[direction]
    options = trial.forms(target, form)[launch.name].options()
    return {
        "kernel": trial.family,
        "direction": direction,
        "head_dim": trial.head_dim,
        "mini_batch_size": trial.mini_batch_size,
        "dtype": dtype_name(trial.dtype),
        "target": target,
        "form": form,
        **figures(trial, direction, replace(launch, options=options), target),
    }


def figures(trial: Trial, direction: str, launch: "Launch", target: str) -> Row:
    """What one launch becomes on a target."""
    from ttt_kernels.verify import CompileError
    from ttt_kernels.verify.offline.compiler import compile_launch

    try:
        compiled = compile_launch(launch, target)
    except CompileError as error:
        return {"error": str(error)}
    whole = compiled.report.row()
    loop = main_loop(whole.pop("loops"))
    work = work_of(compiled.text("ttir"), trial)
    least = floor(direction, trial)
    names = ("num_warps", "registers", "spill_bytes", "stack_bytes", "shared_bytes", "instructions")
    return {
        "num_stages": compiled.num_stages,
        **{name: whole[name] for name in (*names, "mma", "barriers", "shuffles", "fma")},
        "loop_instructions": loop["instructions"],
        "loop_mma": loop["mma"],
        "loop_barriers": loop["barriers"],
        **{name: whole[name] for name in ("occupancy", "resident_warps", "limiter")},
        "flops_per_token": work.flops,
        "floor_flops_per_token": least.flops,
        "bytes_per_token": work.bytes,
        "floor_bytes_per_token": least.bytes,
    }


def main_loop(loops: Iterable[dict[str, int]]) -> dict[str, int]:
    """The loop over tiles: the smallest with all products, or the largest if there are none.

    A compiler that lays out the start of a kernel behind its loop makes the outer ones too large.
    """
    found = list(loops)
    most = max(loop["mma"] for loop in found)
    if most == 0:
        return max(found, key=lambda loop: loop["instructions"])
    return min(
        (loop for loop in found if loop["mma"] == most), key=lambda loop: loop["instructions"]
    )


def execute(trial: Trial) -> dict[str, Row]:
    """What a mini-batch of one program does on sm_80: a fourth of what 8 do more than 4."""
    from ttt_kernels.verify import simulated

    counts = []
    for mini_batches in (4, 8):
        with simulated(SIMULATED) as runs:
            replace(trial, mini_batches=mini_batches).run()
        counts.append(list(runs))
    names = {
        "warp_instructions": "warp_instructions",
        "mma": "mma",
        "barriers": "barriers",
        "shared_wavefronts": "shared_wavefronts",
        "bytes_loaded": "global_bytes_loaded",
        "bytes_stored": "global_bytes_stored",
    }
    return {
        direction: {
            name: (getattr(more, of) - getattr(few, of)) / 4 / few.programs
            for name, of in names.items()
        }
        for direction, few, more in zip(DIRECTIONS, *counts, strict=True)
    }


def floor(direction: str, trial: Trial) -> Work:
    """The least a token and head can cost, walking the state back with g kept from the forward."""
    dim, size = trial.head_dim, trial.mini_batch_size
    width = torch.empty((), dtype=trial.dtype).element_size()
    if direction == "forward":  # read q, k, v, lr; write out, g
        return Work(2 * (3 * dim**2 + 2 * size * dim), 5 * dim * width + 4)
    # read q, k, v, lr, g, d_out; write dq, dk, dv, d_lr
    return Work(2 * (9 * dim**2 + 6 * size * dim), 8 * dim * width + 8)


_ACCESS = re.compile(r"\btt\.(?:load|store) .*: (?:tensor<([\dx]+)x)?!tt\.ptr<(\w+)>")
_PRODUCT = re.compile(r"\btt\.dot .*: tensor<(\d+)x(\d+)x\w+> \* tensor<\d+x(\d+)x\w+>")


def work_of(ttir: str, trial: Trial) -> Work:
    """Work of a token, read off the IR: the loop over mini-batches, and that over their tokens.

    Unknown, None, for mini-batches of several tiles, whose inner loops run a varying number of
    rounds; FLOP also where no product is one of tiles.
    """
    from ttt_kernels.gpu.linear import TILE_ROWS

    if trial.family == "tile" and trial.mini_batch_size > TILE_ROWS:
        return Work(None, None)
    flops = traffic = 0.0
    loops: list[int] = []
    for line in ttir.splitlines():
        depth = len(line) - len(line.lstrip())
        if loops and depth <= loops[-1] and line.lstrip().startswith("}"):
            loops.pop()
        times = {0: 0.0, 1: 1 / trial.mini_batch_size}.get(len(loops), 1.0)
        if product := _PRODUCT.search(line):
            rows, inner, columns = map(int, product.groups())
            flops += times * 2 * rows * inner * columns
        if access := _ACCESS.search(line):
            count = 1
            for size in (access[1] or "1").split("x"):
                count *= int(size)
            traffic += times * count * int(re.sub(r"\D", "", access[2])) / 8
        if "scf.for" in line:
            loops.append(depth)
    return Work(flops or None, traffic)
