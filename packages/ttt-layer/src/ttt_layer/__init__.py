"""Test-Time-Training layers, blocks and language models."""

from ttt_core import record_inner_traces, scaled_inner_lr
from ttt_layer.block import TTTBlock
from ttt_layer.layer import TTTLayer
from ttt_layer.model import TTTModel
from ttt_layer.state import ModelState

__all__ = [
    "ModelState",
    "TTTBlock",
    "TTTLayer",
    "TTTModel",
    "record_inner_traces",
    "scaled_inner_lr",
]
