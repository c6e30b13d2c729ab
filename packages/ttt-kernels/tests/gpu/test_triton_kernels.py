"""The Triton kernels, interpreted: every result by name against the float64 reference."""

from dataclasses import dataclass, replace
from itertools import chain

import pytest
import torch
from inner_inputs import InnerInputs, make_inputs
from kernel_results import assert_close, expected_results, results, rms_error
from torch import Tensor

from ttt_kernels import available_kernels, ttt_linear
from ttt_kernels.capability import Problem
from ttt_kernels.dispatch import choose_kernel
from ttt_kernels.errors import KernelUnavailableError
from ttt_kernels.gpu import linear
from ttt_kernels.verify import hardened, poisoned
from ttt_kernels.verify.launch import Launch, intercepted
from ttt_kernels.verify.targets import find_target

KERNELS = ("naive", "naive-multi", "tile", "tile-multi")


@dataclass(frozen=True)
class Case:
    tokens: int = 21
    mini_batch_size: int = 8
    head_dim: int = 16
    batch: int = 1
    shared: bool = True
    sliced: bool = False
    interval: int | None = None
    gamma_spread: float = 0.3


CASES = {
    "remainder": Case(),
    "padded tiles, strided tokens, a state per sequence": Case(
        tokens=12, mini_batch_size=5, head_dim=24, batch=2, shared=False, sliced=True
    ),
    "checkpoints": Case(tokens=19, mini_batch_size=4, interval=2),
    "gamma near 1": Case(gamma_spread=0.02, tokens=16),
    "open mini-batch alone": Case(tokens=5, mini_batch_size=16),
    "mini-batches of one": Case(tokens=3, mini_batch_size=1),
    "mini-batches of several tiles": Case(tokens=38, mini_batch_size=20),
}


def inputs_of(case: Case, dtype: torch.dtype = torch.float32) -> InnerInputs:
    x = make_inputs(
        tokens=case.tokens,
        mini_batch_size=case.mini_batch_size,
        head_dim=case.head_dim,
        batch=case.batch,
        shared=case.shared,
        dtype=torch.float32,
    )
    x = replace(x, ln_w=1 + (x.ln_w - 1) * (case.gamma_spread / 0.3)).with_tokens(dtype)
    if case.sliced:
        q, k, v = torch.stack([x.q, x.k, x.v], 2).unbind(2)
        x = replace(x, q=q, k=k, v=v)
    return x


def float32_tolerance(name: str) -> float:
    return 1e-4 if name.startswith("gradient") else 1e-5


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("kernel", ["naive-multi", "tile-multi"])
def test_every_result_is_that_of_the_reference(kernel: str, case: Case) -> None:
    x = inputs_of(case)
    with hardened(), poisoned():
        found = results(x, kernel, case.interval)
    assert_close(found, expected_results(x), float32_tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 3e-3), (torch.bfloat16, 6e-3)])
@pytest.mark.parametrize("kernel", ["naive-multi", "tile-multi"])
def test_tokens_of_16_bits_cost_their_rounding_and_no_more(
    kernel: str, dtype: torch.dtype, tolerance: float
) -> None:
    x = inputs_of(Case(tokens=21, mini_batch_size=8, head_dim=32), dtype)
    with hardened(), poisoned():
        found = results(x, kernel)
    assert found["output"].dtype == dtype
    assert_close(found, expected_results(x), lambda _: tolerance)


@pytest.mark.parametrize(("kernel", "interval"), [("tile-multi", None), ("tile", 2)])
def test_steps_much_larger_than_the_first_state_are_undone(
    kernel: str, interval: int | None
) -> None:
    # rounded steps have a mean over the outputs, which is not small against such a state
    x = make_inputs(tokens=16, head_dim=16, batch=1, dtype=torch.float32, seed=1)
    x = replace(x, weights=(0.08 * x.weights[0],), biases=(0 * x.biases[0],))
    x = replace(x, ln_w=torch.ones_like(x.ln_w), ln_b=0 * x.ln_b)
    x = x.with_tokens(torch.bfloat16)
    with hardened(), poisoned():
        found = results(x, kernel, interval)
    assert_close(found, expected_results(x), lambda _: 6e-3)


@pytest.mark.parametrize(("kernel", "other"), [("naive", "naive-multi"), ("tile", "tile-multi")])
def test_a_launch_for_each_mini_batch_is_one_for_all(kernel: str, other: str) -> None:
    x = inputs_of(Case(tokens=10, mini_batch_size=4))
    with hardened(), poisoned():
        found, expected = results(x, kernel), results(x, other)
    assert_close(found, expected, lambda _: 1e-6)


@pytest.mark.parametrize("family", ["naive", "tile"])
@pytest.mark.parametrize(
    ("suffix", "reach", "interval", "lengths"),
    [
        ("-multi", None, None, [[11]]),
        ("-multi", 2, None, [[4, 4, 3]]),
        ("-multi", None, 3, [[6], [5]]),
        ("-multi", 4, 3, [[6], [5]]),
        ("-multi", 2, 3, [[4, 2], [4, 1]]),
        ("", None, None, [[2, 2, 2, 2, 2, 1]]),
        ("", 2, 3, [[2, 2, 2], [2, 2, 1]]),
    ],
)
def test_a_launch_ends_with_its_interval_and_where_32_bit_offsets_do(
    family: str,
    suffix: str,
    reach: int | None,
    interval: int | None,
    lengths: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = make_inputs(tokens=11, mini_batch_size=2, batch=1, dtype=torch.float32)
    if reach is not None:
        monkeypatch.setattr(linear, "LARGEST_OFFSET", reach * 2 * x.q.stride(1))
    launched: dict[str, list[int]] = {"forward": [], "backward": []}

    def record(launch: Launch) -> None:
        launched[launch.name.removeprefix(f"{family}_")].append(launch.arguments["tokens"])

    with intercepted(record, find_target("sm_80")):
        results(x, family + suffix, interval)
    in_order = [*chain.from_iterable(lengths)]
    again = [*chain.from_iterable(lengths[::-1])] if interval else []
    assert launched == {"forward": in_order + again, "backward": in_order[::-1]}


@pytest.mark.parametrize("interval", [None, 3])
@pytest.mark.parametrize("kernel", ["naive-multi", "tile-multi"])
def test_several_launches_compute_what_one_does(
    kernel: str, interval: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = make_inputs(tokens=7, mini_batch_size=2, batch=1, dtype=torch.float32, seed=3)
    monkeypatch.setattr(linear, "LARGEST_OFFSET", 2 * 2 * x.q.stride(1))
    with hardened(), poisoned():
        found = results(x, kernel, interval)
    assert_close(found, expected_results(x), float32_tolerance)


@pytest.mark.parametrize("kernel", ["naive-multi", "tile-multi"])
def test_two_runs_are_equal_bit_for_bit(kernel: str) -> None:
    x = inputs_of(Case(tokens=3, mini_batch_size=2, batch=2))
    with hardened(), poisoned():
        first, second = results(x, kernel), results(x, kernel)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kernel", ["naive-multi", "tile-multi"])
def test_reading_in_parts_is_reading_at_once(kernel: str) -> None:
    x = inputs_of(Case(tokens=15, mini_batch_size=4))
    options = {"mini_batch_size": 4, "kernel": kernel}

    def read(start: int, stop: int, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        part = x.tokens(start, stop)
        tokens = (part.q, part.k, part.v, part.token_eta, part.lr)
        return ttt_linear(*tokens, weight, bias, part.ln_w, part.ln_b, **options)

    with hardened():
        out, weight, bias = read(0, 15, x.weights[0], x.biases[0])
        first, *state = read(0, 8, x.weights[0], x.biases[0])
        second, *state = read(8, 15, *state)
    torch.testing.assert_close(torch.cat([first, second], 1), out, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state, [weight, bias], rtol=1e-5, atol=1e-6)


def test_gradients_of_nothing_but_the_state_are_found() -> None:
    x = inputs_of(Case(tokens=9, mini_batch_size=4)).require_grad()
    expected: list[Tensor] = []
    for kernel in ("reference", "naive-multi", "tile-multi"):
        with hardened(), poisoned():
            _, weight, _ = ttt_linear(
                *(x.q, x.k, x.v, x.token_eta, x.lr, x.weights[0], x.biases[0], x.ln_w, x.ln_b),
                mini_batch_size=4,
                kernel=kernel,
            )
            found = torch.autograd.grad(weight.square().sum(), [x.k, x.v, x.lr, x.weights[0]])
        expected = expected or list(found)
        for ours, theirs in zip(found, expected, strict=True):
            assert rms_error(ours, theirs) < 1e-4


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_tensor_in_main_memory_reaches_a_gpu_kernel(kernel: str) -> None:
    assert kernel in available_kernels()
    x = inputs_of(Case())
    with pytest.raises(
        KernelUnavailableError, match=f"`{kernel}` cannot run this: it runs on cuda"
    ):
        results(x, kernel)


def test_auto_does_not_interpret() -> None:
    with hardened():
        assert choose_kernel(problem=Problem("linear", "cpu")).kernel not in KERNELS
