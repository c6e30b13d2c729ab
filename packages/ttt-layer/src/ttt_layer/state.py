"""The state of a whole model: a value that can be saved, loaded, forked and compared."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from ttt_config import ModelConfig
from ttt_config.errors import CheckpointMismatchError
from ttt_core import InnerState, OpenTokens
from ttt_layer.block import BlockState
from ttt_layer.layer import LayerState
from ttt_layer.state_file import read_state_file, write_state_file

_NOTE = "note."
"""Before the names of notes among a file's metadata."""
_COMPUTATION_ONLY = {"size", "backbone", "init_std", "conv_init", "max_seq_len"}
"""Fields of the model that leave its function and state as they are."""


@lru_cache
def model_identity(config: ModelConfig) -> str:
    """Digest of everything in a configuration that a state depends on.

    Which kernel computes a layer is left out: states move freely between kernels and devices.
    """
    fields = msgspec.to_builtins(config)
    for name in _COMPUTATION_ONLY:
        del fields[name]
    del fields["inner"]["kernel"], fields["inner"]["checkpoint_interval"]
    if config.pos_encoding == "absolute":
        fields["max_seq_len"] = config.max_seq_len
    fields["layer_type"] = [config.mix.layer(i).kind for i in range(config.num_layers)]
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class ModelState:
    """What a model remembers of the text it has read, per sequence of a batch.

    Attributes:
        blocks: state of each block.
        identity: `model_identity` of the model it belongs to.
    """

    blocks: tuple[BlockState, ...]
    identity: str

    @property
    def position(self) -> tuple[int, ...]:
        """Tokens read so far by each sequence."""
        return self.blocks[0].ttt.inner.position

    @property
    def batch_size(self) -> int:
        """Number of sequences."""
        return len(self.position)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, batch first."""
        named: dict[str, Tensor] = {}
        for i, block in enumerate(self.blocks):
            named |= {f"blocks.{i}.inner.{n}": t for n, t in block.ttt.inner.tensors().items()}
            for name, tail in (
                ("qk_conv", block.ttt.conv_tail),
                ("pre_conv", block.pre_conv_tail),
            ):
                if tail is not None:
                    named[f"blocks.{i}.{name}"] = tail
        return named

    def map(self, function: Callable[[Tensor], Tensor]) -> "ModelState":
        """Apply `function` to every tensor."""
        return self._with_inner_states(
            lambda block: block.ttt.inner.map(function),
            lambda tail: None if tail is None else function(tail),
        )

    def fork(self) -> "ModelState":
        """An independent copy: reading on from one leaves the other as it is."""
        return self.map(lambda tensor: tensor.detach().clone())

    def detach(self) -> "ModelState":
        """The same state without its history, for training over cut gradients."""
        return self.map(Tensor.detach)

    def to(self, device: torch.device | str) -> "ModelState":
        """The same state on another device."""
        return self.map(lambda tensor: tensor.to(device))

    def select(self, rows: Sequence[int]) -> "ModelState":
        """The state of some sequences, in the order given, repeats allowed (beams, forks)."""
        chosen = list(rows)
        return self._with_inner_states(
            lambda block: block.ttt.inner.select(chosen),
            lambda tail: None if tail is None else tail[chosen],
        )

    @staticmethod
    def concatenate(states: Sequence["ModelState"]) -> "ModelState":
        """One batch out of the sequences of several states, each at its own position.

        Raises:
            CheckpointMismatchError: the states are not of one model.
        """
        first = states[0]
        for state in states[1:]:
            _check_identity(state.identity, first.identity)
        blocks: list[BlockState] = []
        for column in zip(*(state.blocks for state in states), strict=True):
            inner = InnerState.concatenate([block.ttt.inner for block in column])
            tails = [block.ttt.conv_tail for block in column]
            pre_tails = [block.pre_conv_tail for block in column]
            blocks.append(
                BlockState(LayerState(inner, _concatenate(tails)), _concatenate(pre_tails))
            )
        return ModelState(tuple(blocks), first.identity)

    def diff(self, other: "ModelState") -> dict[str, float]:
        """Largest absolute difference of each tensor, by name; empty where states are equal.

        Raises:
            CheckpointMismatchError: the states are of different models, batch sizes or positions.
        """
        _check_identity(other.identity, self.identity)
        if other.position != self.position:
            raise CheckpointMismatchError(
                f"states stand at different positions: {self.position} and {other.position}"
            )
        theirs = other.tensors()
        differences = {
            name: (ours.double() - theirs[name].double()).abs().max().item()
            for name, ours in self.tensors().items()
            if ours.numel()
        }
        return {name: value for name, value in differences.items() if value != 0.0}

    def displacement(self, other: "ModelState") -> tuple[Tensor, Tensor]:
        """How far the fast weights of each head have moved from here to `other`.

        Weights and biases of all inner layers of a head count as one vector; the states may stand
        at different positions.

        Returns:
            Euclidean norm of the difference, and of the fast weights here: (L, B, H) float64 each.

        Raises:
            CheckpointMismatchError: the states are of different models or batch sizes.
        """
        _check_identity(other.identity, self.identity)
        if other.batch_size != self.batch_size:
            raise CheckpointMismatchError(
                f"states hold {self.batch_size} and {other.batch_size} sequences; "
                "choose rows with `ModelState.select`"
            )
        moved: list[Tensor] = []
        size: list[Tensor] = []
        for ours, theirs in zip(self.blocks, other.blocks, strict=True):
            begin, end = _fast_weights(ours.ttt.inner), _fast_weights(theirs.ttt.inner)
            moved.append((end - begin).norm(dim=-1))
            size.append(begin.norm(dim=-1))
        return torch.stack(moved), torch.stack(size)

    def save(self, path: str | os.PathLike[str], notes: Mapping[str, str] | None = None) -> None:
        """Write the state to one safetensors file, whole or not at all.

        Args:
            path: an older file of that name is replaced, or left as it was if writing fails.
            notes: text by name that belongs to the state, given back by `load_with_notes`.

        Raises:
            CheckpointError: the file cannot be written.
        """
        own = {"identity": self.identity, "position": json.dumps(self.position)}
        notes = {_NOTE + name: text for name, text in (notes or {}).items()}
        write_state_file(Path(path), self.tensors(), own | notes)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "ModelState":
        """Read a state written by `save`; which model it fits is checked when it is used.

        Raises:
            CheckpointIncompleteError: there is no such file, or it is cut short.
            CheckpointCorruptError: the file is no state, or its contents have changed.
        """
        return ModelState.load_with_notes(path)[0]

    @staticmethod
    def load_with_notes(path: str | os.PathLike[str]) -> tuple["ModelState", dict[str, str]]:
        """Read a state and the notes saved with it; raises as `load`."""
        tensors, metadata = read_state_file(Path(path))
        notes = {
            name.removeprefix(_NOTE): text
            for name, text in metadata.items()
            if name.startswith(_NOTE)
        }
        position = tuple(json.loads(metadata["position"]))
        return ModelState(_blocks_from_tensors(tensors, position), metadata["identity"]), notes

    def check_fits(self, config: ModelConfig, batch_size: int) -> None:
        """Refuse to go on with a state of another model or batch.

        Raises:
            CheckpointMismatchError: saying which.
        """
        _check_identity(self.identity, model_identity(config))
        if self.batch_size != batch_size:
            raise CheckpointMismatchError(
                f"state holds {self.batch_size} sequences, the input {batch_size}; "
                "choose rows with `ModelState.select`"
            )

    def _with_inner_states(
        self,
        inner: Callable[[BlockState], InnerState],
        tail: Callable[[Tensor | None], Tensor | None],
    ) -> "ModelState":
        blocks = tuple(
            BlockState(LayerState(inner(b), tail(b.ttt.conv_tail)), tail(b.pre_conv_tail))
            for b in self.blocks
        )
        return ModelState(blocks, self.identity)


def _check_identity(found: str, expected: str) -> None:
    if found != expected:
        raise CheckpointMismatchError(
            f"state of another model: its identity is {found[:12]}, this model's {expected[:12]}; "
            "a state only fits the architecture it was made by"
        )


def _concatenate(tails: Sequence[Tensor | None]) -> Tensor | None:
    present = [tail for tail in tails if tail is not None]
    return torch.cat(present) if present else None


def _fast_weights(inner: InnerState) -> Tensor:
    """Weights and biases of each head as one vector, (B, H, P) float64."""
    parts = [tensor.detach().double().flatten(2) for tensor in (*inner.weights, *inner.biases)]
    return torch.cat(parts, dim=-1)


def _blocks_from_tensors(
    tensors: dict[str, Tensor], position: tuple[int, ...]
) -> tuple[BlockState, ...]:
    """Invert `ModelState.tensors`."""
    blocks: list[BlockState] = []
    while f"blocks.{len(blocks)}.inner.W1" in tensors:
        prefix = f"blocks.{len(blocks)}."
        inner = {
            name.removeprefix(f"{prefix}inner."): tensor
            for name, tensor in tensors.items()
            if name.startswith(f"{prefix}inner.")
        }

        def numbered(kind: str, of: dict[str, Tensor] = inner) -> tuple[Tensor, ...]:
            count = sum(name.startswith(kind) for name in of)
            return tuple(of[f"{kind}{i}"] for i in range(1, count + 1))

        open_tokens = OpenTokens(inner["open_k"], inner["open_v"], inner["open_lr"])
        state = InnerState(numbered("W"), numbered("b"), numbered("moment"), open_tokens, position)
        layer = LayerState(state, tensors.get(f"{prefix}qk_conv"))
        blocks.append(BlockState(layer, tensors.get(f"{prefix}pre_conv")))
    return tuple(blocks)
