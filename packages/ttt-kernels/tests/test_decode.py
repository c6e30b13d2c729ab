"""Decoding token by token, held against reading all tokens at once."""

from dataclasses import replace

import pytest
import torch
from inner_inputs import InnerInputs, make_inputs
from torch import Tensor

from ttt_kernels import Learned, ShapeError, decode_step, read_open_tokens
from ttt_kernels.dispatch import INSTALLED
from ttt_kernels.reference import InnerParameters, SGDUpdate


def per_sequence(x: InnerInputs) -> InnerParameters:
    batch = len(x.q)
    return InnerParameters(
        tuple(w.expand(batch, *w.shape) for w in x.weights),
        tuple(b.expand(batch, *b.shape) for b in x.biases),
    )


def begin(x: InnerInputs, stop: int = 0) -> tuple[InnerParameters, Learned]:
    parameters = per_sequence(x)
    norm = (x.ln_w, x.ln_b)
    return parameters, read_open_tokens(x.k[:, :stop], x.v[:, :stop], parameters, *norm, eps=1e-6)


def step(
    x: InnerInputs, t: int, parameters: InnerParameters, learned: Learned
) -> tuple[Tensor, InnerParameters, Learned]:
    one, start = x.tokens(t, t + 1), t // x.mini_batch_size * x.mini_batch_size
    return decode_step(
        *(one.q, one.k, one.v, x.token_eta, x.lr[:, start : t + 1], parameters, learned),
        *(x.ln_w, x.ln_b),
        update=SGDUpdate(),
    )


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("mini_batch_size", [1, 4, 16])
def test_tokens_one_by_one_are_answered_like_all_at_once(layers: int, mini_batch_size: int) -> None:
    x = make_inputs(layers=layers, mini_batch_size=mini_batch_size, tokens=19)
    expected, *state = x.run()
    parameters, learned = begin(x)
    outputs = []
    for t in range(19):
        output, parameters, learned = step(x, t, parameters, learned)
        outputs.append(output)
        assert learned.count == (t + 1) % mini_batch_size
    torch.testing.assert_close(torch.cat(outputs, 1), expected, rtol=0, atol=1e-10)
    ours = [*parameters.weights, *parameters.biases]
    torch.testing.assert_close(ours, list(state), rtol=0, atol=1e-10)


@pytest.mark.parametrize("layers", [1, 2])
def test_decoding_begins_in_the_middle_of_a_mini_batch(layers: int) -> None:
    x = make_inputs(layers=layers, mini_batch_size=8, tokens=6)
    output, *_ = step(x, 5, *begin(x, 5))
    torch.testing.assert_close(output, x.run()[0][:, 5:], rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tokens_of_any_dtype_meet_a_float32_state(dtype: torch.dtype) -> None:
    x = make_inputs(layers=2, mini_batch_size=4, tokens=4, dtype=torch.float32)
    x = replace(x, **{name: getattr(x, name).to(dtype) for name in "qkv"})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, end, _ = step(x, 3, *begin(x, 3))
    expected, *state = x.run()
    assert output.dtype == dtype
    tolerance = max(1e-4, 2 * torch.finfo(dtype).eps)
    torch.testing.assert_close(output, expected[:, 3:], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close([*end.weights, *end.biases], list(state), rtol=1e-4, atol=1e-4)


def test_no_argument_is_changed() -> None:
    x = make_inputs(layers=2, mini_batch_size=3, tokens=3)
    parameters, learned = begin(x, 2)
    tensors = [*parameters.weights, *parameters.biases, learned.rows]
    before = [tensor.clone() for tensor in (*tensors, *x.named().values())]
    step(x, 2, parameters, learned)
    for old, new in zip(before, (*tensors, *x.named().values()), strict=True):
        assert torch.equal(old, new)


def test_arguments_that_do_not_belong_together_are_named() -> None:
    x = make_inputs(mini_batch_size=4, tokens=3)
    parameters, learned = begin(x, 1)
    with pytest.raises(ShapeError, match=r"`lr` has shape \(2, 3, 2\) and `learned` is of 1 open"):
        step(x, 2, parameters, learned)
    with pytest.raises(ShapeError, match=r"expected \(B, 1, H, D\)"):
        decode_step(
            *(x.q, x.k, x.v, x.token_eta, x.lr[:, :2], parameters, learned, x.ln_w, x.ln_b),
            update=SGDUpdate(),
        )


@pytest.mark.parametrize("layers", [1, 2])
def test_two_texts_that_go_on_from_one_state_do_not_see_each_other(layers: int) -> None:
    x = make_inputs(layers=layers, mini_batch_size=6, tokens=6)
    other = replace(x, k=x.k.flip(1), v=x.v.flip(1))
    parameters, learned = begin(x, 1)
    _, _, shared = step(x, 1, parameters, learned)
    ahead = behind = shared
    outputs: list[tuple[Tensor, Tensor]] = []
    for t in range(2, 6):  # turn by turn
        one, _, ahead = step(x, t, parameters, ahead)
        two, _, behind = step(other, t, parameters, behind)
        outputs.append((one, two))
    mixed = replace(
        x,
        k=torch.cat([x.k[:, :2], other.k[:, 2:]], 1),
        v=torch.cat([x.v[:, :2], other.v[:, 2:]], 1),
    )
    for (one, two), (expected, other_expected) in zip(
        outputs,
        zip(x.run()[0][:, 2:].split(1, 1), mixed.run()[0][:, 2:].split(1, 1), strict=True),
        strict=True,
    ):
        torch.testing.assert_close(one, expected, rtol=0, atol=1e-10)
        torch.testing.assert_close(two, other_expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mini_batch_size", [4, 5])
def test_sequences_that_are_selected_go_on_alone(mini_batch_size: int) -> None:
    x = make_inputs(layers=2, mini_batch_size=mini_batch_size, tokens=5)
    parameters, learned = begin(x, 2)
    _, _, learned = step(x, 2, parameters, learned)
    whole, *_ = step(x, 3, parameters, learned)
    second = torch.tensor([1])
    rows = replace(x, q=x.q[1:], k=x.k[1:], v=x.v[1:], lr=x.lr[1:])
    weights, biases = (tuple(y[1:] for y in half) for half in parameters[:2])
    alone, *_ = step(rows, 3, InnerParameters(weights, biases), learned.select(second))
    torch.testing.assert_close(alone, whole[1:], rtol=0, atol=0)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("size", [1, 3])
def test_without_compiled_code_torch_answers_the_same(
    layers: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = make_inputs(layers=layers, mini_batch_size=size, tokens=4)
    expected = x.run()[0]
    others = {name: kernel for name, kernel in INSTALLED.items() if name != "cpu"}
    monkeypatch.setattr("ttt_kernels.decode.INSTALLED", others)
    parameters, learned = begin(x)
    for t in range(4):
        output, parameters, learned = step(x, t, parameters, learned)
        torch.testing.assert_close(output, expected[:, t : t + 1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("stop", [2, 3])
def test_a_token_compiles_to_one_graph(layers: int, stop: int) -> None:
    x = make_inputs(layers=layers, mini_batch_size=4, tokens=4)
    parameters, learned = begin(x, stop)

    def read(x: InnerInputs) -> tuple[Tensor, tuple[Tensor, ...]]:
        output, end, _ = step(x, stop, parameters, learned)
        return output, (*end.weights, *end.biases)

    torch._dynamo.reset()
    compiled = torch.compile(read, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), read(x), rtol=0, atol=1e-10)


def test_parameters_that_sequences_share_are_refused_by_shape() -> None:
    x = make_inputs(mini_batch_size=4, tokens=2)
    _, learned = begin(x, 1)
    shared = InnerParameters(x.weights, x.biases)
    with pytest.raises(ShapeError, match=r"weights have shapes .*, expected \(B, H, in, out\)"):
        step(x, 1, shared, learned)


@pytest.mark.parametrize("name", ["ln_w", "ln_b"])
def test_a_layer_norm_of_another_width_is_refused(name: str) -> None:
    x = make_inputs(mini_batch_size=4, tokens=2)
    with pytest.raises(ShapeError, match=f"`{name}` has shape"):
        step(replace(x, **{name: getattr(x, name)[:, 1:]}), 1, *begin(x, 1))


def test_what_was_learned_of_another_model_is_refused() -> None:
    x, other = (make_inputs(layers=n, mini_batch_size=4, tokens=2) for n in (1, 2))
    with pytest.raises(ShapeError, match="which is not of these parameters"):
        step(x, 1, begin(x, 1)[0], begin(other, 1)[1])


def test_a_state_that_compiled_code_does_not_know_is_read_by_torch() -> None:
    x = make_inputs(layers=2, mini_batch_size=4, tokens=2, dtype=torch.float32)
    expected = x.run()[0]
    weights, biases = (tuple(y.bfloat16() for y in half) for half in per_sequence(x)[:2])
    parameters = InnerParameters(weights, biases)
    norm = (x.ln_w, x.ln_b)
    learned = read_open_tokens(x.k[:, :1], x.v[:, :1], parameters, *norm, eps=1e-6)
    output, *_ = step(x, 1, parameters, learned)
    torch.testing.assert_close(output, expected[:, 1:], rtol=0, atol=0.05)
