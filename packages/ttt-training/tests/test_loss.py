import torch

from ttt_training.loss import cross_entropy


def test_it_is_the_mean_over_tokens_not_over_sequences() -> None:
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 1, 2], [3, -100, -100]])
    surprise = -logits.log_softmax(-1)
    counted = [surprise[0, 0, 0], surprise[0, 1, 1], surprise[0, 2, 2], surprise[1, 0, 3]]
    torch.testing.assert_close(cross_entropy(logits, targets), torch.stack(counted).mean())


def test_uniform_scores_cost_the_logarithm_of_the_vocabulary() -> None:
    loss = cross_entropy(torch.zeros(1, 4, 32), torch.zeros(1, 4, dtype=torch.long))
    torch.testing.assert_close(loss, torch.tensor(32.0).log())


def test_bfloat16_scores_are_summed_in_float32() -> None:
    logits = torch.randn(1, 4, 1000, generator=torch.Generator().manual_seed(0)).bfloat16()
    targets = torch.arange(4)[None]
    loss = cross_entropy(logits, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy(logits.float(), targets))
