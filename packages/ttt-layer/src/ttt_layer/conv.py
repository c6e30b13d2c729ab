"""Depthwise causal convolution over time whose memory is part of the state."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class CausalConv(nn.Module):
    """y[t, c] = bias[c] + sum_s weight[c, 0, s] * x[t - (k - 1) + s, c]; zeros before the start.

    Args:
        channels: C.
        kernel_size: k taps, the last one on the current token.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, 1, kernel_size))
        self.bias = nn.Parameter(torch.zeros(channels))

    def initial_tail(self, batch_size: int) -> Tensor:
        """Inputs before the first token: zeros, (batch_size, k - 1, C)."""
        channels, _, taps = self.weight.shape
        return self.weight.new_zeros(batch_size, taps - 1, channels)

    def forward(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve x (B, T, C) that follows on `tail`, the k - 1 inputs before it.

        Returns:
            Output (B, T, C) and the tail for what comes next.
        """
        extended = torch.cat([tail.to(x.dtype), x], dim=1)
        channels, _, taps = self.weight.shape
        out = functional.conv1d(extended.transpose(1, 2), self.weight, self.bias, groups=channels)
        return out.transpose(1, 2), extended[:, extended.shape[1] - (taps - 1) :]
