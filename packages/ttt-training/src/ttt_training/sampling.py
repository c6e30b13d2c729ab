"""Choosing the next token from the model's scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ttt_config import InvalidValueError
from ttt_data.seeds import derive_seed

RECENT_TOKENS = 64
"""How far back the repetition penalty looks: a fixed number, like all that a session keeps."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: divides the scores; 0 always takes the best token.
        top_k: draw from that many of the best tokens; None means all.
        top_p: draw from the smallest set of tokens with this share of the probability.
        repetition_penalty: divides positive scores of the last `RECENT_TOKENS` tokens, prompt
            included, and multiplies negative ones (arXiv 1909.05858); 1 leaves them as they are.
        seed: decides the draws. Each draw depends on the seed and the position in the text alone,
            so a text goes on the same after an interruption and in any batch.

    Raises:
        InvalidValueError: a value is out of its range.
    """

    temperature: float = 0.8
    top_k: int | None = 40
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise InvalidValueError(
                f"temperature is {self.temperature}; expected 0 (greedy) or more"
            )
        if self.top_k is not None and self.top_k < 1:
            raise InvalidValueError(
                f"top_k is {self.top_k}; expected 1 or more, or None (--top-k 0) to keep all"
            )
        if not 0 < self.top_p <= 1:
            raise InvalidValueError(f"top_p is {self.top_p}; expected more than 0 and at most 1")
        if not 0 < self.repetition_penalty < float("inf"):
            raise InvalidValueError(
                f"repetition_penalty is {self.repetition_penalty}; expected more than 0, 1 for none"
            )
        if not 0 <= self.seed < 2**63:
            raise InvalidValueError(f"seed is {self.seed}; expected 0 or more, below 2**63")


def draw_token(
    logits: Tensor, sampling: Sampling, *, position: int, recent: Sequence[int] = ()
) -> int:
    """Draw the token that comes at one position of one text.

    Args:
        logits: scores of the next token, (1, V), any float dtype and device.
        sampling: the settings.
        position: tokens before this one, which with the seed decides the draw.
        recent: the last tokens of the text, which the repetition penalty acts on.
    """
    generator = torch.Generator()
    generator.manual_seed(derive_seed(sampling.seed, f"token {position}"))
    token = sample_next(
        penalize(logits, recent, sampling.repetition_penalty),
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        generator=generator,
    )
    return int(token)


def penalize(logits: Tensor, recent: Sequence[int], penalty: float) -> Tensor:
    """Lower the scores of recent tokens, (1, V): positive ones / penalty, negative ones * penalty.

    A token counts once, however often it occurred (arXiv 1909.05858, section 4.1).
    """
    if penalty == 1 or not recent:
        return logits
    token_ids = torch.tensor([sorted(set(recent))], device=logits.device)
    scores = logits.gather(-1, token_ids)
    return logits.scatter(
        -1, token_ids, torch.where(scores > 0, scores / penalty, scores * penalty)
    )


def sample_next(
    logits: Tensor,
    *,
    temperature: float,
    top_k: int | None,
    top_p: float,
    generator: torch.Generator,
) -> Tensor:
    """Draw one token for each row of scores.

    The filters apply in the usual order: temperature, then the `top_k` best tokens, then the
    smallest set of those whose probability reaches `top_p`. At least one token always stays.

    Args:
        logits: scores of the next token, (B, V), any float dtype and device.
        temperature: divides the scores; 0 takes the best token and draws nothing.
        top_k: keep that many tokens; None keeps all.
        top_p: keep this share of the probability; 1 keeps all.
        generator: a CPU generator. Drawing on the CPU gives the same text on every device.

    Returns:
        Token ids, (B,), int64, on the device of `logits`.
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    scores = logits.float().cpu() / temperature
    if top_k is not None and top_k < scores.shape[-1]:
        threshold = scores.topk(top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < threshold, -torch.inf)
    probabilities = scores.softmax(dim=-1)
    if top_p < 1:
        probabilities = _keep_nucleus(probabilities, top_p)
    drawn = torch.multinomial(probabilities, num_samples=1, generator=generator)
    return drawn.squeeze(-1).to(logits.device)


def _keep_nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Zero the tokens outside the smallest set whose probability reaches `top_p`, (B, V)."""
    ordered, token_ids = probabilities.sort(dim=-1, descending=True, stable=True)
    # A token stays if those before it fall short of `top_p`; so the best one always stays.
    mass_before = ordered.cumsum(dim=-1) - ordered
    mass_before[:, 0] = 0
    kept = ordered.masked_fill(mass_before >= top_p, 0)
    return torch.zeros_like(probabilities).scatter(-1, token_ids, kept)
