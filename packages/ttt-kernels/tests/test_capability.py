"""Which kernel is chosen for what and why, and the check that finds a kernel that is wrong."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ttt_kernels import KernelUnavailableError, Problem, choose_kernel, dispatch, self_check
from ttt_kernels.capability import CAPABILITIES, KINDS, Capability, kind_of
from ttt_kernels.kernel import ArgumentGradients, ForwardResult, InnerLoop, Upstream
from ttt_kernels.reference.kernel import ReferenceKernel


@pytest.fixture
def gpu_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that `tile-multi` is installed, for TTT-Linear in float32 on a GPU."""
    kernels = {"tile-multi": ReferenceKernel(), "reference": ReferenceKernel()}
    monkeypatch.setattr(dispatch, "INSTALLED", kernels)


def test_kinds_are_named_by_their_hidden_layers() -> None:
    named = [kind_of(1, adam=True), *(kind_of(n, adam=False) for n in range(1, 6))]
    assert sorted(named) == sorted(KINDS)


@pytest.mark.usefixtures("gpu_kernel")
def test_auto_takes_the_fastest_kernel_that_can_and_names_the_reason() -> None:
    fast = choose_kernel("auto", problem=Problem("linear", "cuda"))
    assert fast == ("tile-multi", "the fastest for linear here")
    assert choose_kernel("auto", problem=Problem("linear")).kernel == "tile-multi"
    for problem in (
        Problem("mlp", "cuda"),
        Problem("linear", "cpu"),
        Problem("linear", "cuda", torch.float64),
    ):
        assert choose_kernel("auto", problem=problem).kernel == "reference"


@pytest.mark.usefixtures("gpu_kernel")
@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (Problem("mlp2", "cuda"), "it computes linear, not mlp2"),
        (Problem("linear", "cpu"), "it runs on cuda, not cpu"),
        (Problem("linear", "cuda", torch.float64), "its state is float32"),
    ],
)
def test_a_kernel_that_cannot_says_why_and_a_preferred_one_falls_back(
    problem: Problem, reason: str
) -> None:
    with pytest.raises(KernelUnavailableError, match=reason):
        choose_kernel("tile-multi", problem=problem)
    choice = choose_kernel("auto", preferred="tile-multi", problem=problem)
    assert choice.kernel == "reference"
    assert choice.reason == (
        f"`tile-multi` cannot run this: {reason}; the fastest for {problem.kind} here"
    )


def test_a_kernel_whose_module_is_missing_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "INSTALLED", {"reference": ReferenceKernel()})
    row = replace(CAPABILITIES["cpu"], needs="no_such_module")
    monkeypatch.setitem(CAPABILITIES, "cpu", row)
    with pytest.raises(KernelUnavailableError, match="no_such_module is not installed"):
        choose_kernel("cpu")
    assert Capability().missing() == "not in this version"


def test_every_installed_kernel_has_a_row_and_the_last_refuses_nothing() -> None:
    assert set(dispatch.INSTALLED) <= set(CAPABILITIES)
    last = CAPABILITIES[[*dispatch.INSTALLED][-1]]
    assert (last.kinds, last.devices) == (None, None)


def test_the_reference_passes_its_own_check() -> None:
    found = self_check.check_kernels(["reference"])
    self_check.require_passed(found)
    assert {each.kind for each in found} == set(self_check.LAYERS)


def test_a_kernel_without_a_device_is_not_said_to_be_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "tile" not in self_check.checkable_kernels()
    with pytest.raises(KernelUnavailableError, match="`tile` cannot be checked here: it runs on"):
        self_check.check_kernels(["tile"])


class WrongState(ReferenceKernel):
    """Writes a NaN into the final bias."""

    def forward(self, loop: InnerLoop, *, save: bool) -> ForwardResult:
        found = super().forward(loop, save=save)
        found.parameters.biases[0][0, 0, 0] = torch.nan
        return found


class Truncated(ReferenceKernel):
    """Forgets what arrives at the final state, as if each sequence ended in nothing."""

    def backward(
        self, loop: InnerLoop, saved: Sequence[Tensor], upstream: Upstream
    ) -> ArgumentGradients:
        nothing = [None] * len(upstream.weights)
        return super().backward(loop, saved, Upstream(upstream.output, nothing, nothing))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (WrongState(), "`final biases.0.` is off by inf"),
        (Truncated(), "`gradient of .*and .. more"),
    ],
)
def test_a_wrong_kernel_is_found(
    monkeypatch: pytest.MonkeyPatch, kernel: ReferenceKernel, message: str
) -> None:
    monkeypatch.setattr(dispatch, "INSTALLED", {"cpu": kernel, "reference": ReferenceKernel()})
    monkeypatch.setattr(self_check, "LAYERS", {"linear": 1})
    found = self_check.check_kernels()
    assert all(each.passed for each in found if each.kernel == "reference")
    with pytest.raises(self_check.KernelCheckError, match=f"kernel `cpu`, linear, .*{message}"):
        self_check.require_passed(found)
