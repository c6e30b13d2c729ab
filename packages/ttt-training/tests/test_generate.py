from collections.abc import Iterator
from typing import Any

import pytest
import torch

from ttt_config import InvalidValueError, ModelConfig
from ttt_layer import TTTModel
from ttt_training.generation import generate

PROMPT = [3, 1, 4, 1, 5]


@pytest.fixture(scope="module", params=["linear", "linear,mlp"])
def model(request: pytest.FixtureRequest) -> TTTModel:
    config = ModelConfig(
        vocab_size=40,
        hidden_size=32,
        num_layers=2,
        num_heads=2,
        intermediate_size=48,
        layer_type=request.param,
        init_std=0.3,  # scores far enough apart for rounding not to decide
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TTTModel(config)


def test_greedy_text_is_the_best_token_of_a_full_forward_at_every_step(model: TTTModel) -> None:
    text = list(PROMPT)
    for token in generate(model, PROMPT, max_new_tokens=40, temperature=0):
        with torch.no_grad():
            logits = model(torch.tensor([text]))
        assert token == int(logits[0, -1].argmax())
        text.append(token)
    assert len(text) == len(PROMPT) + 40
    assert len(set(text[len(PROMPT) :])) > 1


def test_the_seed_alone_decides_the_draws(model: TTTModel) -> None:
    def text(seed: int) -> list[int]:
        return list(generate(model, PROMPT, max_new_tokens=20, temperature=1.0, seed=seed))

    state = torch.random.get_rng_state()
    first = text(0)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(1)
    assert text(0) == first
    assert text(1) != first


def test_end_of_text_stops_and_is_not_yielded(model: TTTModel) -> None:
    free = list(generate(model, PROMPT, max_new_tokens=20, temperature=0))
    eos = free[7]
    stopped = list(generate(model, PROMPT, max_new_tokens=20, temperature=0, eos_id=eos))
    assert stopped == free[: free.index(eos)]


def test_tokens_come_one_by_one_and_the_last_is_not_run_through_the_model(
    model: TTTModel,
) -> None:
    lengths: list[int] = []
    handle = model.embed.register_forward_pre_hook(
        lambda _module, arguments: lengths.append(arguments[0].shape[1])
    )
    stream: Iterator[int] = generate(model, PROMPT, max_new_tokens=3)
    seen = [list(lengths) for _token in stream]
    handle.remove()
    assert seen == [[5], [5, 1], [5, 1, 1]]
    assert lengths == [5, 1, 1]


def test_no_tokens_asked_for_gives_none(model: TTTModel) -> None:
    assert list(generate(model, PROMPT, max_new_tokens=0)) == []


def test_the_model_is_left_as_it_was(model: TTTModel) -> None:
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    list(generate(model, PROMPT, max_new_tokens=5))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("prompt", "settings", "message"),
    [
        ([], {}, "the prompt holds no token"),
        (PROMPT, {"max_new_tokens": -1}, "max_new_tokens is -1; expected 0 or more"),
        (PROMPT, {"temperature": -0.5}, "temperature is -0.5; expected 0"),
        (PROMPT, {"temperature": float("nan")}, "temperature is nan"),
        (PROMPT, {"top_k": 0}, "top_k is 0; expected 1 or more"),
        (PROMPT, {"top_p": 0.0}, "top_p is 0.0; expected more than 0"),
        (PROMPT, {"top_p": 1.5}, "top_p is 1.5"),
        (PROMPT, {"seed": -1}, "seed is -1; expected 0"),
    ],
)
def test_bad_settings_are_refused_before_the_first_token(
    model: TTTModel, prompt: list[int], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidValueError, match=message):
        generate(model, prompt, **({"max_new_tokens": 5} | settings))
