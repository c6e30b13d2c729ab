import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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
    assert rows["d2d-streaming"][:4] == ["no: not in this version", "linear", "cuda", "float32"]
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
    code, shown, err = ttt("kernels", "check", "--kernel", "d2d-streaming")
    assert (code, shown) == (6, "")
    assert err.startswith("error: kernel `d2d-streaming` is not available here: ")


def test_report_has_a_row_for_each_direction_and_target(ttt: Callable) -> None:
    asked = ("kernels", "report", "--target", "sm_80", "--kernel", "tile", "--dim", "16")
    rows = json.loads(ttt(*asked, "--json").out)
    assert [(row["kernel"], row["direction"], row["target"]) for row in rows] == [
        ("tile", "forward", "sm_80"),
        ("tile", "backward", "sm_80"),
    ]
    needed = {"dtype", "spill_bytes", "registers", "shared_bytes", "instructions", "mma"}
    assert all(needed <= row.keys() for row in rows)
    code, shown, _ = ttt(*asked)
    assert code == 0
    heading, *lines = shown.splitlines()
    assert heading.split()[:3] == ["kernel", "direction", "target"]
    assert len(lines) == 2
    assert str(rows[0]["registers"]) in lines[0].split()


def test_report_of_an_unknown_target_is_one_line(ttt: Callable) -> None:
    code, shown, err = ttt("kernels", "report", "--target", "sm_1")
    assert (code, shown) == (6, "")
    assert err.startswith("error: unknown target `sm_1`: expected one of sm_75, ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("write", [False, True])
def test_tune_shows_what_it_found_and_writes_if_asked(
    ttt: Callable, monkeypatch: pytest.MonkeyPatch, write: bool
) -> None:
    from ttt_kernels.gpu import tune
    from ttt_kernels.gpu.launch import Form, Forms
    from ttt_kernels.gpu.trial import Trial

    few, many = Form(4, 2), Form(2, 2)
    rows: dict[Form, dict[str, Any]] = {
        form: {"stack_bytes": 0, "loop_instructions": loop, "num_warps": form.num_warps}
        for form, loop in ((few, 800), (many, 1300))
    }

    rows[few]["ms"] = {"latency": 1.25, "throughput": 5.0}

    def find(trial: Trial, target: str, _: object) -> list[tune.Choice]:
        forms = Forms(few, many)
        return [tune.Choice(trial, target, "tile_forward", forms, rows, "simulated", 4e-3)]

    written: list[tune.Choice] = []
    monkeypatch.setattr(tune, "tune", find)
    monkeypatch.setattr(tune, "write", written.extend)
    asked = ["kernels", "tune", "--target", "sm_80", "--kernel", "tile", *["--write"] * write]
    code, shown, _ = ttt(*asked)
    assert code == 0
    first = " ".join(shown.splitlines()[1].split())
    assert first == "tile_forward sm_80 64 16 4 2 0 800 1.25 / 5 latency, simulated: 4.0e-03"
    assert shown.splitlines()[2].split()[-5:-3] == ["1300", "-"]
    assert len(written) == write
    (found,) = json.loads(ttt(*asked, "--json").out)
    assert found["throughput"] == {"num_warps": 2, "num_stages": 2}
    assert (found["proven"], len(found["candidates"])) == ("simulated", 2)


def test_cache_says_where_compiled_kernels_are_and_clears_them(
    ttt: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:

    monkeypatch.setenv("TTT_KERNELS_CACHE", str(tmp_path / "cpu"))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    entry = tmp_path / "cpu" / ("0" * 32)
    entry.mkdir(parents=True)
    (entry / "code").write_bytes(bytes(1000))
    facts = {each["name"]: each for each in json.loads(ttt("kernels", "cache", "--json").out)}
    assert set(facts) == {"cpu", "triton", "triton offline"}
    assert (facts["cpu"]["entries"], facts["cpu"]["bytes"]) == (1, 1000)
    assert facts["triton offline"]["directory"] == str(tmp_path / "triton" / "offline")
    code, shown, err = ttt("kernels", "cache", "--clear")
    assert (code, err) == (0, "")
    assert f"cpu: 0.0 MB removed from {tmp_path / 'cpu'} (TTT_KERNELS_CACHE)" in shown
    assert not entry.exists()
    assert ttt("kernels", "cache", "--quiet").out == ""
