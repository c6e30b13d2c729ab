"""Wrong arguments are named in one line before any work is done."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from inner_inputs import make_inputs

from ttt_kernels import (
    KernelUnavailableError,
    ShapeError,
    available_kernels,
    choose_kernel,
    dispatch,
    ttt_linear,
    ttt_linear_adam,
)
from ttt_kernels.kernel import InnerLoop
from ttt_kernels.reference.kernel import ReferenceKernel


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("q", lambda t: t[0], r"`q` has shape \(11, 2, 6\), expected \(B, T, H, D\)"),
        ("q", lambda t: t[:, :0], "with T >= 1"),
        ("k", lambda t: t[:, 1:], r"`k` has shape \(2, 10, 2, 6\).*\(2, 11, 2, 6\)"),
        ("v", lambda t: t[..., :5], "`v` has shape"),
        ("lr", lambda t: t.transpose(1, 2), r"`lr` has shape \(2, 2, 11\).*\(B, T, H\)"),
        ("token_eta", lambda t: t[:3], r"`token_eta` has shape \(3,\).*\(4,\)"),
        ("ln_w", lambda t: t[0], "`ln_w` has shape"),
        ("ln_b", lambda t: t.unsqueeze(0), "`ln_b` has shape"),
        ("k", lambda t: t.long(), "`k` has dtype torch.int64"),
        ("v", lambda t: t.to("meta"), "`v` is on meta, expected cpu"),
        ("weights", lambda t: t[:1], "1 weights and 2 biases"),
        ("weights", lambda t: (t[1], t[0]), r"`weights\[0\]` has shape \(2, 18, 6\)"),
        ("biases", lambda t: (t[1], t[1]), r"`biases\[0\]` has shape \(2, 6\)"),
        ("weights", lambda t: (t[0][0], t[1]), r"`weights\[0\]` has shape \(6, 18\)"),
    ],
)
def test_wrong_argument_is_named(name: str, change: Callable[[Any], Any], expected: str) -> None:
    x = make_inputs(layers=2)
    with pytest.raises(ShapeError, match=expected):
        replace(x, **{name: change(getattr(x, name))}).run()


@pytest.mark.parametrize("option", [{"mini_batch_size": 0}, {"checkpoint_interval": 0}])
def test_counts_below_one_are_refused(option: dict[str, int]) -> None:
    with pytest.raises(ShapeError, match="expected at least 1"):
        make_inputs().run(**option)


def test_adam_moments_of_the_wrong_shape_are_named() -> None:
    x = make_inputs()
    good = (torch.zeros(2, 2, 6, 6), torch.zeros(2, 2, 6))
    bad = (torch.zeros(2, 2, 6, 6), torch.zeros(2, 6))
    with pytest.raises(ShapeError, match=r"`v0` has shape \(2, 6\), expected \(2, 2, 6\)"):
        ttt_linear_adam(
            x.q,
            x.k,
            x.v,
            x.token_eta,
            x.lr,
            x.weights[0],
            x.biases[0],
            x.ln_w,
            x.ln_b,
            good,
            bad,
            0,
            beta1=0.9,
            beta2=0.99,
            adam_lr=0.1,
            mini_batch_size=4,
        )


def test_result_shapes_and_dtypes_follow_the_documentation() -> None:
    x = make_inputs(dtype=torch.float32)
    out, weight, bias = ttt_linear(
        x.q.bfloat16(),
        x.k.bfloat16(),
        x.v.bfloat16(),
        x.token_eta,
        x.lr,
        x.weights[0],
        x.biases[0],
        x.ln_w,
        x.ln_b,
        mini_batch_size=4,
    )
    assert (out.shape, out.dtype) == (x.q.shape, torch.bfloat16)
    assert (weight.shape, weight.dtype) == ((2, 2, 6, 6), torch.float32)
    assert (bias.shape, bias.dtype) == ((2, 2, 6), torch.float32)


def test_auto_runs_an_available_kernel_and_unknown_names_are_refused() -> None:
    assert choose_kernel("auto").kernel in available_kernels()
    with pytest.raises(KernelUnavailableError, match="did you mean `tile-multi`"):
        make_inputs().run(kernel="tile-mutli")
    with pytest.raises(KernelUnavailableError, match="`tile` cannot run this: it runs on cuda"):
        make_inputs().run(kernel="tile")


def test_a_preferred_kernel_falls_back_and_says_so() -> None:
    for choice in (
        choose_kernel("auto", preferred="ptr-streaming"),
        choose_kernel("auto:ptr-streaming"),
    ):
        assert choice.kernel in available_kernels()
        assert "`ptr-streaming` is not available here" in choice.reason


class ShortSighted(ReferenceKernel):
    """Refuses more than ten tokens."""

    def refusal(self, loop: InnerLoop) -> str | None:
        return "more than ten tokens" if loop.q.shape[1] > 10 else None


def test_what_a_kernel_refuses_goes_to_the_next_one_unless_it_was_asked_for_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernels = {"cpu": ShortSighted(), "reference": ReferenceKernel()}
    monkeypatch.setattr(dispatch, "INSTALLED", kernels)
    assert choose_kernel("auto").kernel == "cpu"
    make_inputs(tokens=11).run(kernel="auto")
    make_inputs(tokens=10).run(kernel="cpu")
    with pytest.raises(KernelUnavailableError, match="`cpu` cannot run this: more than ten tokens"):
        make_inputs(tokens=11).run(kernel="cpu")
