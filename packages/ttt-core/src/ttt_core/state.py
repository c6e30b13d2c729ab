"""The state of one inner model: a value, never a hidden attribute."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ttt_kernels import Learned


@dataclass(frozen=True)
class OpenTokens:
    """Tokens of the mini-batch that is not complete yet, right-padded with zeros over the batch.

    They have been answered but not learned from. Keeping them as they came in, rather than their
    gradients, makes continuing a sequence the same computation as reading it in one go.

    Attributes:
        k: keys, (B, R, H, D) where R is the largest number of open tokens of any sequence.
        v: values, like `k`.
        lr: learned step sizes, (B, R, H).
    """

    k: Tensor
    v: Tensor
    lr: Tensor

    def followed_by(self, count: int, k: Tensor, v: Tensor, lr: Tensor) -> "OpenTokens":
        """The first `count` of these, and behind them the tokens given."""
        if count == 0:
            return OpenTokens(k, v, lr)
        old = self if count == self.k.shape[1] else self[:count]
        return OpenTokens(
            torch.cat([old.k, k], 1), torch.cat([old.v, v], 1), torch.cat([old.lr, lr], 1)
        )

    def __getitem__(self, which: slice) -> "OpenTokens":
        """Some of these tokens."""
        return OpenTokens(self.k[:, which], self.v[:, which], self.lr[:, which])


@dataclass(frozen=True)
class InnerState:
    """Everything an inner model carries from one piece of text to the next.

    Attributes:
        weights: W_l at the last mini-batch boundary, (B, H, in, out), float32 or float64.
        biases: b_l at the last mini-batch boundary, (B, H, out).
        moments: of the inner Adam, first (weight, bias) then second; empty for plain descent.
        open_tokens: tokens since that boundary.
        position: tokens read so far by each sequence.
        learned: what decoding has computed from the open tokens. It follows from the rest: what
            makes a state from other tensors or stores one may leave it out.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    moments: tuple[Tensor, ...]
    open_tokens: OpenTokens
    position: tuple[int, ...]
    learned: Learned | None = field(default=None, compare=False, repr=False)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, batch first."""
        return {
            **{f"W{i}": w for i, w in enumerate(self.weights, 1)},
            **{f"b{i}": b for i, b in enumerate(self.biases, 1)},
            **{f"moment{i}": m for i, m in enumerate(self.moments, 1)},
            "open_k": self.open_tokens.k,
            "open_v": self.open_tokens.v,
            "open_lr": self.open_tokens.lr,
        }

    def replace_tensors(
        self, tensors: dict[str, Tensor], position: tuple[int, ...]
    ) -> "InnerState":
        """The same structure with other tensors, named as in `tensors()`."""
        return InnerState(
            tuple(tensors[f"W{i}"] for i in range(1, len(self.weights) + 1)),
            tuple(tensors[f"b{i}"] for i in range(1, len(self.biases) + 1)),
            tuple(tensors[f"moment{i}"] for i in range(1, len(self.moments) + 1)),
            OpenTokens(tensors["open_k"], tensors["open_v"], tensors["open_lr"]),
            position,
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> "InnerState":
        """Apply `function` to every tensor."""
        mapped = {name: function(tensor) for name, tensor in self.tensors().items()}
        return self.replace_tensors(mapped, self.position)

    def select(self, rows: Sequence[int]) -> "InnerState":
        """The state of some sequences of the batch, in the order given, repeats allowed."""
        index = torch.tensor(rows, device=self.weights[0].device)
        chosen = {name: t.index_select(0, index) for name, t in self.tensors().items()}
        state = self.replace_tensors(chosen, tuple(self.position[row] for row in rows))
        if self.learned is None:
            return state
        return replace(state, learned=self.learned.select(index))

    @staticmethod
    def concatenate(states: Sequence["InnerState"]) -> "InnerState":
        """One batch out of several; open tokens are padded to the longest."""
        longest = max(state.open_tokens.k.shape[1] for state in states)

        def pad(name: str, tensor: Tensor) -> Tensor:
            if not name.startswith("open_") or tensor.shape[1] == longest:
                return tensor
            missing = tensor.new_zeros(len(tensor), longest - tensor.shape[1], *tensor.shape[2:])
            return torch.cat([tensor, missing], dim=1)

        columns = {
            name: torch.cat([pad(name, state.tensors()[name]) for state in states])
            for name in states[0].tensors()
        }
        position = tuple(p for state in states for p in state.position)
        return states[0].replace_tensors(columns, position)
