"""The language model: embedding, blocks, norm, head."""

from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ttt_config import ModelConfig
from ttt_config.errors import IncompatibleError, InvalidValueError
from ttt_layer.block import BlockState, TTTBlock
from ttt_layer.init import init_parameters
from ttt_layer.norm import RMSNorm
from ttt_layer.rope import rotation
from ttt_layer.state import ModelState, model_identity


class TTTModel(nn.Module):
    """A language model whose layers learn from the text they read (arXiv 2407.04620).

    Attributes:
        activation_checkpointing: keep the inputs of each block only, and compute the rest again in
            the backward pass.

    Args:
        config: `vocab_size` must be given.

    Raises:
        IncompatibleError: `vocab_size` is None.
        KernelUnavailableError: the kernel named in the configuration cannot run here.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.vocab_size is None:
            raise IncompatibleError("a model needs `vocab_size`, the number of rows it embeds")
        self.config = config
        self.vocab_size = config.vocab_size
        width = config.hidden_size
        self.embed = nn.Embedding(config.vocab_size, width)
        absolute = config.pos_encoding == "absolute"
        self.position_embed = nn.Embedding(config.max_seq_len, width) if absolute else None
        self.blocks = nn.ModuleList(
            TTTBlock(config, config.mix.layer(i)) for i in range(config.num_layers)
        )
        self.norm = RMSNorm(width, config.rms_norm_eps)
        tied = config.tie_embeddings
        self.lm_head = None if tied else nn.Linear(width, config.vocab_size, bias=False)
        self.activation_checkpointing = False
        init_parameters(self, config)

    @property
    def head(self) -> Tensor:
        """From hidden states to logits, (V, C); the embedding where it is tied."""
        return self.embed.weight if self.lm_head is None else self.lm_head.weight

    def initial_state(self, batch_size: int) -> ModelState:
        """The state before the first token of `batch_size` sequences."""
        blocks = tuple(b.initial_state(batch_size) for b in self.blocks if isinstance(b, TTTBlock))
        return ModelState(blocks, model_identity(self.config))

    @overload
    def forward(
        self,
        input_ids: Tensor,
        *,
        state: ModelState | None = None,
        return_state: Literal[False] = False,
    ) -> Tensor: ...

    @overload
    def forward(
        self, input_ids: Tensor, *, state: ModelState | None = None, return_state: Literal[True]
    ) -> tuple[Tensor, ModelState]: ...

    def forward(
        self, input_ids: Tensor, *, state: ModelState | None = None, return_state: bool = False
    ) -> Tensor | tuple[Tensor, ModelState]:
        """Predict the token after each token.

        Args:
            input_ids: (B, T) int64, T >= 1.
            state: go on from here, each sequence at its own position; None: from the beginning.
            return_state: also return the state after these tokens. Any way of cutting a text into
                calls gives the same logits and the same final state up to rounding.

        Returns:
            Logits (B, T, V) float32 (float64 for a float64 model), with the state if asked for.

        Raises:
            InvalidValueError: `input_ids` is not (B, T) with T >= 1, or holds an id out of range
                (checked on the CPU), or runs past the table of absolute positions.
            CheckpointMismatchError: `state` is of another model or batch size.
        """
        h, end = self.hidden(input_ids, state=state)
        return (self.logits(h), end) if return_state else self.logits(h)

    def hidden(
        self, input_ids: Tensor, *, state: ModelState | None = None
    ) -> tuple[Tensor, ModelState]:
        """Read tokens without scoring what may follow them.

        Arguments and errors as `forward`.

        Returns:
            Last hidden states (B, T, C), for `logits`, and the state after these tokens.
        """
        self._check_ids(input_ids)
        if state is None:
            state = self.initial_state(len(input_ids))
        else:
            state.check_fits(self.config, len(input_ids))
        positions = _positions(state.position, input_ids)
        h = self.embed(input_ids)
        if self.position_embed is not None:
            h = h + self.position_embed(self._check_positions(positions))
        rotary = self._rotation(positions)
        ends = []
        for block, begin in zip(self.blocks, state.blocks, strict=True):
            h, end = self._read(block, h, rotary, begin)
            ends.append(end)
        return self.norm(h), ModelState(tuple(ends), state.identity)

    def logits(self, hidden: Tensor) -> Tensor:
        """Score all tokens of the vocabulary: (..., C) to (..., V), float32 or wider."""
        logits = functional.linear(hidden, self.head)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _read(
        self, block: nn.Module, h: Tensor, rotary: Tensor | None, begin: BlockState
    ) -> tuple[Tensor, BlockState]:
        if self.activation_checkpointing and torch.is_grad_enabled():
            return checkpoint(
                block, h, rotary, begin, use_reentrant=False, preserve_rng_state=False
            )
        return block(h, rotary, begin)

    def _rotation(self, positions: Tensor) -> Tensor | None:
        """Angles for q and k, computed once for all blocks."""
        config = self.config
        if config.pos_encoding == "rope":
            positions = positions % config.inner.mini_batch_size
        elif config.pos_encoding != "rope-global":
            return None
        dtype = torch.promote_types(self.embed.weight.dtype, torch.float32)
        return rotation(positions, config.head_dim, config.rope_theta, dtype)

    def _check_ids(self, input_ids: Tensor) -> None:
        if input_ids.dim() != 2 or input_ids.shape[1] < 1:
            raise InvalidValueError(
                f"`input_ids` has shape {tuple(input_ids.shape)}, expected (B, T) with T >= 1"
            )
        plain = type(input_ids) is Tensor and input_ids.device.type == "cpu"
        if torch.compiler.is_compiling() or not plain or not len(input_ids):
            return  # elsewhere the check would cost a synchronisation, or there are no values
        low, high = (int(end) for end in input_ids.aminmax())
        if low < 0 or high >= self.vocab_size:
            raise InvalidValueError(
                f"`input_ids` holds {low if low < 0 else high}, expected token ids from 0 to "
                f"{self.vocab_size - 1}; does the tokenizer belong to this model?"
            )

    def _check_positions(self, positions: Tensor) -> Tensor:
        if positions[:, -1].max() >= self.config.max_seq_len:
            raise InvalidValueError(
                f"position {int(positions[:, -1].max())} is past the absolute table of "
                f"max_seq_len = {self.config.max_seq_len}; use pos_encoding rope for longer texts"
            )
        return positions


def _positions(start: tuple[int, ...], input_ids: Tensor) -> Tensor:
    """Absolute position of each token, (1, T), or (B, T) where sequences stand apart."""
    steps = torch.arange(input_ids.shape[1], device=input_ids.device)
    if len(set(start)) == 1:
        return (steps + start[0]).unsqueeze(0)
    return torch.tensor(start, device=input_ids.device).unsqueeze(1) + steps
