"""Argument checks shared by every entry point: a wrong shape is named before any work is done."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ttt_kernels.errors import ShapeError


def check_inputs(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    token_eta: Tensor,
    lr: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    ln_w: Tensor,
    ln_b: Tensor,
    *,
    mini_batch_size: int,
) -> None:
    """Check shapes, dtypes and devices of the arguments every inner loop takes.

    Raises:
        ShapeError: naming the argument, its shape and the shape expected.
    """
    if q.dim() != 4 or q.shape[1] < 1:
        raise ShapeError(f"`q` has shape {tuple(q.shape)}, expected (B, T, H, D) with T >= 1")
    batch, tokens, heads, head_dim = q.shape
    if mini_batch_size < 1:
        raise ShapeError(f"`mini_batch_size` is {mini_batch_size}, expected at least 1")
    expected = {
        "k": (k, "(B, T, H, D)", (batch, tokens, heads, head_dim)),
        "v": (v, "(B, T, H, D)", (batch, tokens, heads, head_dim)),
        "lr": (lr, "(B, T, H)", (batch, tokens, heads)),
        "token_eta": (token_eta, "(mini_batch_size,)", (mini_batch_size,)),
        "ln_w": (ln_w, "(H, D)", (heads, head_dim)),
        "ln_b": (ln_b, "(H, D)", (heads, head_dim)),
    }
    for name, (tensor, letters, shape) in expected.items():
        _check_shape(name, tensor, letters, shape)
    _check_layers(weights, biases, batch, heads, head_dim)
    named = {"q": q, **{name: tensor for name, (tensor, _, _) in expected.items()}}
    named |= {f"weights[{i}]": tensor for i, tensor in enumerate(weights)}
    named |= {f"biases[{i}]": tensor for i, tensor in enumerate(biases)}
    _check_dtype_and_device(named, q.device)


def _check_shape(name: str, tensor: Tensor, letters: str, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise ShapeError(
            f"`{name}` has shape {tuple(tensor.shape)}, expected {letters} = {expected}"
        )


def _check_layers(
    weights: Sequence[Tensor], biases: Sequence[Tensor], batch: int, heads: int, head_dim: int
) -> None:
    """Check that the layers chain from D back to D, shared (H, ...) or per sequence (B, H, ...)."""
    if not weights or len(weights) != len(biases):
        raise ShapeError(
            f"got {len(weights)} weights and {len(biases)} biases, expected one bias per weight "
            "and at least one layer"
        )
    width = head_dim
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if weight.dim() not in (3, 4):
            raise ShapeError(
                f"`weights[{layer}]` has shape {tuple(weight.shape)}, "
                "expected (H, in, out) or (B, H, in, out)"
            )
        lead = (heads,) if weight.dim() == 3 else (batch, heads)
        out = head_dim if layer == len(weights) - 1 else weight.shape[-1]
        letters = "(H, in, out)" if weight.dim() == 3 else "(B, H, in, out)"
        _check_shape(f"weights[{layer}]", weight, letters, (*lead, width, out))
        _check_shape(f"biases[{layer}]", bias, letters.replace("in, ", ""), (*lead, out))
        width = out


def _check_dtype_and_device(tensors: dict[str, Tensor], device: torch.device) -> None:
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise ShapeError(f"`{name}` has dtype {tensor.dtype}, expected a floating-point dtype")
        if tensor.device != device:
            raise ShapeError(f"`{name}` is on {tensor.device}, expected {device} like `q`")
