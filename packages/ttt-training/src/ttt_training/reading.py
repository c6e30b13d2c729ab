"""How far a model has read one text: the value that generation starts from and leaves behind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ttt_layer import ModelState, TTTModel
from ttt_training.device import device_of
from ttt_training.modes import eval_mode
from ttt_training.sampling import RECENT_TOKENS, Sampling, draw_token

_CHUNK_TOKENS = 1024
"""Tokens read in one call, which bounds the memory that they take."""


@dataclass(frozen=True)
class Reading:
    """Where one text stands.

    Scores come from running a token through the model, which changes the state; so the token that
    the next scores depend on, most often the one drawn last, waits outside the state until they are
    asked for. A reading can then be kept, copied or stored between any two tokens, and no token is
    ever read twice or lost.

    Attributes:
        state: after all tokens but the unread ones, of one sequence; None at the beginning.
        unread: tokens of the text that the state does not know yet.
        recent: the last `RECENT_TOKENS` tokens of the text, unread ones included.
    """

    state: ModelState | None = None
    unread: tuple[int, ...] = ()
    recent: tuple[int, ...] = ()

    @property
    def position(self) -> int:
        """Tokens of the text so far, unread ones included."""
        return (0 if self.state is None else self.state.position[0]) + len(self.unread)

    def append(self, token_ids: Sequence[int]) -> "Reading":
        """The text with these tokens at its end, not read yet."""
        new = tuple(int(token) for token in token_ids)
        recent = (self.recent + new)[-RECENT_TOKENS:]
        return replace(self, unread=self.unread + new, recent=recent)


def read_on(
    model: TTTModel, reading: Reading, on_read: Callable[[int], object] | None = None
) -> Reading:
    """Read all tokens but the last, which waits until its scores are needed.

    Args:
        model: of the text.
        reading: where it stands.
        on_read: called now and then with the number of tokens read so far.
    """
    if len(reading.unread) < 2:
        return reading
    _, state = read_tokens(model, [reading.unread[:-1]], reading.state, on_read)
    return replace(reading, state=state, unread=reading.unread[-1:])


def write_token(model: TTTModel, reading: Reading, sampling: Sampling) -> tuple[Reading, int]:
    """Draw the next token.

    Returns:
        The text with the token at its end, unread, and the token.
    """
    logits, state = read_tokens(model, [reading.unread], reading.state)
    token = draw_token(logits, sampling, position=reading.position, recent=reading.recent)
    return replace(reading, state=state, unread=()).append([token]), token


@torch.inference_mode()
def read_tokens(
    model: TTTModel,
    token_ids: Sequence[Sequence[int]],
    state: ModelState | None,
    on_read: Callable[[int], object] | None = None,
) -> tuple[Tensor, ModelState]:
    """Run tokens through the model from `state` on.

    Args:
        model: in any mode, which it keeps.
        token_ids: of each text, (B, T), T >= 1.
        state: of the B texts; None: at their beginning.
        on_read: called now and then with the number of tokens read so far.

    Returns:
        The scores of the token after them, (B, V), and the state.
    """
    input_ids = torch.tensor(token_ids, device=device_of(model))
    first, *others = input_ids.split(_CHUNK_TOKENS, dim=1)
    with eval_mode(model):
        hidden, state = model.hidden(first, state=state)
        num_read = first.shape[1]
        for chunk in others:
            if on_read is not None:
                on_read(num_read)
            hidden, state = model.hidden(chunk, state=state)
            num_read += chunk.shape[1]
        return model.logits(hidden[:, -1]), state
