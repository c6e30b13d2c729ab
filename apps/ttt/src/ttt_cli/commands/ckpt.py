"""`ttt ckpt`: list, check and prune the checkpoints of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttt_cli.app import new_app
from ttt_cli.generation import Run
from ttt_cli.options import Common, common_options
from ttt_cli.progress import table
from ttt_cli.run_report import describe_checkpoint, to_json
from ttt_config import CheckpointError, InvalidValueError

if TYPE_CHECKING:
    from ttt_training.retention import CheckpointStatus

app = new_app("List, check and prune the checkpoints of a run.")


@app.command("ls")
@common_options
def list_(run: Run, common: Common) -> None:
    """List the checkpoints of a run; every one is verified."""
    found = _statuses(run)
    if common.json:
        print(to_json(found))
    elif found:
        print(table([(Path(each.path).name, describe_checkpoint(each)) for each in found]))


@app.command()
@common_options
def verify(run: Run, common: Common) -> None:
    """Check every byte of a run's checkpoints, or of one, against its manifest."""
    found = _statuses(run)
    problems = [each.problem for each in found if each.problem is not None]
    if common.json:
        print(to_json(found))
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CheckpointError(f"{problems[0]}{more}")
    if not (common.json or common.quiet):
        names = ", ".join(Path(each.path).name for each in found)
        print(f"every byte is as it was written: {names or 'no checkpoint yet'}")


@app.command()
@common_options
def prune(
    run: Run,
    common: Common,
    keep_last: Annotated[
        int, typer.Option("--keep-last", metavar="K", help="Keep so many of the newest.")
    ],
    keep_every: Annotated[
        int | None, typer.Option("--keep-every", metavar="N", help="Keep those of every N steps.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which would go.")] = False,
) -> None:
    """Remove old checkpoints; that of the lowest validation loss, and damaged ones, stay."""
    for name, value in (("--keep-last", keep_last), ("--keep-every", keep_every)):
        if value is not None and value < 1:
            raise InvalidValueError(f"{name} is {value}, expected 1 or more")
    from ttt_training.retention import prune_checkpoints, removable_checkpoints
    from ttt_training.run_dir import find_run

    checkpoints = find_run(Path(run))[0].checkpoints
    act = removable_checkpoints if dry_run else prune_checkpoints
    removed = [path.name for path in act(checkpoints, keep_last=keep_last, keep_every=keep_every)]
    if common.json:
        print(to_json({"removed": removed, "dry_run": dry_run}))
    elif not common.quiet:
        verb = "would remove" if dry_run else "removed"
        print(f"{verb} {', '.join(removed)}" if removed else "nothing to remove")


def _statuses(run: str) -> "list[CheckpointStatus]":
    """Verify all checkpoints of a run, or the one that is named."""
    from ttt_training.retention import checkpoint_status, list_checkpoints
    from ttt_training.run_dir import find_run

    found, checkpoint = find_run(Path(run))
    return (
        list_checkpoints(found.checkpoints)
        if checkpoint is None
        else [checkpoint_status(checkpoint)]
    )
