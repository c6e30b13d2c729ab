"""A token at a time by the Triton kernel, interpreted and compiled, against all tokens at once."""

import pytest
import torch
from inner_inputs import InnerInputs, make_inputs
from kernel_results import rms_error
from torch import Tensor

from ttt_kernels import ShapeError, decode_step, read_open_tokens, ttt_linear
from ttt_kernels.gpu import decode
from ttt_kernels.gpu.decode import OpenMiniBatch
from ttt_kernels.reference import InnerParameters, SGDUpdate
from ttt_kernels.verify import hardened, poisoned, simulated


def read(x: InnerInputs, stop: int | None = None) -> list[Tensor]:
    """Output and final state of the first tokens in float64."""
    x = x.tokens(0, stop or x.q.shape[1])
    tokens = (x.q, x.k, x.v, x.token_eta, x.lr, x.weights[0], x.biases[0], x.ln_w, x.ln_b)
    doubled = (each.double() for each in tokens)
    return list(ttt_linear(*doubled, mini_batch_size=x.mini_batch_size, kernel="reference"))


def begin(x: InnerInputs, read_tokens: int = 0) -> OpenMiniBatch:
    """What a prefill of so many tokens leaves behind."""
    weight, bias = (y.expand(len(x.q), *y.shape) for y in (x.weights[0], x.biases[0]))
    size = x.mini_batch_size
    boundary = read_tokens // size * size
    if boundary:
        _, weight, bias = (y.float() for y in read(x, boundary))
    parameters, cut = InnerParameters((weight,), (bias,)), slice(boundary, read_tokens)
    learned = read_open_tokens(x.k[:, cut], x.v[:, cut], parameters, x.ln_w, x.ln_b, eps=1e-6)
    return OpenMiniBatch.of(parameters, learned, x.lr[:, cut], mini_batch_size=size)


def continued(x: InnerInputs, held: OpenMiniBatch, start: int, stop: int) -> Tensor:
    outputs = [
        held.step(one.q, one.k, one.v, x.token_eta, one.lr, x.ln_w, x.ln_b)
        for one in (x.tokens(t, t + 1) for t in range(start, stop))
    ]
    return torch.cat(outputs, 1)


def assert_decoded(x: InnerInputs, output: Tensor, held: OpenMiniBatch, tolerance: float) -> None:
    """The output of the last tokens, and the state after them, are those of reading at once."""
    expected, weight, bias = read(x)
    assert output.dtype == x.q.dtype
    assert rms_error(output, expected[:, -output.shape[1] :]) < tolerance
    assert rms_error(held.weight, weight) < tolerance
    assert rms_error(held.bias, bias) < tolerance


@pytest.mark.parametrize(
    ("head_dim", "size", "tokens"),
    [(16, 4, 11), (24, 5, 12), (16, 1, 3), (16, 20, 23)],
    ids=["whole", "padded", "mini-batches of one", "more than are read at once"],
)
def test_tokens_one_by_one_are_answered_like_all_at_once(
    head_dim: int, size: int, tokens: int
) -> None:
    x = make_inputs(
        tokens=tokens, mini_batch_size=size, head_dim=head_dim, batch=2, dtype=torch.float32
    )
    with hardened(), poisoned():
        held = begin(x)
        output = continued(x, held, 0, tokens)
    assert held.position.tolist() == [[tokens % size] * 2] * 2
    assert_decoded(x, output, held, 1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 4e-3), (torch.float16, 5e-4)])
def test_tokens_of_16_bits_cost_their_rounding_and_no_more(
    dtype: torch.dtype, tolerance: float
) -> None:
    x = make_inputs(tokens=6, mini_batch_size=4, head_dim=32, batch=1, dtype=torch.float32)
    x = x.with_tokens(dtype)
    with hardened(), poisoned():
        held = begin(x)
        output = continued(x, held, 0, 6)
    assert_decoded(x, output, held, tolerance)
    assert rms_error(held.weight, read(x)[1]) < 1e-5  # no rounding reaches the state


def test_the_largest_head_is_answered() -> None:
    x = make_inputs(
        tokens=3, mini_batch_size=2, head_dim=128, batch=1, heads=1, dtype=torch.float32
    )
    with hardened(), poisoned():
        held = begin(x)
        output = continued(x, held, 0, 3)
    assert_decoded(x, output, held, 1e-5)


@pytest.mark.parametrize("prefix", [3, 6, 8])
def test_decoding_continues_a_prefill_at_any_offset(prefix: int) -> None:
    x = make_inputs(tokens=10, mini_batch_size=4, head_dim=16, batch=1, dtype=torch.float32)
    with hardened(), poisoned():
        held = begin(x, prefix)
        output = continued(x, held, prefix, 10)
    assert_decoded(x, output, held, 1e-5)


def test_a_state_taken_out_and_put_back_continues_bit_for_bit() -> None:
    x = make_inputs(tokens=7, mini_batch_size=4, head_dim=16, batch=1, dtype=torch.float32)
    with hardened(), poisoned():
        held = begin(x)
        continued(x, held, 0, 6)
        parameters, learned, lr = held.values()
        again = OpenMiniBatch.of(parameters, learned, lr, mini_batch_size=4)
        assert lr.shape == (1, 2, 2)
        assert torch.equal(lr, x.lr[:, 4:6])
        assert torch.equal(continued(x, held, 6, 7), continued(x, again, 6, 7))


def test_sequences_at_different_positions_share_a_step() -> None:
    x = make_inputs(tokens=9, mini_batch_size=4, head_dim=16, batch=2, dtype=torch.float32)
    ahead, behind = (
        OpenMiniBatch(*(getattr(begin(x, stop), name)[:1] for name in FIELDS)) for stop in (7, 4)
    )
    both = OpenMiniBatch(
        *(torch.cat([getattr(ahead, name), getattr(behind, name)]) for name in FIELDS)
    )

    def at(t0: int, t1: int) -> list[Tensor]:
        return [torch.cat([y[:1, t0 : t0 + 1], y[:1, t1 : t1 + 1]]) for y in (x.q, x.k, x.v, x.lr)]

    with hardened(), poisoned():
        q, k, v, lr = at(7, 4)
        first = both.step(q, k, v, x.token_eta, lr, x.ln_w, x.ln_b)
        q, k, v, lr = at(8, 5)
        second = both.step(q, k, v, x.token_eta, lr, x.ln_w, x.ln_b)
    expected = read(x)[0]
    assert rms_error(first, expected[:1, [7, 4]].transpose(0, 1)) < 1e-5
    assert rms_error(second, expected[:1, [8, 5]].transpose(0, 1)) < 1e-5
    with pytest.raises(ShapeError, match=r"positions \[1, 2\], expected one"):
        both.values()


FIELDS = ("weight", "bias", "learned", "rates", "position")


@pytest.mark.parametrize("strided", [False, True])
def test_decode_step_takes_the_kernel_and_changes_no_argument(strided: bool) -> None:
    x = make_inputs(tokens=6, mini_batch_size=3, head_dim=16, batch=2, dtype=torch.float32)
    expected, weight, bias = read(x)
    parameters = InnerParameters(
        (x.weights[0].expand(2, -1, -1, -1),), (x.biases[0].expand(2, -1, -1),)
    )
    learned = read_open_tokens(x.k[:, :0], x.v[:, :0], parameters, x.ln_w, x.ln_b, eps=1e-6)
    outputs = []
    with hardened(), poisoned():
        for t in range(6):
            one = x.tokens(t, t + 1)
            q, k, v = one.q, one.k, one.v
            if strided:
                q, k, v = torch.stack([q, k, v], -1).unbind(-1)
            given = [*parameters.weights, *parameters.biases, learned.rows]
            before = [y.clone() for y in (*given, *x.named().values())]
            output, parameters, learned = decode_step(
                *(q, k, v, x.token_eta, x.lr[:, t // 3 * 3 : t + 1], parameters, learned),
                *(x.ln_w, x.ln_b),
                update=SGDUpdate(),
            )
            outputs.append(output)
            assert learned.rows.shape == (2, 2, (t + 1) % 3, 2 * 16)
            after = (*given, *x.named().values())
            assert all(map(torch.equal, before, after))
    assert rms_error(torch.cat(outputs, 1), expected) < 1e-5
    assert rms_error(parameters.weights[0], weight) < 1e-5
    assert rms_error(parameters.biases[0], bias) < 1e-5


def test_decode_step_in_main_memory_leaves_the_kernel_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = make_inputs(tokens=1, mini_batch_size=3, head_dim=16, batch=1, dtype=torch.float32)
    parameters = InnerParameters((x.weights[0][None],), (x.biases[0][None],))
    none = read_open_tokens(x.k[:, :0], x.v[:, :0], parameters, x.ln_w, x.ln_b, eps=1e-6)
    monkeypatch.setattr(decode, "answer", lambda *_: pytest.fail("the kernel was taken"))
    decode_step(
        *(x.q, x.k, x.v, x.token_eta, x.lr, parameters, none, x.ln_w, x.ln_b), update=SGDUpdate()
    )


@pytest.mark.parametrize(
    ("head_dim", "dtype", "tolerance"),
    [(64, torch.bfloat16, 4e-3), (24, torch.float32, 1e-5), (128, torch.float16, 5e-4)],
)
def test_compiled_code_decodes(head_dim: int, dtype: torch.dtype, tolerance: float) -> None:
    x = make_inputs(
        tokens=3, mini_batch_size=2, head_dim=head_dim, batch=1, heads=1, dtype=torch.float32
    ).with_tokens(dtype)
    with poisoned(), simulated() as runs:
        held = begin(x)
        output = continued(x, held, 0, 3)
    assert len(runs) == 3
    assert_decoded(x, output, held, tolerance)
    written = [run.global_bytes_stored for run in runs]
    state = 4 * head_dim * (head_dim + 1)
    assert written[0] < state <= written[1]  # W is written where the mini-batch ends, only there


def test_what_does_not_fit_the_state_is_named() -> None:
    x = make_inputs(tokens=5, mini_batch_size=4, head_dim=16, batch=1, dtype=torch.float32)
    held = begin(x)
    one = x.tokens(0, 1)
    with pytest.raises(
        ShapeError, match=r"`k` has shape \(1, 5, 2, 16\), expected \(1, 1, 2, 16\)"
    ):
        held.step(one.q, x.k, one.v, x.token_eta, one.lr, x.ln_w, x.ln_b)
    parameters, learned, _ = held.values()
    with pytest.raises(ShapeError, match=r"`learned` is of 0 open tokens and `lr` has shape"):
        OpenMiniBatch.of(parameters, learned, x.lr, mini_batch_size=4)
