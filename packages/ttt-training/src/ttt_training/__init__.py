"""Training, evaluation and generation with TTT language models.

The names below are imported when they are first asked for: what only reads a run directory does
without torch, which takes seconds. No module may have the name of one of them.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ttt_training.checkpoint import load_checkpoint, save_checkpoint
    from ttt_training.checkpoint_files import verify_checkpoint
    from ttt_training.evaluation import evaluate
    from ttt_training.generation import generate
    from ttt_training.load import load_run
    from ttt_training.run import train
    from ttt_training.sampling import Sampling
    from ttt_training.session import Session

__all__ = [
    "Sampling",
    "Session",
    "evaluate",
    "generate",
    "load_checkpoint",
    "load_run",
    "save_checkpoint",
    "train",
    "verify_checkpoint",
]

_MODULES = {
    "Sampling": "sampling",
    "Session": "session",
    "evaluate": "evaluation",
    "generate": "generation",
    "load_checkpoint": "checkpoint",
    "load_run": "load",
    "save_checkpoint": "checkpoint",
    "train": "run",
    "verify_checkpoint": "checkpoint_files",
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
