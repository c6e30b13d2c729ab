"""Writing tokens: one text as a stream, or several texts together."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ttt_config import InvalidValueError
from ttt_layer import ModelState, TTTModel
from ttt_training.reading import Reading, read_tokens, write_token
from ttt_training.sampling import RECENT_TOKENS, Sampling, draw_token


def generate(
    model: TTTModel,
    prompt_ids: Sequence[int] | NDArray[np.integer],
    *,
    max_new_tokens: int,
    temperature: float = 0.8,
    top_k: int | None = 40,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    seed: int = 0,
    eos_id: int | None = None,
) -> Iterator[int]:
    """Continue a prompt, yielding each new token as soon as it is drawn.

    The cost of a token does not grow with the length of the text: all the model knows of it is
    in its state, of fixed size. The last token drawn is not run through the model.

    Args:
        model: the model, on any device; it is left in the mode it was in.
        prompt_ids: token ids to start from, (T,), at least one.
        max_new_tokens: how many tokens to draw at most.
        temperature: as the settings below, explained at `Sampling`.
        top_k: see `Sampling`.
        top_p: see `Sampling`.
        repetition_penalty: see `Sampling`.
        seed: see `Sampling`; no global random state is read or changed.
        eos_id: stop when this token is drawn (it is not yielded); None never stops early.

    Raises:
        InvalidValueError: a setting is out of its range, or the prompt holds no token.
    """
    sampling = Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
    )
    check_max_new_tokens(max_new_tokens)
    if not len(prompt_ids):
        raise InvalidValueError("the prompt holds no token: start from the end-of-text token")
    start = Reading().append([int(token) for token in prompt_ids])

    # A function of its own, so that bad settings raise at the call and not at the first token.
    def stream() -> Iterator[int]:
        reading = start
        for _ in range(max_new_tokens):
            reading, token = write_token(model, reading, sampling)
            if token == eos_id:
                return
            yield token

    return stream()


class Batch:
    """Several texts written together, each from where it stands and with draws of its own.

    What a text becomes does not depend on the others: the scores are those it gets alone, up to
    the rounding of larger matrix products.

    Args:
        model: the model, on any device.
        starts: the texts, of any lengths, each with something unread.
        samplings: the settings of each.
    """

    def __init__(
        self, model: TTTModel, starts: Sequence[Reading], samplings: Sequence[Sampling]
    ) -> None:
        self._model = model
        self._samplings = samplings
        self._rows = list(range(len(starts)))
        """Which text each row of the state belongs to."""
        self._recent = {row: list(start.recent) for row, start in enumerate(starts)}
        self._unread: list[int] = []
        first = [read_tokens(model, [start.unread], start.state) for start in starts]
        self._logits = torch.cat([logits for logits, _ in first])
        self._state = ModelState.concatenate([state for _, state in first])

    def write_tokens(self) -> dict[int, int]:
        """Draw the next token of every text; tokens by the text's place in `starts`."""
        if self._unread:
            unread = [[token] for token in self._unread]
            self._logits, self._state = read_tokens(self._model, unread, self._state)
        self._unread = [
            draw_token(
                self._logits[row : row + 1],
                self._samplings[text],
                position=self._state.position[row],
                recent=self._recent[text],
            )
            for row, text in enumerate(self._rows)
        ]
        for text, token in zip(self._rows, self._unread, strict=True):
            self._recent[text] = [*self._recent[text], token][-RECENT_TOKENS:]
        return dict(zip(self._rows, self._unread, strict=True))

    def keep(self, texts: Sequence[int]) -> None:
        """Go on with these texts only."""
        rows = [row for row, text in enumerate(self._rows) if text in texts]
        if len(rows) == len(self._rows):
            return
        self._rows = [self._rows[row] for row in rows]
        self._unread = [self._unread[row] for row in rows]
        self._state = self._state.select(rows)


def check_max_new_tokens(max_new_tokens: int) -> None:
    """Refuse a negative number of tokens.

    Raises:
        InvalidValueError: it is below 0.
    """
    if max_new_tokens < 0:
        raise InvalidValueError(f"max_new_tokens is {max_new_tokens}; expected 0 or more")
