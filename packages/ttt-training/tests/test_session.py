import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ttt_config import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointMismatchError,
    ModelConfig,
)
from ttt_data import Tokenizer
from ttt_layer import TTTModel
from ttt_training import Sampling, Session
from ttt_training.session import write_together

TOKENIZER = Tokenizer.load("bytes")
FREE = {"max_new_tokens": 40, "stop_at_eos": False}


def make_model(seed: int = 0, layer_type: str = "linear,mlp") -> TTTModel:
    config = ModelConfig(
        vocab_size=TOKENIZER.vocab_size,
        hidden_size=32,
        num_layers=2,
        num_heads=2,
        intermediate_size=48,
        layer_type=layer_type,
        share_qk=True,
        pre_conv=True,
        init_std=0.3,  # scores far enough apart for rounding not to decide
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TTTModel(config)


@pytest.fixture(scope="module", params=["linear,mlp", "linear-adam"])
def model(request: pytest.FixtureRequest) -> TTTModel:
    return make_model(layer_type=request.param)


def after(model: TTTModel, text: str) -> Session:
    session = Session(model, TOKENIZER)
    session.feed(text)
    return session


def write(session: Session, tokens: int, seed: int = 0) -> list[int]:
    sampling = Sampling(temperature=1.0, top_k=None, repetition_penalty=1.2, seed=seed)
    answer = session.generate(max_new_tokens=tokens, sampling=sampling, stop_at_eos=False)
    for _piece in answer:
        pass
    return answer.writer.token_ids


def through_a_file(session: Session, folder: Path) -> Session:
    path = folder / "a.state"
    session.save(path)
    return Session.load(path, session.model, session.tokenizer)


@pytest.mark.parametrize("how", [through_a_file, lambda session, _folder: session.fork()])
def test_a_session_left_and_taken_up_anywhere_goes_on_as_if_it_had_not_been(
    model: TTTModel, tmp_path: Path, how: Callable[[Session, Path], Session]
) -> None:
    prompt = "Once upon"
    expected = write(after(model, prompt), 40)
    session, tokens = after(model, prompt), []
    for length in (1, 0, 6, 1, 15, 16, 1):  # mini-batches are of 16: open and closed ones
        tokens += write(session, length)
        session = how(session, tmp_path)
        assert session.position == len(prompt) + len(tokens)
    assert tokens == expected


def test_reading_left_and_taken_up_anywhere_is_reading_in_one_go(
    model: TTTModel, tmp_path: Path
) -> None:
    text = "Once there was a very old lighthouse on a rock in the sea."
    expected = write(after(model, text), 20)
    session = Session(model, TOKENIZER)
    for begin, end in [(0, 0), (0, 1), (1, 16), (16, 17), (17, 33), (33, 48), (48, len(text))]:
        session.feed(text[begin:end])
        session = through_a_file(session, tmp_path)
    assert write(session, 20) == expected


def test_no_token_is_run_through_the_model_twice(model: TTTModel, tmp_path: Path) -> None:
    read: list[int] = []
    handle = model.embed.register_forward_pre_hook(
        lambda _module, arguments: read.extend(arguments[0].flatten().tolist())
    )
    session = after(model, "Once")
    tokens = write(session, 5)
    session = through_a_file(session, tmp_path)
    session.feed("x")
    tokens += [*TOKENIZER.encode("x").tolist(), *write(session, 3)]
    handle.remove()
    assert read == [*TOKENIZER.encode("Once").tolist(), *tokens[:-1]]


def test_a_fork_does_not_move_the_session_it_comes_from(model: TTTModel) -> None:
    session = after(model, "Once")
    fork = session.fork()
    write(fork, 20, seed=3)
    assert (session.position, fork.position) == (4, 24)
    assert write(session, 20) == write(after(model, "Once"), 20)


def test_an_answer_can_be_left_in_the_middle(model: TTTModel) -> None:
    session = after(model, "Once")
    sampling = Sampling(temperature=1.0, top_k=None, repetition_penalty=1.2)
    answer = session.generate(sampling=sampling, **FREE)
    next(iter(answer))
    begun = list(answer.writer.token_ids)
    rest = write(session, 40 - len(begun))
    assert begun + rest == write(after(model, "Once"), 40)


def test_an_empty_session_begins_a_new_text(model: TTTModel) -> None:
    fresh, ended = Session(model, TOKENIZER), Session(model, TOKENIZER)
    fresh.feed("")
    ended.begin()
    assert ended.position == 1
    assert write(fresh, 10) == write(ended, 10)
    fresh.reset()
    assert fresh.position == 0


def test_texts_of_unequal_lengths_become_together_what_they_become_alone(model: TTTModel) -> None:
    prompts = ["O", "Once upon a time there was", "", "Never", "Once upon a tim"]
    sessions = [after(model, prompt) for prompt in prompts]
    samplings = [
        Sampling(temperature=1.0, seed=seed, repetition_penalty=1.1) for seed in (0, 1, 2, 0, 0)
    ]
    settings = {"max_new_tokens": 40, "stop": list("ceo"), "stop_at_eos": True}
    together = write_together(sessions, samplings, **settings)
    reasons: set[object] = set()
    for session, sampling, writer in zip(sessions, samplings, together, strict=True):
        answer = session.generate(sampling=sampling, **settings)
        assert "".join(answer) == writer.text
        assert answer.writer.token_ids == writer.token_ids
        assert answer.writer.finish_reason == writer.finish_reason
        reasons.add(writer.finish_reason)
    assert len(reasons) > 1


def test_a_session_of_other_weights_tokenizer_or_architecture_is_refused(tmp_path: Path) -> None:
    path, model = tmp_path / "a.state", make_model()
    after(model, "Once").save(path)
    with pytest.raises(CheckpointMismatchError, match=r"a\.state was made by other weights"):
        Session.load(path, make_model(seed=1), TOKENIZER)
    with pytest.raises(CheckpointMismatchError, match=r"a\.state was made with another tokenizer"):
        Session.load(path, model, Tokenizer.load("bpe-4096"))
    with pytest.raises(CheckpointMismatchError, match="state of another model"):
        Session.load(path, make_model(layer_type="mlp"), TOKENIZER)


def test_a_state_without_a_session_is_refused(tmp_path: Path) -> None:
    path, model = tmp_path / "a.state", make_model()
    model.initial_state(1).save(path)
    with pytest.raises(CheckpointCorruptError, match="no session"):
        Session.load(path, model, TOKENIZER)


def test_a_session_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path, model = tmp_path / "a.state", make_model()
    model.initial_state(1).save(path, {"session": '{"ttt_version":"9.0.0"}'})
    with pytest.raises(CheckpointCorruptError, match="another version of ttt"):
        Session.load(path, model, TOKENIZER)


def test_a_flipped_bit_or_a_cut_anywhere_is_named(tmp_path: Path) -> None:
    path, model = tmp_path / "a.state", make_model()
    after(model, "Once upon a time there").save(path)
    whole, dice = path.read_bytes(), random.Random(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"a\.state"):
            Session.load(path, model, TOKENIZER)
        path.write_bytes(whole[: dice.randrange(len(whole))])
        with pytest.raises(CheckpointError, match=r"a\.state"):
            Session.load(path, model, TOKENIZER)
    path.write_bytes(whole)
    assert Session.load(path, model, TOKENIZER).position == 22
