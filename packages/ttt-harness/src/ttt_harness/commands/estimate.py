"""`ttt-harness estimate`: what memory each run takes, what fits together, what would help."""

import msgspec
import typer

from ttt_harness.app import new_app
from ttt_harness.devices import GIB
from ttt_harness.forecast import Forecast, describe_forecast, describe_parts, forecast
from ttt_harness.launch.choose import open_launcher
from ttt_harness.launch.launcher import Launcher
from ttt_harness.options import Binary, Config, Debug, Json, Quiet
from ttt_harness.plan import Plan, load_plan
from ttt_harness.remedy import Remedy, find_remedy
from ttt_harness.store import Paths, Store
from ttt_harness.tell import count_on_stderr
from ttt_harness.trainer import find_trainer

app = new_app()


@app.command()
def estimate(
    config: Config = "harness.toml",
    ttt_binary: Binary = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Say what memory each run takes and what for, what fits together, and what would help.

    For a run that fits on no device, the cheapest change is found that makes it fit.
    """
    del debug
    plan, trainer = load_plan(config), find_trainer(ttt_binary)
    launcher, paths = open_launcher(plan.settings), Paths(plan.settings.state_file)
    found = forecast(plan, paths, launcher, trainer, count_on_stderr(quiet=quiet))
    remedies = _remedies(plan, found, paths, launcher, trainer)
    if json:
        report = {**msgspec.to_builtins(found), "remedies": msgspec.to_builtins(remedies)}
        typer.echo(msgspec.json.encode(report).decode())
        return
    for run in found.runs:
        typer.echo(describe_parts(run))
        if run.name in remedies:
            typer.echo(f"  {_advice(remedies[run.name])}")
    typer.echo("\n" + describe_forecast(found))


def _remedies(
    plan: Plan, found: Forecast, paths: Paths, launcher: Launcher, trainer: tuple[str, ...]
) -> dict[str, Remedy | None]:
    """For each run that fits nowhere what would make it fit; None if nothing would."""
    devices = launcher.devices(plan.settings, {})
    limit = max(device.limit_bytes for device in devices)
    asked = {run.name: run for run in plan.runs}
    large = [run.name for run in found.runs if (run.need_bytes or 0) > limit and run.parts]
    if not large:
        return {}
    store = Store(paths.database) if paths.database.is_file() else None
    try:
        peaks = store.peaks() if store else []
        return {
            name: find_remedy(asked[name], limit, trainer, store, devices[0].kind, peaks)
            for name in large
        }
    finally:
        if store is not None:
            store.close()


def _advice(remedy: Remedy | None) -> str:
    if remedy is None:
        return "fits on no device, also in the smallest pieces; a smaller model or seq_len would"
    size = f"{remedy.need_bytes / GIB:.2f} GiB"
    return f"fits with {remedy.change}: {size}, {remedy.cost}"
