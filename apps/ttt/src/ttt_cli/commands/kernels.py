"""`ttt kernels`: what can compute the inner loop here, whether it is right, what it is made of."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ttt_cli.app import new_app
from ttt_cli.options import Common, common_options
from ttt_cli.progress import ProgressLine, megabytes, table
from ttt_cli.run_report import to_json

if TYPE_CHECKING:
    import torch

    from ttt_kernels.dispatch import KernelStatus
    from ttt_kernels.gpu.tune import Choice
    from ttt_kernels.self_check import Deviation

_HEADINGS = ("kernel", "here", "inner models", "devices", "state", "shapes", "")

_STATIC = {
    "kernel": "kernel",
    "direction": "direction",
    "target": "target",
    "dtype": "dtype",
    "D": "head_dim",
    "M": "mini_batch_size",
    "warps": "num_warps",
    "stages": "num_stages",
    "registers": "registers",
    "spill": "spill_bytes",
    "stack": "stack_bytes",
    "shared": "shared_bytes",
    "instructions": "instructions",
    "loop": "loop_instructions",
    "mma": "loop_mma",
    "barriers": "loop_barriers",
    "occupancy": "occupancy",
    "B/token": "bytes_per_token",
    "floor B": "floor_bytes_per_token",
    "FLOP/token": "flops_per_token",
    "floor FLOP": "floor_flops_per_token",
}
_EXECUTED = {
    "warp instructions": "warp_instructions",
    "mma": "mma",
    "barriers": "barriers",
    "shared wavefronts": "shared_wavefronts",
    "bytes loaded": "bytes_loaded",
    "bytes stored": "bytes_stored",
}

Dtype = Literal["bfloat16", "float16", "float32"]
Target = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="NAME", help="Compile for this one, as sm_80; repeatable."),
]
Kernel = Annotated[
    list[str] | None,
    typer.Option("--kernel", metavar="NAME", help="tile or naive; repeatable. Default: both."),
]
Dim = Annotated[
    list[int] | None,
    typer.Option("--dim", min=1, help="Features of a head; repeatable. Default: 64."),
]
MiniBatch = Annotated[
    list[int] | None,
    typer.Option("--mini-batch", min=1, help="Tokens of a mini-batch; repeatable. Default: 16."),
]

app = new_app("List the kernels, check that they are right, see what they are made of.")


@app.command("list")
@common_options
def list_(common: Common) -> None:
    """List every kernel, whether it is available here and what it computes; the fastest first."""
    from ttt_kernels.dispatch import kernel_statuses

    found = kernel_statuses()
    if common.json:
        print(to_json([_facts(each) for each in found]))
        return
    print(_columns([_HEADINGS, *(_row_of(each) for each in found)]))


@app.command()
@common_options
def check(
    common: Common,
    kernel: Annotated[
        str | None,
        typer.Option("--kernel", metavar="NAME", help="Check this one; default: all available."),
    ] = None,
) -> None:
    """Compare kernels with the reference in float64: outputs, final states and every gradient.

    A kernel that is compiled on its first call takes that time here.
    """
    from ttt_kernels.self_check import check_kernels, require_passed

    with ProgressLine(quiet=common.quiet or common.json) as progress:
        found = check_kernels([] if kernel is None else [kernel], progress.show)
    if common.json:
        print(to_json([{**vars(each), "passed": each.passed} for each in found]))
    elif not common.quiet:
        print(_tables(found))
    require_passed(found)


@app.command()
@common_options
def report(
    common: Common,
    target: Target = None,
    kernel: Kernel = None,
    dim: Dim = None,
    mini_batch: MiniBatch = None,
    dtype: Annotated[
        Dtype,
        typer.Option("--dtype", help="Of the tokens."),
    ] = "bfloat16",
    form: Annotated[
        Literal["latency", "throughput"],
        typer.Option("--form", help="Launched as for few programs, or for many."),
    ] = "latency",
    executed: Annotated[
        bool,
        typer.Option(
            "--executed", help="Also count what a mini-batch executes: sm_80, in a simulator."
        ),
    ] = False,
) -> None:
    """Compile the Triton kernels and say what they are made of; no GPU is needed.

    Of the loop over mini-batches: instructions, matrix instructions and barriers of a warp. Bytes
    and FLOP are those of a token and head, beside the least the mathematics needs.
    """
    from ttt_kernels import kernel_report
    from ttt_kernels.gpu.report import FAMILIES, TARGETS

    with ProgressLine(quiet=common.quiet or common.json) as progress:
        rows = kernel_report(
            target or TARGETS,
            kernel or FAMILIES,
            head_dims=dim or [64],
            mini_batch_sizes=mini_batch or [16],
            dtypes=[_dtype(dtype)],
            form=form,
            executed=executed,
            on_progress=progress.show,
        )
    print(to_json(rows) if common.json else _report(rows))


@app.command()
@common_options
def tune(
    common: Common,
    target: Target = None,
    kernel: Kernel = None,
    dim: Dim = None,
    mini_batch: MiniBatch = None,
    dtype: Annotated[Dtype, typer.Option("--dtype", help="Of the tokens.")] = "bfloat16",
    write: Annotated[
        bool, typer.Option("--write", help="Put what is found into the launch table.")
    ] = False,
) -> None:
    """Find how kernels are best launched: compile candidates, prove the best ones right.

    On a GPU of the target all candidates are timed. Without one they are ranked by what spills,
    then by instructions of the loop. What is chosen is held against the reference first: simulated
    for sm_80, interpreted for other targets.
    """
    import itertools

    from ttt_kernels.gpu.report import FAMILIES, TARGETS
    from ttt_kernels.gpu.trial import Trial
    from ttt_kernels.gpu.tune import tune as find
    from ttt_kernels.gpu.tune import write as write_choices

    found: list[Choice] = []
    with ProgressLine(quiet=common.quiet or common.json) as progress:
        for name, width, size, where in itertools.product(
            kernel or FAMILIES, dim or [64], mini_batch or [16], target or TARGETS
        ):
            trial = Trial(name.removesuffix("-multi"), width, size, _dtype(dtype))
            here = find(trial, where, progress.show)
            if write:
                write_choices(here)
            found += here
    print(to_json([_choice(each) for each in found]) if common.json else _choices(found))


@app.command()
@common_options
def cache(
    common: Common,
    clear: Annotated[bool, typer.Option("--clear", help="Remove what is in them.")] = False,
) -> None:
    """Say where compiled kernels are kept, how much it is, and what they are kept by.

    A kernel whose source has changed is compiled anew: its old code is not found.
    """
    from ttt_kernels.caches import code_caches

    found = code_caches()
    sizes = [each.size_bytes() for each in found]
    facts = [
        {
            "name": each.name,
            "directory": str(each.directory),
            "variable": each.variable,
            "entries": len(list(each.folders())),
            "bytes": size,
            "key": each.key,
            "cleared": clear,
        }
        for each, size in zip(found, sizes, strict=True)
    ]
    if clear:
        for each in found:
            each.clear()
    if common.json:
        print(to_json(facts))
    elif not common.quiet:
        removed = "removed from" if clear else "in"
        for each, fact in zip(found, map(megabytes, sizes), strict=True):
            print(f"{each.name}: {fact} {removed} {each.directory} ({each.variable})")
            print(f"  kept by {each.key}")


def _dtype(name: str) -> "torch.dtype":
    import torch

    return {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}[name]


def _report(rows: "Sequence[dict[str, Any]]") -> str:
    """A table of the compiled kernels, one of what was executed, and what did not compile."""
    compiled = [row for row in rows if "error" not in row]
    ran = [row | row["executed"] for row in compiled if "executed" in row]
    names = {name: _STATIC[name] for name in ("kernel", "direction", "target", "dtype", "D", "M")}
    parts = [
        _figures(compiled, _STATIC),
        _figures(ran, {**names, "warps": "num_warps", **_EXECUTED}),
    ]
    return "\n\n".join([*filter(None, parts), *(row["error"] for row in rows if "error" in row)])


def _figures(rows: "Sequence[dict[str, Any]]", columns: dict[str, str]) -> str:
    cells = [[_figure(row[column]) for column in columns.values()] for row in rows]
    return _columns([list(columns), *cells]) if rows else ""


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if value < 1 else f"{value:.0f}"
    return "-" if value is None else str(value)


def _choice(found: "Choice") -> dict[str, object]:
    return {
        "target": found.target,
        **found.shape._asdict(),
        **{name: form._asdict() for name, form in found.forms._asdict().items()},
        "proven": found.proven,
        "error": found.error,
        "candidates": list(found.rows.values()),
    }


def _choices(found: "Sequence[Choice]") -> str:
    """All candidates; those that were chosen are marked."""
    rows = [["kernel", "target", "D", "M", "warps", "stages", "stack", "loop", "ms", ""]]
    for each in found:
        for form, row in each.rows.items():
            chosen = [name for name, its in each.forms._asdict().items() if its == form]
            proven = [f"{each.proven}: {each.error:.1e}"] if chosen else []
            times = " / ".join(f"{ms:.3g}" for ms in row.get("ms", {}).values())
            figures = (row["stack_bytes"], row["loop_instructions"], times or "-")
            shape = (each.kernel, each.target, each.shape.dim, each.shape.mini_batch)
            rows.append([*map(str, (*shape, *form, *figures)), ", ".join([*chosen, *proven])])
    return _columns(rows)


def _facts(status: "KernelStatus") -> dict[str, object]:
    from ttt_kernels.capability import dtype_name

    can = status.capability
    return {
        "name": status.name,
        "available": status.available,
        "reason": status.reason,
        "kinds": can.kinds,
        "devices": can.devices,
        "dtypes": [dtype_name(dtype) for dtype in can.dtypes],
        "shapes": can.shapes,
        "about": can.about,
    }


def _row_of(status: "KernelStatus") -> tuple[str, ...]:
    facts = _facts(status)

    def listed(name: str) -> str:
        match facts[name]:
            case list() | tuple() as values:
                return ", ".join(values)
            case value:
                return "any" if value is None else str(value)

    here = "yes" if status.available else f"no: {status.reason}"
    return (status.name, here, *map(listed, ("kinds", "devices", "dtypes", "shapes", "about")))


def _columns(rows: "Sequence[Sequence[str]]") -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _tables(found: "Sequence[Deviation]") -> str:
    """A table for each kernel and dtype: results below each other, inner models side by side."""
    parts = []
    for kernel, dtype in dict.fromkeys((each.kernel, each.dtype) for each in found):
        here = [each for each in found if (each.kernel, each.dtype) == (kernel, dtype)]
        kinds = list(dict.fromkeys(each.kind for each in here))
        cells = {(each.tensor, each.kind): each for each in here}
        rows = [(f"{kernel}, {dtype}", _row([*kinds, "tolerance"]))]
        for tensor in sorted({each.tensor for each in here}, key=_place):
            shown = [_cell(cells.get((tensor, kind))) for kind in kinds]
            limit = next(each.tolerance for each in here if each.tensor == tensor)
            rows.append((tensor, _row([*shown, f"{limit:.0e}"])))
        parts.append(table(rows))
    return "\n\n".join(parts)


def _place(tensor: str) -> tuple[int, str]:
    """Outputs, then states, then gradients."""
    first = ("output", "final", "gradient")
    return first.index(tensor.split()[0]), tensor


def _row(cells: "Sequence[str]") -> str:
    return "  ".join(f"{cell:>11}" for cell in cells)


def _cell(deviation: "Deviation | None") -> str:
    if deviation is None:
        return "-"
    return f"{deviation.error:.1e}{'' if deviation.passed else ' !'}"
