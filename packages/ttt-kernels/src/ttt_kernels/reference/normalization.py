"""Layer normalisation over the head dimension and the gradient of the inner loss through it."""

from torch import Tensor


def standardize(z: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return z with zero mean and unit biased variance over the last axis, and 1 / std.

    The variance is that of the centred values: E[z^2] - E[z]^2 loses all digits for small spreads.
    """
    centred = z - z.mean(-1, keepdim=True)
    inverse_std = (centred.square().mean(-1, keepdim=True) + eps).rsqrt()
    return centred * inverse_std, inverse_std


def layer_norm(z: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LN(z) = weight * standardized z + bias, over the last axis."""
    return weight * standardize(z, eps)[0] + bias


def l2_loss_gradient(z: Tensor, target: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Gradient of 0.5 ||LN(z) - target||^2 with respect to z (sum over the last axis, not mean)."""
    normed, inverse_std = standardize(z, eps)
    upstream = weight * (weight * normed + bias - target)
    projection = (upstream * normed).mean(-1, keepdim=True)
    return inverse_std * (upstream - upstream.mean(-1, keepdim=True) - normed * projection)


def remove_affine(u: Tensor, normed: Tensor) -> Tensor:
    """Return u - mean(u) - normed * mean(u * normed) over the last axis. No autograd.

    1 / std times this is the gradient with respect to z of the standardized z, given the gradient u
    with respect to the latter.
    """
    projection = (u * normed).mean(-1, keepdim=True)
    return (u - u.mean(-1, keepdim=True)).addcmul_(normed, projection, value=-1)
