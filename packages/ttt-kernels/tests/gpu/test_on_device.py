"""The kernels on an accelerator: `make gpu` runs this, and the default run leaves it out."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import triton
from inner_inputs import InnerInputs, make_inputs
from kernel_results import assert_close, expected_results, results, rms_error
from torch import Tensor

from ttt_kernels import decode_step, read_open_tokens, ttt_linear
from ttt_kernels.gpu.decode import OpenMiniBatch
from ttt_kernels.gpu.launch import Form
from ttt_kernels.gpu.timing import LOADS, time_forms
from ttt_kernels.gpu.trial import Trial
from ttt_kernels.reference import InnerParameters, SGDUpdate

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),  # a test compiles what it runs
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no accelerator"),
]

# every D and every M once or more; the pairs are those a model has, and the corners
SHAPES = [
    *[(16, 1), (24, 5), (32, 16), (48, 33), (64, 16), (96, 8), (128, 16)],
    *[(64, 64), (32, 32), (128, 64), (64, 3)],
]
TOLERANCES = {torch.float32: 1e-5, torch.float16: 3e-3, torch.bfloat16: 1.5e-2}
MULTI = ("naive-multi", "tile-multi")


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """Products of float32 are float32, as in training at the highest precision."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(precision)


def inputs_of(
    dim: int, size: int, dtype: torch.dtype, *, tokens: int | None = None, shared: bool = True
) -> InnerInputs:
    """Whole mini-batches and a remainder."""
    count = 2 * size + (size + 1) // 2 if tokens is None else tokens
    options = {"head_dim": dim, "mini_batch_size": size, "tokens": count, "shared": shared}
    return make_inputs(**options, dtype=torch.float32).with_tokens(dtype)


def on_device(x: InnerInputs, kernel: str, interval: int | None = None) -> dict[str, Tensor]:
    return {name: y.cpu() for name, y in results(x.on("cuda"), kernel, interval).items()}


def tolerance_of(dtype: torch.dtype, name: str) -> float:
    of_gradient = dtype == torch.float32 and name.startswith("gradient")
    return 1e-4 if of_gradient else TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize(("dim", "size"), SHAPES)
@pytest.mark.parametrize("kernel", MULTI)
def test_every_result_is_that_of_the_reference(
    kernel: str, dim: int, size: int, dtype: torch.dtype
) -> None:
    x = inputs_of(dim, size, dtype)
    found = on_device(x, kernel)
    assert_close(found, expected_results(x), lambda name: tolerance_of(dtype, name))


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("kernel", ["naive", *MULTI, "tile"])
def test_slices_of_one_projection_and_a_state_per_sequence(kernel: str, dtype: torch.dtype) -> None:
    x = inputs_of(64, 16, dtype, shared=False)
    q, k, v = torch.stack([x.q, x.k, x.v], 2).unbind(2)
    found = on_device(replace(x, q=q, k=k, v=v), kernel)
    assert_close(found, expected_results(x), lambda name: tolerance_of(dtype, name))


@pytest.mark.parametrize("interval", [1, 2])
@pytest.mark.parametrize("kernel", MULTI)
def test_checkpoints_change_nothing(kernel: str, interval: int) -> None:
    x = inputs_of(32, 16, torch.float32, tokens=70)
    found = on_device(x, kernel, interval)
    assert_close(found, expected_results(x), lambda name: tolerance_of(torch.float32, name))


@pytest.mark.parametrize("kernel", MULTI)
def test_two_runs_are_equal_bit_for_bit(kernel: str) -> None:
    x = inputs_of(64, 16, torch.bfloat16, tokens=300)
    first, second = on_device(x, kernel), on_device(x, kernel)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_auto_takes_the_tile_kernel_and_gradients_pass_through_compile() -> None:
    x = inputs_of(64, 16, torch.bfloat16).on("cuda").require_grad()
    tokens = (x.q, x.k, x.v, x.token_eta, x.lr, x.weights[0], x.biases[0], x.ln_w, x.ln_b)

    def loss(*arguments: Tensor) -> Tensor:
        out, weight, _ = ttt_linear(*arguments, mini_batch_size=16, kernel="tile-multi")
        return out.float().square().mean() + weight.square().mean()

    compiled = torch.compile(loss, fullgraph=True)
    leaves = list(x.named().values())
    expected = torch.autograd.grad(loss(*tokens), leaves)
    found = torch.autograd.grad(compiled(*tokens), leaves)
    for ours, theirs in zip(found, expected, strict=True):
        assert rms_error(ours.cpu(), theirs.cpu()) < 1e-2


@pytest.mark.parametrize("kernel", MULTI)
def test_a_new_length_compiles_nothing(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_device(inputs_of(32, 16, torch.float32, tokens=40), kernel)

    def compiled_anew(**details: object) -> None:
        pytest.fail(f"compiled anew: {details.get('repr')}")

    monkeypatch.setattr(triton.knobs.runtime, "jit_cache_hook", compiled_anew)
    for tokens in (1, 16, 33, 48, 100):
        on_device(inputs_of(32, 16, torch.float32, tokens=tokens), kernel)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_forms_are_timed_under_every_load(direction: str) -> None:
    forms = [Form(1, 2), Form(2, 2)]
    times = time_forms(Trial("tile", 16, 16), direction, forms)
    assert list(times) == forms
    assert all(set(found) == set(LOADS) and min(found.values()) > 0 for found in times.values())


def begin(x: InnerInputs) -> tuple[InnerParameters, OpenMiniBatch]:
    weight, bias = (y.expand(len(x.q), *y.shape) for y in (x.weights[0], x.biases[0]))
    parameters = InnerParameters((weight,), (bias,))
    none = read_open_tokens(x.k[:, :0], x.v[:, :0], parameters, x.ln_w, x.ln_b, eps=1e-6)
    size = x.mini_batch_size
    return parameters, OpenMiniBatch.of(parameters, none, x.lr[:, :0], mini_batch_size=size)


def reference(x: InnerInputs) -> list[Tensor]:
    tokens = (x.q, x.k, x.v, x.token_eta, x.lr, x.weights[0], x.biases[0], x.ln_w, x.ln_b)
    doubled = (y.cpu().double() for y in tokens)
    return list(ttt_linear(*doubled, mini_batch_size=x.mini_batch_size, kernel="reference"))


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize(("dim", "size"), SHAPES)
def test_decoding_is_reading_at_once(dim: int, size: int, dtype: torch.dtype) -> None:
    x = inputs_of(dim, size, dtype).on("cuda")
    expected, weight, _ = reference(x)
    parameters, _ = begin(x)
    learned = read_open_tokens(x.k[:, :0], x.v[:, :0], parameters, x.ln_w, x.ln_b, eps=1e-6)
    outputs = []
    for t in range(x.q.shape[1]):
        one, lr = x.tokens(t, t + 1), x.lr[:, t // size * size : t + 1]
        output, parameters, learned = decode_step(
            *(one.q, one.k, one.v, x.token_eta, lr, parameters, learned, x.ln_w, x.ln_b),
            update=SGDUpdate(),
        )
        outputs.append(output)
    assert rms_error(torch.cat(outputs, 1).cpu(), expected) < TOLERANCES[dtype]
    assert rms_error(parameters.weights[0].cpu(), weight) < 1e-5


def test_a_recorded_step_replays_over_mini_batches() -> None:
    x = inputs_of(64, 16, torch.bfloat16, tokens=40).on("cuda")
    expected, weight, _ = reference(x)
    _, held = begin(x)
    start = [y.clone() for y in vars(held).values()]
    slots = [y[:, :1].clone() for y in (x.q, x.k, x.v, x.lr)]

    def step() -> Tensor:
        q, k, v, lr = slots
        return held.step(q, k, v, x.token_eta, lr, x.ln_w, x.ln_b)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()  # compiled before it is recorded
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = step()
    for name, y in zip(vars(held), start, strict=True):
        getattr(held, name).copy_(y)
    outputs = []
    for t in range(40):
        for slot, tokens in zip(slots, (x.q, x.k, x.v, x.lr), strict=True):
            slot.copy_(tokens[:, t : t + 1])
        graph.replay()
        outputs.append(recorded.clone())
    assert held.position.unique().tolist() == [40 % 16]
    assert rms_error(torch.cat(outputs, 1).cpu(), expected) < TOLERANCES[torch.bfloat16]
    assert rms_error(held.weight.cpu(), weight) < 1e-5
