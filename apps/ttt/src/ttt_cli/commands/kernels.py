"""`ttt kernels`: what can compute the inner loop here, and whether it is right."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ttt_cli.app import new_app
from ttt_cli.options import Common, common_options
from ttt_cli.progress import ProgressLine, table
from ttt_cli.run_report import to_json

if TYPE_CHECKING:
    from ttt_kernels.dispatch import KernelStatus
    from ttt_kernels.self_check import Deviation

_HEADINGS = ("kernel", "here", "inner models", "devices", "state", "shapes", "")

app = new_app("List the kernels, and check that they are right.")


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
