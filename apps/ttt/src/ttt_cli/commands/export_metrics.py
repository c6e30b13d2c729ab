"""`ttt export-metrics`: what runs logged, as CSV for plotting."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ttt_cli.app import new_app
from ttt_cli.options import Common, common_options
from ttt_cli.run_report import to_json

app = new_app()

Choice = Literal["true", "false"]


@app.command("export-metrics")
@common_options
def export(
    common: Common,
    directories: Annotated[
        list[str],
        typer.Argument(
            metavar="DIRS", help="Run directories, folders of them, quoted patterns as 'runs/*'."
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Writes FILE with _train and _valid in its name."
        ),
    ] = "metrics.csv",
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics",
            "-m",
            metavar="NAMES",
            help="Columns, separated by commas: loss, perplexity, learning-rate, grad-norm, "
            "tokens-per-s, bits-per-byte, inner-loss-before, inner-loss-after.  "
            "[default: loss,perplexity]",
        ),
    ] = None,
    train: Annotated[Choice, typer.Option("--train", help="Write the training steps.")] = "true",
    valid: Annotated[Choice, typer.Option("--valid", help="Write the evaluations.")] = "true",
    window: Annotated[
        int,
        typer.Option(
            "--window", metavar="N", help="Smooth by the mean of N rows around each; 1: not at all."
        ),
    ] = 1,
    target_points: Annotated[
        int | None,
        typer.Option(
            "--target-points",
            metavar="N",
            help="Rows of a run in a file at most, each a mean; all if left out.",
        ),
    ] = None,
) -> None:
    """Write what runs logged as CSV, for plotting: a row a logged step or evaluation.

    Both files have the columns experiment, epoch, step, global_step and the metrics. `step` counts
    the rows of an epoch, `global_step` is the optimizer step. What was not measured is empty.
    """
    from ttt_training.export_metrics import Export, export_metrics, find_runs

    wanted = Export(
        metrics=_names(metrics or ["loss,perplexity"]),
        splits=(*(("train",) if train == "true" else ()), *(("valid",) if valid == "true" else ())),
        window=window,
        target_points=target_points,
    )
    wanted.check()
    runs = find_runs(directories)
    for line in runs.left_out:
        print(f"warning: {line}", file=sys.stderr)
    written = export_metrics(runs.paths, Path(output), wanted)
    if common.json:
        names = [str(path) for path in runs.paths]
        print(to_json({"runs": names, "files": written}))
    elif not common.quiet:
        for table in written:
            print(f"{table.path}  rows: {table.rows:,}, runs: {len(runs.paths):,}")


def _names(given: list[str]) -> tuple[str, ...]:
    """The metrics that are asked for, each once; `_` stands for `-`, as in the header."""
    names = [name.strip().replace("_", "-") for text in given for name in text.split(",")]
    return tuple(dict.fromkeys(names))
