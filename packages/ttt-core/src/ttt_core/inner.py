"""What every inner model is: parameters that start a sequence, and reading on from a state."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from ttt_config import InnerConfig
from ttt_core.state import InnerState, OpenTokens
from ttt_kernels import Learned, decode_step, read_open_tokens
from ttt_kernels.reference import AdamMoments, InnerParameters, InnerTrace, trace_scan
from ttt_kernels.reference.update import Update


class KernelOptions(TypedDict):
    """How the inner loop is computed; the keyword arguments every entry point takes."""

    mini_batch_size: int
    eps: float
    kernel: str
    checkpoint_interval: int | None


class InnerModel(nn.Module, ABC):
    """A model per head whose parameters are the hidden state of a TTT layer.

    The parameters held here, W0 and b0, are the state before the first token, which the outer loop
    learns.
    Subclasses say how the state moves by calling an entry point of `ttt_kernels`.

    Args:
        widths: layer widths from head_dim back to head_dim, e.g. (D, 4 D, D).
        num_heads: H.
        config: mini-batch size, eps of the inner layer norm, checkpoint interval.
        kernel: name of the kernel that computes the inner loop.
    """

    def __init__(
        self, widths: Sequence[int], num_heads: int, config: InnerConfig, kernel: str
    ) -> None:
        super().__init__()
        self.config = config
        self.options: KernelOptions = {
            "mini_batch_size": config.mini_batch_size,
            "eps": config.eps,
            "kernel": kernel,
            "checkpoint_interval": config.checkpoint_interval,
        }
        layers = list(pairwise(widths))
        self.weights = nn.ParameterList(torch.zeros(num_heads, i, o) for i, o in layers)
        self.biases = nn.ParameterList(torch.zeros(num_heads, o) for _, o in layers)
        self.norm_weight = nn.Parameter(torch.ones(num_heads, widths[0]))
        self.norm_bias = nn.Parameter(torch.zeros(num_heads, widths[0]))

    def reset_parameters(self, std: float) -> None:
        """Official initialisation: weights N(0, std), biases 0, layer norm 1 and 0."""
        for weight in self.weights:
            nn.init.normal_(weight, std=std)
        for bias in self.biases:
            nn.init.zeros_(bias)
        nn.init.ones_(self.norm_weight)
        nn.init.zeros_(self.norm_bias)

    @abstractmethod
    def _read(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        token_eta: Tensor,
        lr: Tensor,
        parameters: InnerParameters,
    ) -> tuple[Tensor, InnerParameters]:
        """Read tokens from a mini-batch boundary: output, parameters at the last boundary."""

    @abstractmethod
    def _update(self) -> Update:
        """The rule by which `_read` carries parameters over a boundary, for `trace`."""

    def _initial_moments(self, batch_size: int) -> tuple[Tensor, ...]:
        """Inner optimizer state before the first token, (batch_size, ...) each."""
        del batch_size
        return ()

    def initial_parameters(self) -> InnerParameters:
        """W0 and b0, shared by the batch."""
        dtype = torch.promote_types(self.weights[0].dtype, torch.float32)
        return InnerParameters(
            tuple(w.to(dtype) for w in self.weights), tuple(b.to(dtype) for b in self.biases)
        )

    def initial_state(self, batch_size: int) -> InnerState:
        """The state before the first token of `batch_size` sequences; gradients reach W0, b0."""
        start = self.initial_parameters()
        heads, dim = self.norm_weight.shape
        empty = start.weights[0].new_zeros(batch_size, 0, heads, dim)
        return InnerState(
            weights=tuple(w.expand(batch_size, *w.shape) for w in start.weights),
            biases=tuple(b.expand(batch_size, *b.shape) for b in start.biases),
            moments=self._initial_moments(batch_size),
            open_tokens=OpenTokens(empty, empty, empty[..., 0]),
            position=(0,) * batch_size,
        )

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        token_eta: Tensor,
        lr: Tensor,
        state: InnerState | None = None,
    ) -> tuple[Tensor, InnerState]:
        """Answer queries while learning from keys and values.

        Args:
            q: (B, T, H, D), T >= 1.
            k: (B, T, H, D).
            v: (B, T, H, D).
            token_eta: step size by position in the mini-batch, (M,).
            lr: learned step size of each token, (B, T, H).
            state: where the sequences stand, each at its own position; None: at their beginning.

        Returns:
            Output (B, T, H, D) and the state after these tokens. Any way of cutting a text into
            calls gives the same outputs and the same final state up to rounding.
        """
        if state is None:
            state = self.initial_state(len(q))
        groups: dict[tuple[int, int], list[int]] = {}
        for row, position in enumerate(state.position):
            step, offset = divmod(position, self.config.mini_batch_size)
            phase = (offset, step if state.moments else 0)  # Adam's correction depends on the step
            groups.setdefault(phase, []).append(row)
        if len(groups) == 1:
            return self._continue(q, k, v, token_eta, lr, state)
        outputs: list[Tensor] = []
        states: list[InnerState] = []
        for rows in groups.values():
            tokens = (q[rows], k[rows], v[rows])
            output, end = self._continue(*tokens, token_eta, lr[rows], state.select(rows))
            outputs.append(output)
            states.append(end)
        order = [row for rows in groups.values() for row in rows]
        inverse = sorted(range(len(order)), key=order.__getitem__)
        return torch.cat(outputs)[inverse], InnerState.concatenate(states).select(inverse)

    def _decode(
        self, q: Tensor, k: Tensor, v: Tensor, token_eta: Tensor, lr: Tensor, state: InnerState
    ) -> tuple[Tensor, InnerState]:
        """`_continue` for one token without a gradient: open tokens are not read again."""
        size = self.config.mini_batch_size
        offset = state.position[0] % size
        start = InnerParameters(state.weights, state.biases, self._moments(state))
        norm = (self.norm_weight, self.norm_bias)
        learned = state.learned
        if learned is None:
            opened = state.open_tokens[:offset]
            learned = read_open_tokens(opened.k, opened.v, start, *norm, eps=self.config.eps)
        tokens = state.open_tokens.followed_by(offset, k, v, lr)
        output, end, learned = decode_step(
            *(q, k, v, token_eta, tokens.lr, start, learned, *norm),
            update=self._update(),
            eps=self.config.eps,
        )
        open_tokens = tokens if offset + 1 < size else tokens[size:]
        return output, _state_after(1, state, end, open_tokens, learned)

    def _continue(
        self, q: Tensor, k: Tensor, v: Tensor, token_eta: Tensor, lr: Tensor, state: InnerState
    ) -> tuple[Tensor, InnerState]:
        """`forward` for sequences at the same offset in their mini-batch.

        The open tokens are read again in front of the new ones, with queries nobody asks for, so
        that an open mini-batch needs no mathematics of its own.
        """
        tokens = q.shape[1]
        if tokens == 1 and not torch.is_grad_enabled():
            return self._decode(q, k, v, token_eta, lr, state)
        size = self.config.mini_batch_size
        offset = state.position[0] % size
        read = state.open_tokens.followed_by(offset, k, v, lr)
        q = functional.pad(q, (0, 0, 0, 0, offset, 0))
        moments = self._moments(state)
        start = InnerParameters(state.weights, state.biases, moments)
        output, end = self._read(q, read.k, read.v, token_eta, read.lr, start)
        open_tokens = read[(offset + tokens) // size * size :]
        return output[:, offset:], _state_after(tokens, state, end, open_tokens, None)

    def _moments(self, state: InnerState) -> AdamMoments | None:
        """The inner Adam's moments as kernels take them; the step follows from the position."""
        if not state.moments:
            return None
        half = len(state.moments) // 2
        step = state.position[0] // self.config.mini_batch_size
        return AdamMoments(state.moments[:half], state.moments[half:], step)

    @torch.no_grad()
    def trace(
        self, k: Tensor, v: Tensor, token_eta: Tensor, lr: Tensor, state: InnerState | None = None
    ) -> InnerTrace:
        """Measure what `forward` learns from these tokens; arguments as there.

        Returns:
            Inner losses, update norms and drift of each complete mini-batch, (B, N, H) each.

        Raises:
            ValueError: the sequences stand at different offsets in their mini-batch.
        """
        state = state or self.initial_state(len(k))
        offsets = {position % self.config.mini_batch_size for position in state.position}
        if len(offsets) > 1:
            raise ValueError(
                "can only trace sequences at one offset in their mini-batch, got offsets "
                f"{sorted(offsets)}; take the sequences of one offset by `InnerState.select`"
            )
        read = state.open_tokens.followed_by(offsets.pop(), k, v, lr)
        return trace_scan(
            read.k,
            read.v,
            token_eta,
            read.lr,
            InnerParameters(state.weights, state.biases, self._moments(state)),
            self.initial_parameters(),
            self.norm_weight,
            self.norm_bias,
            update=self._update(),
            mini_batch_size=self.config.mini_batch_size,
            eps=self.config.eps,
        )


def _state_after(
    tokens: int,
    state: InnerState,
    end: InnerParameters,
    open_tokens: OpenTokens,
    learned: Learned | None,
) -> InnerState:
    moments = end.moments
    return InnerState(
        end.weights,
        end.biases,
        () if moments is None else (*moments.first, *moments.second),
        open_tokens,
        tuple(position + tokens for position in state.position),
        learned,
    )
