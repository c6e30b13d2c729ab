"""The layer norm of the inner model and its derivatives, for tiles and for single tokens.

Letters as in `tiles`. A tile comes without the mean over its features, which `centered` has taken
off the state; a single token has it taken off here. Every function takes `columns`, the indices of
the features, and `dim`, how many of them are not padding.
"""

import triton
import triton.language as tl

from ttt_kernels.gpu.tiles import (
    row_mean,
    sum_of_five,
    sum_of_three,
    sum_of_two,
    without_padding,
)


@triton.jit
def normalized(z: tl.tensor, dim: tl.constexpr, eps: tl.tensor) -> tuple[tl.tensor, ...]:
    """Layer norm of a tile without mean: x = z / sqrt(var + eps) and 1 / sqrt(var + eps)."""
    rstd = tl.rsqrt(row_mean(z * z, dim) + eps)
    return z * rstd[:, None], rstd


@triton.jit
def normalized_backward(
    dx: tl.tensor,
    x: tl.tensor,
    rstd: tl.tensor,
    columns: tl.tensor,
    dim: tl.constexpr,
    mean_ug: tl.tensor | None = None,
) -> tl.tensor:
    """Gradient of `normalized` at z, (M, D): (dx - mean dx - x mean(dx x)) rstd.

    Args:
        dx: gradient at x, (M, D).
        x: (M, D).
        rstd: (M,).
        columns: (D,).
        dim: constexpr.
        mean_ug: what reaches rstd besides, times rstd and over D, (M,): `inner_gradient_backward`.
    """
    sum_dx, sum_dxx = tl.reduce((dx, dx * x), 1, sum_of_two)
    along_x = sum_dxx / dim if mean_ug is None else sum_dxx / dim + mean_ug
    dz = (dx - (sum_dx / dim)[:, None] - x * along_x[:, None]) * rstd[:, None]
    return without_padding(dz, columns, dim)


@triton.jit
def answer_backward(
    dy: tl.tensor,
    x: tl.tensor,
    rstd: tl.tensor,
    gamma: tl.tensor,
    columns: tl.tensor,
    dim: tl.constexpr,
) -> tuple[tl.tensor, ...]:
    """Gradients of gamma x + beta, x = z rstd being `normalized`, from dy, that of the answer.

    Returns:
        At z, (M, D); and sums over the tokens, (D,): at gamma, at beta, and of the first.
    """
    dz = normalized_backward(dy * gamma[None, :], x, rstd, columns, dim)
    to_gamma, to_beta, to_bias = tl.reduce((dy * x, dy, dz), 0, sum_of_three)
    return dz, to_gamma, to_beta, to_bias


@triton.jit
def inner_gradient(
    z: tl.tensor,
    target: tl.tensor,
    gamma: tl.tensor,
    beta: tl.tensor,
    columns: tl.tensor,
    dim: tl.constexpr,
    eps: tl.tensor,
) -> tl.tensor:
    """Gradient of 0.5 ||LN(z) - target||^2 at z, (M, D), for a z without mean.

    Args:
        z: (M, D).
        target: v - k, (M, D).
        gamma: weight of the layer norm, (D,), zero where padded.
        beta: bias of the layer norm, (D,).
        columns: indices of the features, (D,).
        dim: features that are not padding, constexpr.
        eps: added to the variance.
    """
    x, rstd = normalized(z, dim, eps)
    a = (gamma[None, :] * x + beta[None, :] - target) * gamma[None, :]
    return normalized_backward(a, x, rstd, columns, dim)


@triton.jit
def inner_gradient_backward(
    u: tl.tensor,
    g: tl.tensor,
    h: tl.tensor,
    e: tl.tensor,
    x: tl.tensor,
    rstd: tl.tensor,
    gamma: tl.tensor,
    columns: tl.tensor,
    dim: tl.constexpr,
) -> tuple[tl.tensor, ...]:
    """Second derivative of 0.5 ||LN(z) - target||^2: what a gradient u at `inner_gradient` does.

    Args:
        u: gradient at g, (M, D).
        g: (M, D).
        h: what g is multiplied by, token by token, in the same exchange of sums, (M, D).
        e: LN(z) - target, (M, D).
        x: the normalized z, (M, D).
        rstd: 1 / sqrt(var + eps) of z, (M,).
        gamma: weight of the layer norm, (D,).
        columns: (D,).
        dim: constexpr.

    Returns:
        Gradients at z and at e, (M, D); h . g, (M,); and sums over the tokens, (D,): at gamma, of
        the gradient at e, and of that at z.
    """
    sums = tl.reduce((u, u * x, u * g, h * g, e * gamma[None, :] * x), 1, sum_of_five)
    mean_u, mean_ux, mean_ug, mean_ax = sums[0] / dim, sums[1] / dim, sums[2] / dim, sums[4] / dim
    da = (u - mean_u[:, None] - x * mean_ux[:, None]) * rstd[:, None]
    de = da * gamma[None, :]
    dx = (de - e * (mean_ux * rstd)[:, None]) * gamma[None, :] - u * (mean_ax * rstd)[:, None]
    dz = normalized_backward(dx, x, rstd, columns, dim, mean_ug)
    to_gamma, to_beta, to_bias = tl.reduce((da * e + de * x, de, dz), 0, sum_of_three)
    return dz, de, sums[3], to_gamma, to_beta, to_bias


@triton.jit
def layer_norm(
    z: tl.tensor, columns: tl.tensor, dim: tl.constexpr, eps: tl.tensor
) -> tuple[tl.tensor, ...]:
    """X = (z - mean) / sqrt(var + eps) of one vector, padded features zero, and 1 / sqrt(...)."""
    z = tl.where(columns < dim, z - tl.sum(z, 0) / dim, 0.0)
    rstd = tl.rsqrt(tl.sum(z * z, 0) / dim + eps)
    return z * rstd, rstd


@triton.jit
def centered_gradient(
    a: tl.tensor, x: tl.tensor, rstd: tl.tensor, columns: tl.tensor, dim: tl.constexpr
) -> tl.tensor:
    """Gradient of a layer norm at its input, a being that at x: (a - mean a - x mean(a x)) rstd."""
    g = (a - tl.sum(a, 0) / dim - x * (tl.sum(a * x, 0) / dim)) * rstd
    return tl.where(columns < dim, g, 0.0)


@triton.jit
def token_inner_gradient(
    z: tl.tensor,
    target: tl.tensor,
    gamma: tl.tensor,
    beta: tl.tensor,
    columns: tl.tensor,
    dim: tl.constexpr,
    eps: tl.tensor,
) -> tl.tensor:
    """`inner_gradient` of one token, (D,), for any z."""
    x, rstd = layer_norm(z, columns, dim, eps)
    a = (gamma * x + beta - target) * gamma
    return centered_gradient(a, x, rstd, columns, dim)


@triton.jit
def token_inner_gradient_backward(
    u: tl.tensor,
    g: tl.tensor,
    x: tl.tensor,
    rstd: tl.tensor,
    target: tl.tensor,
    gamma: tl.tensor,
    beta: tl.tensor,
    columns: tl.tensor,
    dim: tl.constexpr,
) -> tuple[tl.tensor, ...]:
    """Second derivative of 0.5 ||LN(z) - target||^2: what a gradient u at g = dloss/dz does.

    Args:
        u: gradient at g, (D,).
        g: the gradient of the inner loss at z, (D,).
        x: the normalized z, (D,).
        rstd: 1 / sqrt(var + eps) of z.
        target: v - k, (D,).
        gamma: weight of the layer norm, (D,).
        beta: its bias, (D,).
        columns: indices, (D,).
        dim: features that are not padding, constexpr.

    Returns:
        Gradients at z, at LN(z) - target, and at gamma, (D,) each.
    """
    e = gamma * x + beta - target
    mean_ux = tl.sum(u * x, 0) / dim
    mean_ax = tl.sum(e * gamma * x, 0) / dim
    da = tl.where(columns < dim, (u - tl.sum(u, 0) / dim - x * mean_ux) * rstd, 0.0)
    de = da * gamma
    dx = de * gamma - rstd * (u * mean_ax + e * gamma * mean_ux)
    dz = centered_gradient(dx, x, rstd, columns, dim) - x * (rstd * tl.sum(u * g, 0) / dim)
    return dz, de, da * e + de * x
