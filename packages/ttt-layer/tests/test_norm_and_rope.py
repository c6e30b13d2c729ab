"""RMSNorm and rotation against their definitions, in every arithmetic and with their gradients."""

import pytest
import torch

from ttt_layer.norm import RMSNorm
from ttt_layer.rope import rotate, rotation


def make_norm(dtype: torch.dtype) -> RMSNorm:
    norm = RMSNorm(8, 1e-6).to(dtype)
    torch.manual_seed(0)
    torch.nn.init.normal_(norm.weight)
    return norm


def test_the_gradient_of_the_norm_is_true() -> None:
    norm = make_norm(torch.float64)
    x = torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *_: norm(x), (x, norm.weight))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_the_norm_has_the_official_order_of_casts(dtype: torch.dtype) -> None:
    norm = make_norm(dtype)
    x = (3 * torch.randn(2, 5, 8)).to(dtype)
    wide = x.to(torch.promote_types(dtype, torch.float32))
    normed = wide / (wide.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    expected = norm.weight * normed.to(dtype)
    tolerance = 1e-6 if dtype in (torch.float32, torch.float64) else 0.0
    torch.testing.assert_close(norm(x), expected, rtol=tolerance, atol=tolerance)
    with torch.no_grad():
        torch.testing.assert_close(norm(x), expected, rtol=tolerance, atol=tolerance)


def test_the_norm_is_the_same_with_and_without_a_gradient() -> None:
    norm, x = make_norm(torch.float32), torch.randn(4, 7, 8)
    learning = norm(x)
    with torch.no_grad():
        torch.testing.assert_close(norm(x), learning, rtol=1e-6, atol=1e-6)


def test_pairs_are_rotated_by_their_angles() -> None:
    x = torch.randn(2, 5, 3, 8, dtype=torch.float64)
    rotated = rotate(x, rotation(torch.arange(5)[None], 8, 100.0, torch.float64))
    for position in range(5):
        for pair in range(4):
            angle = torch.tensor(position * 100.0 ** (-2 * pair / 8), dtype=torch.float64)
            turn = torch.stack(
                [torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])]
            )
            channels = slice(2 * pair, 2 * pair + 2)
            expected = x[:, position, :, channels] @ turn.t()
            torch.testing.assert_close(rotated[:, position, :, channels], expected)


def test_a_rotation_keeps_dtype_gradient_and_takes_any_strides() -> None:
    by = rotation(torch.tensor([[3, 4], [9, 1]]), 8, 10000.0, torch.float32)
    x = torch.randn(2, 8, 3, 2).permute(0, 3, 2, 1).requires_grad_()
    rotated = rotate(x, by)
    torch.testing.assert_close(rotated, rotate(x.contiguous(), by))
    (gradient,) = torch.autograd.grad(rotated.square().sum(), x)
    torch.testing.assert_close(gradient, 2 * x)  # lengths are kept
    half = rotate(x.bfloat16(), by)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, rotate(x.bfloat16().float(), by).bfloat16())
