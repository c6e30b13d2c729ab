"""Inner models of Test-Time-Training layers as torch modules."""

from ttt_core.build import build_inner, choose_kernels
from ttt_core.eta import InnerLearningRate
from ttt_core.inner import InnerModel
from ttt_core.learning import scaled_inner_lr
from ttt_core.linear import TTTLinear, TTTLinearAdam
from ttt_core.mlp import TTTMLP
from ttt_core.state import InnerState, OpenTokens
from ttt_core.trace import record_inner_traces
from ttt_kernels.reference import InnerTrace

__all__ = [
    "TTTMLP",
    "InnerLearningRate",
    "InnerModel",
    "InnerState",
    "InnerTrace",
    "OpenTokens",
    "TTTLinear",
    "TTTLinearAdam",
    "build_inner",
    "choose_kernels",
    "record_inner_traces",
    "scaled_inner_lr",
]
