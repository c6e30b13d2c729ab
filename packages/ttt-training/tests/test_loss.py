"""The loss from hidden states in chunks, held against the plain loss over all scores."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ttt_config import ModelConfig
from ttt_layer import TTTModel
from ttt_training import loss as loss_module
from ttt_training.loss import chunk_rows, cross_entropy, token_losses


@pytest.fixture(params=[1, 5, 1000])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens scored at a time: one, a number that does not divide theirs, more than there are."""
    monkeypatch.setattr(loss_module, "chunk_rows", lambda _vocab_size, _device: request.param)


def draw(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 7, 16, generator=rng, dtype=torch.float64).to(dtype)
    head = torch.randn(50, 16, generator=rng, dtype=torch.float64).to(dtype)
    targets = torch.randint(50, (3, 7), generator=rng)
    targets[0, 2:5] = -100
    return hidden.requires_grad_(), head.requires_grad_(), targets


def plain(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    scores = functional.linear(hidden, head).flatten(0, 1)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return functional.cross_entropy(scores, targets.flatten(), ignore_index=-100)


def test_it_is_the_mean_over_tokens_not_over_sequences() -> None:
    rng = torch.Generator().manual_seed(0)
    hidden, head = torch.randn(2, 3, 4, generator=rng), torch.randn(5, 4, generator=rng)
    targets = torch.tensor([[0, 1, 2], [3, -100, -100]])
    surprise = -(hidden @ head.t()).log_softmax(-1)
    counted = [surprise[0, 0, 0], surprise[0, 1, 1], surprise[0, 2, 2], surprise[1, 0, 3]]
    torch.testing.assert_close(cross_entropy(hidden, head, targets), torch.stack(counted).mean())


def test_a_gpu_scores_more_tokens_at_a_time_than_a_cpu_and_small_vocabularies_more_than_large() -> (
    None
):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert chunk_rows(32000, cpu) == 256
    assert 2000 < chunk_rows(32000, gpu) < 2200
    assert chunk_rows(1000, cpu) > 2000


def test_uniform_scores_cost_the_logarithm_of_the_vocabulary() -> None:
    loss = cross_entropy(torch.zeros(1, 4, 8), torch.zeros(32, 8), torch.zeros(1, 4).long())
    torch.testing.assert_close(loss, torch.tensor(32.0).log())


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_loss_and_gradients_are_those_of_the_plain_loss(
    dtype: torch.dtype, tolerance: float
) -> None:
    hidden, head, targets = draw(dtype)
    loss, expected = cross_entropy(hidden, head, targets), plain(hidden, head, targets)
    assert loss.dtype == dtype
    torch.testing.assert_close(loss, expected, rtol=tolerance, atol=tolerance)
    ours = torch.autograd.grad(3 * loss, (hidden, head))
    theirs = torch.autograd.grad(3 * expected, (hidden, head))
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_only_the_matrix_products_are_rounded(dtype: torch.dtype) -> None:
    hidden, head, targets = draw()
    with torch.autocast("cpu", dtype=dtype):
        loss, expected = cross_entropy(hidden, head, targets), plain(hidden, head, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    scale = 65536.0 if dtype == torch.float16 else 1.0
    ours = torch.autograd.grad(scale * loss, (hidden, head))
    theirs = torch.autograd.grad(scale * expected, (hidden, head))
    for our, their in zip(ours, theirs, strict=True):
        assert our.dtype == torch.float32
        torch.testing.assert_close(
            our / scale, their / scale, rtol=2 * torch.finfo(dtype).eps, atol=2e-3
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_scores_are_summed_in_float32(dtype: torch.dtype) -> None:
    hidden, head, targets = draw(dtype)
    loss = cross_entropy(hidden, head, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, plain(hidden, head, targets))
    gradients = torch.autograd.grad(loss, (hidden, head))
    assert [gradient.dtype for gradient in gradients] == [dtype, dtype]


@pytest.mark.usefixtures("chunk")
def test_the_losses_of_tokens_average_to_the_loss() -> None:
    hidden, head, targets = draw()
    losses = token_losses(hidden, head, targets)
    assert losses.shape == targets.shape
    assert (losses[targets == -100] == 0).all()
    counted = (targets != -100).sum()
    torch.testing.assert_close(losses.sum() / counted, cross_entropy(hidden, head, targets))


def test_without_targets_there_is_no_mean() -> None:
    hidden, head, targets = draw()
    assert cross_entropy(hidden, head, torch.full_like(targets, -100)).isnan()


def test_a_target_outside_the_vocabulary_is_an_error() -> None:
    hidden, head, targets = draw()
    with pytest.raises((RuntimeError, IndexError)):
        cross_entropy(hidden, head, targets + 1000)


@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_of_a_model_gets_the_gradient_of_the_plain_loss(tied: bool) -> None:
    torch.manual_seed(0)
    model = TTTModel(
        ModelConfig(vocab_size=40, hidden_size=16, num_heads=2, num_layers=2, tie_embeddings=tied)
    ).double()
    ids = torch.randint(40, (2, 20))
    targets = ids.roll(-1, 1)
    parameters = list(model.parameters())
    ours = torch.autograd.grad(cross_entropy(model.hidden(ids)[0], model.head, targets), parameters)
    logits = model(ids).flatten(0, 1)
    theirs = torch.autograd.grad(functional.cross_entropy(logits, targets.flatten()), parameters)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_the_scores_of_all_tokens_are_never_held() -> None:
    hidden, head = torch.randn(1, 4096, 4), torch.randn(3000, 4)
    targets = torch.zeros(1, 4096, dtype=torch.long)
    scores = 4 * 4096 * 3000
    with torch.profiler.profile(profile_memory=True) as profile:
        cross_entropy(hidden.requires_grad_(), head.requires_grad_(), targets).backward()
    largest = max(event.cpu_memory_usage for event in profile.events() or ())
    assert 0 < largest < scores / 4
