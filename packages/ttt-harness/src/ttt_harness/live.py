"""The table of runs, rewritten in place on a terminal."""

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ttt_harness.views import COLUMNS, StateView, cells, summary

_STYLES = {
    "running": "green",
    "starting": "green",
    "completed": "bold",
    "failed": "red",
    "stopped": "yellow",
    "skipped": "yellow",
}
_RIGHT = {"step", "loss", "val loss", "tokens/s", "memory", "ETA"}


def render(view: StateView) -> Table:
    """The runs as a table, with a line on all of them below."""
    table = Table(box=None, pad_edge=False, caption=Text(summary(view)), caption_justify="left")
    for column in COLUMNS:
        justify = "right" if column in _RIGHT else "left"
        table.add_column(column, justify=justify, no_wrap=True, overflow="ellipsis")
    for each in view.runs:
        style = _STYLES.get(each.run.status, "dim")
        table.add_row(*(Text(cell) for cell in cells(each)), style=style)
    return table


class LiveTable:
    """Shows the table until it is left; a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(markup=False, highlight=False)
        self._live = Live(console=self.console, auto_refresh=False, vertical_overflow="visible")

    def __enter__(self) -> "LiveTable":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, view: StateView) -> None:
        """Show how things stand now."""
        self._live.update(render(view), refresh=True)
