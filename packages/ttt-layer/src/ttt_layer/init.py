"""Initial parameters, as the official implementations draw them."""

import math
from typing import Literal

from torch import nn

from ttt_config import ModelConfig
from ttt_core import InnerLearningRate, InnerModel
from ttt_layer.conv import CausalConv

_TRUNCATION_STD = 0.87962566103423978
"""Standard deviation of a unit normal cut at two standard deviations."""


def init_parameters(model: nn.Module, config: ModelConfig) -> None:
    """Draw all parameters of a model from torch's global generator.

    Projections, embeddings, inner weights and the learning-rate gate are N(0, init_std); biases are
    0, norms are 1; convolutions follow `config.conv_init`.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=config.init_std)
        elif isinstance(module, InnerModel | InnerLearningRate):
            module.reset_parameters(config.init_std)
        elif isinstance(module, CausalConv):
            _init_conv(module, config.conv_init)


def _init_conv(conv: CausalConv, official: Literal["torch", "jax"]) -> None:
    """The torch code keeps Conv1d's default; the JAX code draws LeCun normal weights, bias 0."""
    taps = conv.weight.shape[-1]
    if official == "torch":
        bound = 1.0 / math.sqrt(taps)
        nn.init.uniform_(conv.weight, -bound, bound)
        nn.init.uniform_(conv.bias, -bound, bound)
    else:
        std = math.sqrt(1.0 / taps) / _TRUNCATION_STD
        nn.init.trunc_normal_(conv.weight, std=std, a=-2.0 * std, b=2.0 * std)
        nn.init.zeros_(conv.bias)
