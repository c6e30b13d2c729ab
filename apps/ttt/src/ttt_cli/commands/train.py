"""`ttt train`: train a model and write a run directory."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ttt_cli.app import new_app
from ttt_cli.options import Common, Layers, common_options, config_options, ignored_options
from ttt_config import RunConfig, resolve
from ttt_config.layer import file_layer

app = new_app()


@app.command()
@common_options
@config_options
@ignored_options
def train(
    layers: Layers,
    common: Common,
    notes: tuple[str, ...],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in the directory, if there is one.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Plan the run and estimate what it takes; write nothing."),
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="auto|PATH",
            help="Go on with a run: that at --out if it has a checkpoint (auto), or that of a run "
            "directory or checkpoint. Its settings hold; those that may change can be given.",
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Print lines on a terminal, too, not a live panel.")
    ] = False,
) -> None:
    """Train a language model and write a run directory.

    Without options: a small model, on built-in stories with the built-in tokenizer.
    """
    config, _ = resolve(*layers)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if dry_run:
        _show_dry_run(config, common)
        return
    if resume is not None:
        config = _config_to_resume(config, layers, resume)

    import ttt_training  # not above: it takes seconds, which --help and bad values can do without
    from ttt_cli.train_report import reporting

    with reporting(common, plain=plain) as show:
        ttt_training.train(config, overwrite=overwrite, resume=resume, on_event=show)


def _show_dry_run(config: RunConfig, common: Common) -> None:
    """Say what a run would do and take."""
    from ttt_cli.train_report import describe_dry_run
    from ttt_training.dry_run import dry_run

    found = dry_run(config)
    if common.json:
        print(msgspec.json.encode(found).decode())
        return
    print(describe_dry_run(found))


def _config_to_resume(config: RunConfig, layers: Layers, resume: str) -> RunConfig:
    """The configuration of the run that goes on, under what the command line gives."""
    from ttt_training.checkpoint_files import committed_checkpoints
    from ttt_training.run_dir import find_run

    folder = Path(config.out if resume == "auto" else resume)
    begun = all((folder / name).is_file() for name in ("config.toml", "tokenizer.json"))
    if resume == "auto" and not begun and not committed_checkpoints(folder / "checkpoints"):
        return config  # it begins; what a kill left of an earlier beginning does not count
    run, checkpoint = find_run(folder)
    if checkpoint is not None:
        folder = run.path
    begun, _ = resolve(file_layer(folder), *layers)
    return msgspec.structs.replace(begun, out=str(folder))  # it may have been moved
