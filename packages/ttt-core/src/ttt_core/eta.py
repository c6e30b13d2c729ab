"""The inner learning rate: how far each token moves the fast weights."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class InnerLearningRate(nn.Module):
    """Step sizes of the inner loop, eta[i, j] = token_eta[i] * lr[j] (arXiv 2407.04620, 2.7).

    Attributes:
        scale: the largest step size, base_lr / D, times what `scaled_inner_lr` says; no part of the
            parameters.

    Args:
        hidden_size: width C of the layer's input.
        num_heads: H.
        head_dim: D.
        base_lr: the constant the learned gate is scaled by.
        mini_batch_size: M.
    """

    def __init__(
        self, hidden_size: int, num_heads: int, head_dim: int, base_lr: float, mini_batch_size: int
    ) -> None:
        super().__init__()
        # A tensor, so that changing it does not make torch.compile begin anew.
        self.scale = torch.tensor(base_lr / head_dim, dtype=torch.float64)
        self.weight = nn.Parameter(torch.zeros(num_heads, hidden_size))
        self.bias = nn.Parameter(torch.zeros(num_heads))
        self.token_idx = nn.Parameter(torch.zeros(mini_batch_size))
        # Integers, which stay exact when a model is converted to another dtype.
        self.positions: Tensor
        self.register_buffer("positions", torch.arange(1, mini_batch_size + 1), persistent=False)

    def reset_parameters(self, std: float) -> None:
        """Draw the gate's weight from N(0, std); the gate starts half open."""
        nn.init.normal_(self.weight, std=std)
        nn.init.zeros_(self.bias)
        nn.init.zeros_(self.token_idx)

    def forward(self, x: Tensor) -> Tensor:
        """Learned step size of each token, base_lr * sigmoid(w_h . x_t + c_h) / D.

        Args:
            x: input of the layer, (B, T, C).

        Returns:
            (B, T, H), float32 or wider.
        """
        gate = functional.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))
        wide = torch.promote_types(gate.dtype, torch.float32)
        return self.scale * torch.sigmoid(gate.to(wide))

    def token_eta(self) -> Tensor:
        """Step size by position in the mini-batch, max(0, 1 / (i + 1) + token_idx_i), (M,)."""
        dtype = torch.promote_types(self.token_idx.dtype, torch.float32)
        return functional.relu(self.positions.to(dtype).reciprocal() + self.token_idx)
