"""How exact gradients are in float32, by the way the states come back in the backward pass.

    .venv/bin/python scripts/measure_walk_back.py [--tokens 2048 32768] [--lr-scale 1 10]

Prints the largest relative error of a gradient of q, k, v, lr, W or b against float64, in the
Frobenius norm: for each available kernel by itself, and with a state kept every 16 mini-batches.
The numbers of docs/kernels.md are from here.
"""

import argparse

import torch
from torch import Tensor

from ttt_kernels import available_kernels, ttt_linear
from ttt_kernels.capability import CAPABILITIES

HEAD_DIM, MINI_BATCH = 64, 16
COMPARED = (0, 1, 2, 4, 5, 6)
"""Places of q, k, v, lr, W and b among the arguments."""


def gradients(
    tokens: int, lr_scale: float, dtype: torch.dtype, kernel: str, interval: int | None
) -> list[Tensor]:
    """Gradients of random arguments, the same for every dtype and kernel."""
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
        drawn = torch.randn(*shape, generator=rng) * scale + shift
        return drawn.to(dtype).requires_grad_()

    q, k, v, upstream = (normal(1, tokens, 1, HEAD_DIM) for _ in range(4))
    rates = lr_scale * torch.sigmoid(torch.randn(1, tokens, 1, generator=rng)) / HEAD_DIM
    token_eta = (1 / torch.arange(1, MINI_BATCH + 1, dtype=torch.float32)).to(dtype)
    arguments = [
        *(q, k, v, token_eta, rates.to(dtype).requires_grad_()),
        *(normal(1, HEAD_DIM, HEAD_DIM, scale=0.02), normal(1, HEAD_DIM, scale=0.02)),
        *(normal(1, HEAD_DIM, scale=0.1, shift=1.0), normal(1, HEAD_DIM, scale=0.1)),
    ]
    out, _, _ = ttt_linear(
        *arguments, mini_batch_size=MINI_BATCH, kernel=kernel, checkpoint_interval=interval
    )
    wanted = [arguments[place] for place in COMPARED]
    return list(torch.autograd.grad((out * upstream).sum(), wanted))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 32768])
    parser.add_argument("--lr-scale", type=float, nargs="+", default=[1.0, 10.0])
    options = parser.parse_args()
    kernels = [each for each in available_kernels() if CAPABILITIES[each].runs_on("cpu")]
    for scale in options.lr_scale:
        for tokens in options.tokens:
            exact = gradients(tokens, scale, torch.float64, "reference", None)
            for kernel in kernels:
                for interval in (None, 16):
                    found = gradients(tokens, scale, torch.float32, kernel, interval)
                    error = max(
                        ((ours - theirs).norm() / theirs.norm()).item()
                        for ours, theirs in zip(found, exact, strict=True)
                    )
                    print(
                        f"T {tokens:6}  lr x {scale:g}  {kernel:9}  interval {interval or '-':>2}"
                        f"  {error:.1e}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
