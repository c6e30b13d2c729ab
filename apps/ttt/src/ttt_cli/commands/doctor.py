"""`ttt doctor`: whether this machine can do what is asked of it, and what to do where it cannot."""

from typing import TYPE_CHECKING, Annotated

import typer

from ttt_cli.app import new_app
from ttt_cli.options import Common, Layers, common_options, config_options
from ttt_cli.progress import ProgressLine
from ttt_cli.run_report import to_json
from ttt_config import TTTError, resolve

if TYPE_CHECKING:
    from ttt_training.doctor import Finding

_MARKS = {"ok": "ok", "warning": "warn", "problem": "BAD"}

app = new_app()


class UnhealthyError(TTTError):
    """A check found a problem."""


@app.command()
@common_options
@config_options
def doctor(
    layers: Layers,
    common: Common,
    checks: Annotated[
        list[str] | None, typer.Argument(metavar="[CHECK]...", help="Only these; default: all.")
    ] = None,
) -> None:
    """Check this machine for a run: software, device, kernels, disk, data; say how to mend it.

    The options are those of `ttt train`: what they plan is what has to fit. The checks are python,
    torch, device, triton, compiler, kernel, caches, threads, disk, tokenizer and data. The exit
    code is 1 if there is a problem; a warning is none.
    """
    config, _ = resolve(*layers)
    from ttt_training.doctor import examine

    with ProgressLine(quiet=common.quiet or common.json) as progress:
        found = examine(config, checks or (), progress.show)
    if common.json:
        print(to_json(found))
    else:
        shown = [each for each in found if each.status != "ok" or not common.quiet]
        print("\n".join(map(_lines, shown)), end="\n" if shown else "")
    problems = [each.check for each in found if each.status == "problem"]
    if problems:
        raise UnhealthyError(
            f"{len(problems)} problem{'s' if len(problems) > 1 else ''} "
            f"({', '.join(dict.fromkeys(problems))}); each has its fix beside it"
        )


def _lines(finding: "Finding") -> str:
    """A finding, and below it what to do."""
    line = f"{_MARKS[finding.status]:4}  {finding.check:9}  {finding.found}"
    return line if finding.fix is None else f"{line}\n{'':17}-> {finding.fix}"
