"""From drawn tokens to text: whole characters only, ended by EOS, a length or a stop string."""

from collections.abc import Sequence
from typing import Literal

from ttt_config import InvalidValueError
from ttt_data import Tokenizer
from ttt_training.generation import check_max_new_tokens

FinishReason = Literal["eos", "length", "stop"]
"""End of the text, as many tokens as asked for, or a stop string."""


class Writer:
    """Collects the tokens and the text of one answer and knows when it ends.

    Args:
        tokenizer: of the model.
        before: the tokens the answer follows, so that a character or a space that begins in them
            is written as it would be in one text.
        max_new_tokens: after how many tokens the answer ends.
        stop: strings before the first of which the text ends; that which is complete first counts.
        eos_id: token that ends the answer and is not part of it; None: none does.

    Attributes:
        token_ids: drawn so far, those of a stop string included.
        text: the text of these tokens that is certain to be part of the answer.
        finish_reason: why the answer has ended; None while it goes on.

    Raises:
        InvalidValueError: `max_new_tokens` is negative or a stop string empty.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        before: Sequence[int] = (),
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        eos_id: int | None = None,
    ) -> None:
        check_limits(max_new_tokens, stop)
        self.token_ids: list[int] = []
        self.text = ""
        self.finish_reason: FinishReason | None = None if max_new_tokens else "length"
        self._max_new_tokens = max_new_tokens
        self._stop = stop
        self._eos_id = eos_id
        self._held = ""
        """Text that may be the beginning of a stop string."""
        self._decoder = tokenizer.decode_stream()
        for token in before:
            self._decoder.push(token)

    def push(self, token: int) -> str:
        """Take in a token and return the text that is now certain; often empty."""
        if token == self._eos_id:
            return self._finish("eos")
        self.token_ids.append(token)
        shown = self._add(self._decoder.push(token))
        if self.finish_reason is None and len(self.token_ids) == self._max_new_tokens:
            return shown + self._finish("length")
        return shown

    def _finish(self, reason: FinishReason) -> str:
        shown = self._add(self._decoder.finish())
        if self.finish_reason is None:
            self.finish_reason = reason
            shown += self._held
            self.text += self._held
        return shown

    def _add(self, piece: str) -> str:
        """Take in text and return what cannot belong to a stop string any more."""
        self._held += piece
        end = self._find_stop()
        if end is None:
            end = len(self._held) - self._num_undecided()
        else:
            self.finish_reason = "stop"
        shown, self._held = self._held[:end], self._held[end:]
        self.text += shown
        return shown

    def _find_stop(self) -> int | None:
        """Where the stop string begins that is complete first; the longest of those that are."""
        found = [
            (begin + len(stop), begin)
            for stop in self._stop
            if (begin := self._held.find(stop)) >= 0
        ]
        return min(found)[1] if found else None

    def _num_undecided(self) -> int:
        """Length of the longest end of the text that a stop string begins with."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        return next(
            (
                length
                for length in range(min(longest, len(self._held)), 0, -1)
                if any(stop.startswith(self._held[-length:]) for stop in self._stop)
            ),
            0,
        )


def check_limits(max_new_tokens: int, stop: Sequence[str]) -> None:
    """Refuse limits that no answer can keep.

    Raises:
        InvalidValueError: `max_new_tokens` is negative or a stop string empty.
    """
    check_max_new_tokens(max_new_tokens)
    if "" in stop:
        raise InvalidValueError("a stop string is empty; leave it out")
