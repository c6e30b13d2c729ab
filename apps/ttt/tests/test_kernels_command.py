import json
import re
from collections.abc import Callable, Sequence

import pytest
from torch import Tensor

from ttt_kernels import KERNELS, available_kernels, dispatch
from ttt_kernels.kernel import ArgumentGradients, InnerLoop, Upstream
from ttt_kernels.reference.kernel import ReferenceKernel


class Careless(ReferenceKernel):
    """Forgets part of one gradient."""

    def backward(
        self, loop: InnerLoop, saved: Sequence[Tensor], upstream: Upstream
    ) -> ArgumentGradients:
        found = super().backward(loop, saved, upstream)
        return found._replace(ln_w=0.97 * found.ln_w)


def test_list_has_every_kernel_and_says_why_one_is_missing(ttt: Callable) -> None:
    code, shown, err = ttt("kernels", "list")
    assert (code, err) == (0, "")
    _, *lines = shown.splitlines()
    rows = {line.split()[0]: re.split(r" {2,}", line)[1:] for line in lines}
    assert set(rows) == set(KERNELS)
    assert rows["reference"][:4] == ["yes", "any", "any", "float32, float64"]
    assert rows["tile-multi"][:4] == ["no: not in this version", "linear", "cuda", "float32"]
    facts = {each["name"]: each for each in json.loads(ttt("kernels", "list", "--json").out)}
    assert tuple(n for n, each in facts.items() if each["available"]) == available_kernels()
    assert all((each["reason"] is None) == each["available"] for each in facts.values())
    assert facts["reference"]["dtypes"] == ["float32", "float64"]


def test_check_passes_on_this_machine(ttt: Callable) -> None:
    code, shown, _ = ttt("kernels", "check", "--kernel", "reference")
    assert code == 0
    first, *rows = shown.split("\n\n")[0].splitlines()
    assert first.split() == [
        *("reference,", "float32"),
        *("linear", "linear-adam", "mlp", "mlp2", "tolerance"),
    ]
    names = [row.split("  ")[0] for row in rows]
    assert names[0] == "output"
    assert {"final weights[0]", "gradient of token_eta", "gradient of ln_w"} <= set(names)
    found = json.loads(ttt("kernels", "check", "--kernel", "reference", "--json").out)
    assert {each["dtype"] for each in found} == {"float32", "float64"}
    assert all(each["passed"] and each["error"] <= each["tolerance"] for each in found)


def test_a_wrong_kernel_is_caught_and_named(ttt: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "INSTALLED", {"cpu": Careless(), "reference": ReferenceKernel()})
    code, shown, err = ttt("kernels", "check", "--kernel", "cpu", "--quiet")
    assert (code, shown) == (6, "")
    assert err.startswith("error: kernel `cpu`, ")
    assert "`gradient of ln_w` is off by 3.0e-02 in the case `" in err
    assert err.count("\n") == 1
    result = ttt("kernels", "check", "--kernel", "cpu", "--json")
    wrong = {each["tensor"] for each in json.loads(result.out) if not each["passed"]}
    assert wrong == {"gradient of ln_w"}
    assert json.loads(result.err)["error"]["exit_code"] == 6


def test_a_kernel_that_is_not_available_cannot_be_checked(ttt: Callable) -> None:
    code, shown, err = ttt("kernels", "check", "--kernel", "tile")
    assert (code, shown) == (6, "")
    assert err.startswith("error: kernel `tile` is not available here: ")
