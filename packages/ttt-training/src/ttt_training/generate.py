"""Writing text: prefill the prompt once, then one token at a time through the state."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt_config import InvalidValueError
from ttt_layer import ModelState, TTTModel
from ttt_training.device import device_of
from ttt_training.modes import eval_mode
from ttt_training.sampling import sample_next


def generate(
    model: TTTModel,
    prompt_ids: Sequence[int] | NDArray[np.integer],
    *,
    max_new_tokens: int,
    temperature: float = 0.8,
    top_k: int | None = 40,
    top_p: float = 1.0,
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
        temperature: divides the scores; 0 always takes the best token.
        top_k: draw from that many of the best tokens; None means all.
        top_p: draw from the smallest set of tokens with this share of the probability.
        seed: decides the draws; no global random state is read or changed.
        eos_id: stop when this token is drawn (it is not yielded); None never stops early.

    Raises:
        InvalidValueError: a setting is out of its range, or the prompt holds no token.
    """
    _check_settings(prompt_ids, max_new_tokens, temperature, top_k, top_p, seed)
    prompt = torch.tensor([list(prompt_ids)], dtype=torch.long, device=device_of(model))
    generator = torch.Generator().manual_seed(seed)

    # A function of its own, so that bad settings raise at the call and not at the first token.
    def stream() -> Iterator[int]:
        unread, state = prompt, None
        for _ in range(max_new_tokens):
            logits, state = _advance(model, unread, state)
            token = sample_next(
                logits[:, -1],
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                generator=generator,
            )
            if int(token) == eos_id:
                return
            yield int(token)
            unread = token[:, None]

    return stream()


@torch.inference_mode()
def _advance(
    model: TTTModel, input_ids: Tensor, state: ModelState | None
) -> tuple[Tensor, ModelState]:
    """Read tokens, (1, T), from `state` on; give logits (1, T, V) and the state after them."""
    with eval_mode(model):
        return model(input_ids, state=state, return_state=True)


def _check_settings(
    prompt_ids: Sequence[int] | NDArray[np.integer],
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float,
    seed: int,
) -> None:
    if not len(prompt_ids):
        raise InvalidValueError("the prompt holds no token: start from the end-of-text token")
    if max_new_tokens < 0:
        raise InvalidValueError(f"max_new_tokens is {max_new_tokens}; expected 0 or more")
    if not 0 <= temperature < float("inf"):
        raise InvalidValueError(f"temperature is {temperature}; expected 0 (greedy) or more")
    if top_k is not None and top_k < 1:
        raise InvalidValueError(
            f"top_k is {top_k}; expected 1 or more, or None (--top-k 0) to keep all"
        )
    if not 0 < top_p <= 1:
        raise InvalidValueError(f"top_p is {top_p}; expected more than 0 and at most 1")
    if not 0 <= seed < 2**63:
        raise InvalidValueError(f"seed is {seed}; expected 0 or more, below 2**63")
