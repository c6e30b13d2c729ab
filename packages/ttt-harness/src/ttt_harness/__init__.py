"""Many training runs, one machine or many, nothing lost.

The names below are imported when they are first asked for, so that `ttt-harness status` starts
fast. No module may have the name of one of them.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ttt_harness.estimate import estimate_memory
    from ttt_harness.model import RunStatus
    from ttt_harness.plan import Plan, Run, load_plan
    from ttt_harness.scheduler import Scheduler
    from ttt_harness.supervisor import Supervisor

__all__ = [
    "Plan",
    "Run",
    "RunStatus",
    "Scheduler",
    "Supervisor",
    "estimate_memory",
    "load_plan",
]

_MODULES = {
    "Plan": "plan",
    "Run": "plan",
    "RunStatus": "model",
    "Scheduler": "scheduler",
    "Supervisor": "supervisor",
    "estimate_memory": "estimate",
    "load_plan": "plan",
}


def __getattr__(name: str) -> object:
    """Import a public name.

    Raises:
        AttributeError: there is no such name.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
