"""TTT-Linear on a GPU, one token of every sequence: the open mini-batch in its history form.

The state W stands still inside a mini-batch. What later tokens need of the r open ones is k_j, the
gradient g_j of their inner loss and their rate lr_j, so a token reads W once,

    g  = gradient at z = k W + b of 0.5 ||LN(z) - (v - k)||^2
    zb = q W + b - token_eta_r sum_{j <= r} lr_j (1 + q . k_j) g_j,   out = q + LN(zb)

and writes it only where it completes the mini-batch: W -= token_eta_{M-1} sum_j lr_j k_j^T g_j.

`OpenMiniBatch` is changed in place, for CUDA graphs; `answer` returns new tensors.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ttt_kernels.errors import ShapeError
from ttt_kernels.gpu.launch import Form, next_power_of_2
from ttt_kernels.gpu.normalization import layer_norm, token_inner_gradient
from ttt_kernels.gpu.tiles import (
    load_features,
    load_state,
    load_tile,
    store_features,
    store_tile,
)
from ttt_kernels.learned import Learned
from ttt_kernels.next_token import NextToken
from ttt_kernels.reference.update import InnerParameters

OPEN_ROWS = 16
"""Open tokens that are read at once."""


@triton.jit(do_not_specialize=["room", "capacity"])
def decode_token(
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    lr: tl.tensor,
    token_eta: tl.tensor,
    ln_w: tl.tensor,
    ln_b: tl.tensor,
    start_weight: tl.tensor,
    start_bias: tl.tensor,
    learned: tl.tensor,
    rates: tl.tensor,
    position: tl.tensor,
    end_weight: tl.tensor,
    end_bias: tl.tensor,
    out: tl.tensor,
    heads: tl.tensor,
    room: tl.tensor,
    capacity: tl.tensor,
    eps: tl.tensor,
    q_b: tl.tensor,
    q_h: tl.tensor,
    k_b: tl.tensor,
    k_h: tl.tensor,
    v_b: tl.tensor,
    v_h: tl.tensor,
    lr_b: tl.tensor,
    lr_h: tl.tensor,
    M: tl.constexpr,
    D: tl.constexpr,
    D_PAD: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """Answer one token of one sequence and head, and learn from it.

    Tensors:
        q: query, (B, H, D) by the strides q_b, q_h and 1.
        k: key, likewise.
        v: value, likewise.
        lr: learned step size, (B, H) by strides.
        token_eta: (M,).
        ln_w: (H, D).
        ln_b: (H, D).
        start_weight: (B, H, D, D).
        start_bias: (B, H, D).
        learned: k_j and g_j of the open tokens, (B, H, room, 2 D); this one is added.
        rates: likewise lr_j, (B, H, capacity).
        position: number of open tokens r < M, (B, H); advanced, from M to 0. Each program has its
            own, so none can see what another has advanced.
        end_weight: written by the token that completes the mini-batch; may be `start_weight`.
        end_bias: likewise. That token is not added to the open ones.
        out: (B, H, D).
    """
    program = tl.program_id(0).to(tl.int64)
    batch, head = program // heads, program % heads
    rows, columns = tl.arange(0, ROWS), tl.arange(0, D_PAD)
    gamma = load_features(ln_w + head * D, columns, D)
    beta = load_features(ln_b + head * D, columns, D)
    W = load_state(start_weight + program * D * D, columns, D)
    b = load_features(start_bias + program * D, columns, D)
    xq = load_features(q + batch * q_b + head * q_h, columns, D)
    xk = load_features(k + batch * k_b + head * k_h, columns, D)
    xv = load_features(v + batch * v_b + head * v_h, columns, D)
    rate = tl.load(lr + batch * lr_b + head * lr_h).to(tl.float32)
    r = tl.load(position + program)
    keys = learned + program * room * 2 * D
    gradients = keys + D
    rates += program * capacity

    z = tl.sum(xk[:, None] * W, 0) + b
    g = token_inner_gradient(z, xv - xk, gamma, beta, columns, D, eps)

    taken = rate * (1.0 + tl.sum(xq * xk, 0)) * g
    for first in range(0, r, ROWS):
        at = first + rows
        seen = load_tile(keys, at, columns, 2 * D, r, D)
        affinity = 1.0 + tl.sum(seen * xq[None, :], 1)
        step = affinity * tl.load(rates + at, mask=at < r, other=0.0)
        taken += tl.sum(step[:, None] * load_tile(gradients, at, columns, 2 * D, r, D), 0)
    zb = tl.sum(xq[:, None] * W, 0) + b - tl.load(token_eta + r) * taken
    x, _ = layer_norm(zb, columns, D, eps)
    store_features(out + program * D, xq + gamma * x + beta, columns, D)

    tl.debug_barrier()  # position, state and open tokens have been read by all warps
    complete = r == M - 1
    tl.store(position + program, tl.where(complete, 0, r + 1))
    if complete:
        last_eta = tl.load(token_eta + M - 1)
        b -= last_eta * rate * g
        W -= xk[:, None] * (last_eta * rate * g)[None, :]
        for j in range(r):
            step = last_eta * tl.load(rates + j) * load_features(gradients + j * 2 * D, columns, D)
            W -= load_features(keys + j * 2 * D, columns, D)[:, None] * step[None, :]
            b -= step
        store_tile(end_weight + program * D * D, W, columns, columns, D, D, D)
        store_features(end_bias + program * D, b, columns, D)
    else:
        store_features(keys + r * 2 * D, xk, columns, D)
        store_features(gradients + r * 2 * D, g, columns, D)
        tl.store(rates + r, rate)


@dataclass(frozen=True)
class OpenMiniBatch:
    """The state of TTT-Linear between two tokens, in memory that `step` changes in place.

    Its addresses never change and its position is on the device, so `step` can be recorded in a
    CUDA graph and replayed, over any number of mini-batches. Sequences may stand at different
    positions. Values of open tokens are not kept: who wants to read them again keeps them.

    Attributes:
        weight: at the last boundary, (B, H, D, D), float32.
        bias: likewise, (B, H, D).
        learned: key and inner gradient of each open token, (B, H, M, 2 D), float32; what stands
            beyond the position is unused.
        rates: their learned step sizes, (B, H, M), float32.
        position: number of open tokens of each sequence, (B, H), int32.
    """

    weight: Tensor
    bias: Tensor
    learned: Tensor
    rates: Tensor
    position: Tensor

    @classmethod
    def of(
        cls,
        parameters: InnerParameters,
        learned: Learned,
        lr: Tensor,
        *,
        mini_batch_size: int,
    ) -> "OpenMiniBatch":
        """Copy what `decode_step` takes and returns.

        Args:
            parameters: at the last boundary, one layer, (B, H, D, D) and (B, H, D).
            learned: of the r open tokens, r < M.
            lr: their learned step sizes, (B, r, H).
            mini_batch_size: M.

        Raises:
            ShapeError: there are several layers, or the numbers of open tokens disagree.
        """
        layers, count = len(parameters.weights), learned.count
        if layers != 1 or lr.shape[1] != count or count >= mini_batch_size:
            raise ShapeError(
                f"`parameters` has {layers} layers, `learned` is of {count} open tokens and `lr` "
                f"has shape {tuple(lr.shape)}, expected one layer and (B, r, H) of r open tokens, "
                f"r < {mini_batch_size}"
            )
        weight, bias = (x[0].float() for x in parameters[:2])
        batch, heads, dim = bias.shape
        rows = weight.new_zeros(batch, heads, mini_batch_size, 2 * dim)
        rows[:, :, :count] = learned.rows
        rates = weight.new_zeros(batch, heads, mini_batch_size)
        rates[:, :, :count].copy_(lr.transpose(1, 2))
        position = torch.full((batch, heads), count, dtype=torch.int32, device=weight.device)
        return cls(_copy(weight), _copy(bias), rows, rates, position)

    def step(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        token_eta: Tensor,
        lr: Tensor,
        ln_w: Tensor,
        ln_b: Tensor,
        *,
        eps: float = 1e-6,
    ) -> Tensor:
        """Read one token of every sequence.

        Args:
            q: query, (B, 1, H, D), float32, float16 or bfloat16.
            k: key, like `q`.
            v: value, like `q`.
            token_eta: step size by position in the mini-batch, (M,).
            lr: learned step size of the token, (B, 1, H).
            ln_w: weight of the inner layer norm, (H, D).
            ln_b: its bias, (H, D).
            eps: added to the variance of the inner layer norm.

        Returns:
            Output (B, 1, H, D) in the dtype of `q`.

        Raises:
            ShapeError: the tokens do not fit the state.
        """
        (batch, heads, dim), size = self.bias.shape, self.learned.shape[2]
        expected = {
            "q": (batch, 1, heads, dim),
            "k": (batch, 1, heads, dim),
            "v": (batch, 1, heads, dim),
            "lr": (batch, 1, heads),
            "token_eta": (size,),
        }
        given = {"q": q, "k": k, "v": v, "lr": lr, "token_eta": token_eta}
        for name, shape in expected.items():
            if tuple(given[name].shape) != shape:
                raise ShapeError(f"`{name}` has shape {tuple(given[name].shape)}, expected {shape}")
        return _launch(self, (self.weight, self.bias), q, k, v, token_eta, lr, ln_w, ln_b, eps)

    def values(self) -> tuple[InnerParameters, Learned, Tensor]:
        """Copy the state out, as `of` takes it: parameters, learned and lr.

        Waits for the device.

        Raises:
            ShapeError: the sequences stand at different positions.
        """
        positions = self.position.unique().tolist()
        if len(positions) != 1:
            raise ShapeError(f"sequences are at positions {positions}, expected one")
        count = positions[0]
        parameters = InnerParameters((self.weight.clone(),), (self.bias.clone(),))
        rates = _copy(self.rates[:, :, :count].transpose(1, 2))
        return parameters, Learned.of(_copy(self.learned[:, :, :count])), rates


def answer(token: NextToken) -> tuple[Tensor, InnerParameters, Learned]:
    """`ttt_kernels.decode_step` by the kernel; results as there."""
    q, k, v, token_eta, lr, parameters, learned, ln_w, ln_b, eps = token
    count, complete = lr.shape[1], token.complete
    rates = _copy(lr[:, : count - complete].transpose(1, 2).to(torch.float32))
    weight, bias = (x[0].contiguous() for x in parameters[:2])
    if complete:
        end = (torch.empty_like(weight), torch.empty_like(bias))
    else:  # the kernel adds a row, and leaves the state alone
        end = (weight, bias)
        learned = learned.with_room(len(token_eta))
    position = torch.full(bias.shape[:2], count - 1, dtype=torch.int32, device=bias.device)
    held = OpenMiniBatch(weight, bias, learned.room, rates, position)
    output = _launch(held, end, q, k, v, token_eta, lr[:, -1:], ln_w, ln_b, eps)
    if not complete:
        return output, parameters, learned
    return output, InnerParameters((end[0],), (end[1],)), learned.cleared()


def _launch(
    held: OpenMiniBatch,
    end: tuple[Tensor, Tensor],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    token_eta: Tensor,
    lr: Tensor,
    ln_w: Tensor,
    ln_b: Tensor,
    eps: float,
) -> Tensor:
    batch, _, heads, dim = q.shape
    q, k, v = (x if x.stride(3) == 1 else x.contiguous() for x in (q, k, v))
    token_eta, ln_w, ln_b = (x.to(torch.float32).contiguous() for x in (token_eta, ln_w, ln_b))
    output = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    strides = (stride for x in (q, k, v, lr) for stride in (x.stride(0), x.stride(2)))
    decode_token[(batch * heads,)](
        *(q, k, v, lr, token_eta, ln_w, ln_b, held.weight, held.bias),
        *(held.learned, held.rates, held.position, *end, output),
        *(heads, held.learned.shape[2], held.rates.shape[2], eps, *strides),
        M=len(token_eta),
        D=dim,
        D_PAD=next_power_of_2(dim),
        ROWS=OPEN_ROWS,
        **_form(dim).options(),
    )
    return output


def _form(dim: int) -> Form:
    """Of the launch: the state takes at most 64 registers of a thread; no loads run ahead."""
    return Form(num_warps=8 if dim > 64 else 4, num_stages=1)


def _copy(x: Tensor) -> Tensor:
    return x.clone(memory_format=torch.contiguous_format)
