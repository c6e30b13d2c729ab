"""The layer norm of the kernels and its derivatives, in kernels of a few lines."""

from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from kernel_modes import MODES, padded, random

from ttt_kernels.gpu import normalization, tiles
from ttt_kernels.reference.normalization import l2_loss_gradient, standardize
from ttt_kernels.verify import poisoned

EPS = 1e-6

ROUNDING = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(params=MODES.values(), ids=list(MODES))
def mode(request: pytest.FixtureRequest) -> AbstractContextManager[Any]:
    return request.param()


@triton.jit
def norms_of_tile(
    z: tl.tensor,
    target: tl.tensor,
    gamma: tl.tensor,
    beta: tl.tensor,
    normed: tl.tensor,
    rstds: tl.tensor,
    means: tl.tensor,
    gradient: tl.tensor,
    eps: tl.tensor,
    D: tl.constexpr,
    M: tl.constexpr,
    D_PAD: tl.constexpr,
) -> None:
    rows, columns = tl.arange(0, M), tl.arange(0, D_PAD)
    at = rows[:, None] * D_PAD + columns[None, :]
    tile = tiles.load_tile(z, rows, columns, D, M, D)
    x, rstd = normalization.normalized(tile, D, eps)
    tl.store(normed + at, x)
    tl.store(rstds + rows, rstd)
    tl.store(means + rows, tiles.row_mean(x * x, D))
    aim = tiles.load_tile(target, rows, columns, D, M, D)
    scale = tiles.load_features(gamma, columns, D)
    shift = tiles.load_features(beta, columns, D)
    tl.store(gradient + at, normalization.inner_gradient(tile, aim, scale, shift, columns, D, eps))


@pytest.mark.parametrize("dim", [16, 12])
def test_a_tile_is_normalized_and_its_loss_differentiated(
    mode: AbstractContextManager[Any], dim: int
) -> None:
    z = random(8, dim)
    z -= z.mean(1, keepdim=True)
    target, gamma, beta = random(8, dim, seed=1), random(dim, seed=2), random(dim, seed=3)
    with mode, poisoned():
        normed, gradient = torch.empty(8, 16), torch.empty(8, 16)
        rstds, means = torch.empty(8), torch.empty(8)
        norms_of_tile[(1,)](
            *(z, target, gamma, beta, normed, rstds, means, gradient, EPS),
            D=dim,
            M=8,
            D_PAD=16,
            enable_fp_fusion=False,  # as the kernels are launched: see `ttt_kernels.gpu.launch`
        )
    x, rstd = standardize(z.double(), EPS)
    torch.testing.assert_close(normed.double(), padded(x, 16), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(rstds.double(), rstd[:, 0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(means.double(), x.square().mean(1), rtol=1e-5, atol=1e-6)
    inner = l2_loss_gradient(z.double(), target.double(), gamma.double(), beta.double(), EPS)
    torch.testing.assert_close(gradient.double(), padded(inner, 16), rtol=1e-5, atol=1e-5)


@triton.jit
def norms_of_vector(
    z: tl.tensor,
    upstream: tl.tensor,
    normed: tl.tensor,
    gradient: tl.tensor,
    eps: tl.tensor,
    D: tl.constexpr,
    D_PAD: tl.constexpr,
) -> None:
    columns = tl.arange(0, D_PAD)
    x, rstd = normalization.layer_norm(tiles.load_features(z, columns, D), columns, D, eps)
    tl.store(normed + columns, x)
    a = tiles.load_features(upstream, columns, D)
    tl.store(gradient + columns, normalization.centered_gradient(a, x, rstd, columns, D))


@pytest.mark.parametrize("dim", [16, 12])
def test_a_vector_is_normalized_and_differentiated(
    mode: AbstractContextManager[Any], dim: int
) -> None:
    z, upstream = random(dim) + 3.0, random(dim, seed=1)
    with mode, poisoned():
        normed, gradient = torch.empty(16), torch.empty(16)
        norms_of_vector[(1,)](z, upstream, normed, gradient, EPS, D=dim, D_PAD=16)
    leaf = z.double().requires_grad_()
    x, _ = standardize(leaf, EPS)
    [expected] = torch.autograd.grad(x, leaf, upstream.double())
    torch.testing.assert_close(normed.double(), padded(x.detach(), 16), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.double(), padded(expected, 16), rtol=1e-5, atol=1e-5)


@triton.jit
def derivatives_of_tile(
    z: tl.tensor,
    target: tl.tensor,
    gamma: tl.tensor,
    beta: tl.tensor,
    upstream: tl.tensor,
    rows_out: tl.tensor,
    sums_out: tl.tensor,
    steps: tl.tensor,
    eps: tl.tensor,
    D: tl.constexpr,
    M: tl.constexpr,
    D_PAD: tl.constexpr,
) -> None:
    rows, columns = tl.arange(0, M), tl.arange(0, D_PAD)
    at = rows[:, None] * D_PAD + columns[None, :]
    tile = tiles.load_tile(z, rows, columns, D, M, D)
    aim = tiles.load_tile(target, rows, columns, D, M, D)
    u = tiles.load_tile(upstream, rows, columns, D, M, D)
    scale = tiles.load_features(gamma, columns, D)
    shift = tiles.load_features(beta, columns, D)
    x, rstd = normalization.normalized(tile, D, eps)
    dz, to_gamma, to_beta, to_bias = normalization.answer_backward(u, x, rstd, scale, columns, D)
    tl.store(rows_out + at, dz)
    tl.store(sums_out + columns, to_gamma)
    tl.store(sums_out + D_PAD + columns, to_beta)
    tl.store(sums_out + 2 * D_PAD + columns, to_bias)
    g = normalization.inner_gradient(tile, aim, scale, shift, columns, D, eps)
    e = scale[None, :] * x + shift[None, :] - aim
    dz, de, step, to_gamma, to_beta, to_bias = normalization.inner_gradient_backward(
        u, g, 2.0 * u, e, x, rstd, scale, columns, D
    )
    tl.store(rows_out + M * D_PAD + at, dz)
    tl.store(rows_out + 2 * M * D_PAD + at, de)
    tl.store(steps + rows, step)
    tl.store(sums_out + 3 * D_PAD + columns, to_gamma)
    tl.store(sums_out + 4 * D_PAD + columns, to_beta)
    tl.store(sums_out + 5 * D_PAD + columns, to_bias)


@pytest.mark.parametrize("dim", [16, 12])
def test_both_layer_norms_of_a_tile_are_differentiated(
    mode: AbstractContextManager[Any], dim: int
) -> None:
    z = random(8, dim)
    z -= z.mean(1, keepdim=True)
    target, upstream = random(8, dim, seed=1), random(8, dim, seed=2)
    gamma, beta = random(dim, seed=3), random(dim, seed=4)
    with mode, poisoned():
        by_row, sums, steps = torch.empty(3, 8, 16), torch.empty(6, 16), torch.empty(8)
        derivatives_of_tile[(1,)](
            *(z, target, gamma, beta, upstream, by_row, sums, steps, EPS),
            D=dim,
            M=8,
            D_PAD=16,
            enable_fp_fusion=False,
        )
    z, target, gamma, beta = (x.double().requires_grad_() for x in (z, target, gamma, beta))
    answers = gamma * standardize(z, EPS)[0] + beta
    to_z, to_gamma, to_beta = torch.autograd.grad(answers, [z, gamma, beta], upstream.double())
    g = l2_loss_gradient(z, target, gamma, beta, EPS)
    dz, d_target, d_gamma, d_beta = torch.autograd.grad(
        g, [z, target, gamma, beta], upstream.double()
    )
    expected_rows = torch.stack([to_z, dz, -d_target])
    expected_sums = torch.stack(
        [to_gamma, to_beta, to_z.sum(0), d_gamma, d_beta, dz.sum(0)],
    )
    torch.testing.assert_close(by_row.double(), padded(expected_rows, 16), **ROUNDING)
    torch.testing.assert_close(sums.double(), padded(expected_sums, 16), **ROUNDING)
    torch.testing.assert_close(steps.double(), (2 * upstream * g).sum(1), **ROUNDING)


@triton.jit
def derivatives_of_token(
    z: tl.tensor,
    target: tl.tensor,
    gamma: tl.tensor,
    beta: tl.tensor,
    upstream: tl.tensor,
    out: tl.tensor,
    eps: tl.tensor,
    D: tl.constexpr,
    D_PAD: tl.constexpr,
) -> None:
    columns = tl.arange(0, D_PAD)
    one = tiles.load_features(z, columns, D)
    aim = tiles.load_features(target, columns, D)
    scale = tiles.load_features(gamma, columns, D)
    shift = tiles.load_features(beta, columns, D)
    u = tiles.load_features(upstream, columns, D)
    g = normalization.token_inner_gradient(one, aim, scale, shift, columns, D, eps)
    x, rstd = normalization.layer_norm(one, columns, D, eps)
    dz, de, to_gamma = normalization.token_inner_gradient_backward(
        u, g, x, rstd, aim, scale, shift, columns, D
    )
    tl.store(out + columns, g)
    tl.store(out + D_PAD + columns, dz)
    tl.store(out + 2 * D_PAD + columns, de)
    tl.store(out + 3 * D_PAD + columns, to_gamma)


@pytest.mark.parametrize("dim", [16, 12])
def test_the_loss_of_a_token_is_differentiated_twice(
    mode: AbstractContextManager[Any], dim: int
) -> None:
    z, target, gamma, beta, upstream = (random(dim, seed=seed) for seed in range(5))
    with mode, poisoned():
        out = torch.empty(4, 16)
        derivatives_of_token[(1,)](z, target, gamma, beta, upstream, out, EPS, D=dim, D_PAD=16)
    z, target, gamma, beta = (x.double().requires_grad_() for x in (z, target, gamma, beta))
    g = l2_loss_gradient(z, target, gamma, beta, EPS)
    dz, d_target, d_gamma = torch.autograd.grad(g, [z, target, gamma], upstream.double())
    expected = torch.stack([g.detach(), dz, -d_target, d_gamma])
    torch.testing.assert_close(out.double(), padded(expected, 16), **ROUNDING)
