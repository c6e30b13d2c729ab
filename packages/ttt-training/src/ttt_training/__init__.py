"""Training, evaluation and generation with TTT language models."""

from ttt_training.checkpoint import load_checkpoint, save_checkpoint, verify_checkpoint
from ttt_training.evaluate import evaluate
from ttt_training.generate import generate
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
