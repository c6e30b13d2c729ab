"""Choosing the next token from the model's scores."""

import torch
from torch import Tensor


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
