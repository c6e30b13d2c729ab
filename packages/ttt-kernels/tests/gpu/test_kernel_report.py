"""What the kernels are made of, and that none has become heavier than its budget."""

from pathlib import Path

import pytest
import torch

from ttt_kernels import KernelUnavailableError, kernel_report
from ttt_kernels.gpu import budgets, report
from ttt_kernels.gpu.budgets import Budget, read_budgets
from ttt_kernels.gpu.launch import Form, Forms, read_table
from ttt_kernels.gpu.trial import Trial
from ttt_kernels.verify import CompileError
from ttt_kernels.verify.launch import Launch

WATCHED = [b for b in read_budgets() if (b.kernel[:4], b.dim, b.form) == ("tile", 64, "latency")]


def test_a_row_says_what_one_kernel_is_and_what_it_executes() -> None:
    forward, backward = kernel_report(["sm_80"], ["tile-multi"], head_dims=[16], executed=True)
    for row in (forward, backward):
        assert (row["kernel"], row["target"], row["dtype"]) == ("tile", "sm_80", "bfloat16")
        assert row["spill_bytes"] == row["stack_bytes"] == 0
        assert 0 < row["registers"] <= 255
        assert row["shared_bytes"] > 0
        assert 0 < row["loop_instructions"] < row["instructions"]
        assert 0 < row["loop_mma"] <= row["mma"]
        assert 0 < row["occupancy"] <= 1
        # whole tiles: what the IR says is the least, and is what the simulator sees
        assert row["flops_per_token"] == row["floor_flops_per_token"]
        assert row["bytes_per_token"] == row["floor_bytes_per_token"]
        ran = row["executed"]
        assert ran["mma"] == row["loop_mma"] * row["num_warps"]
        assert ran["warp_instructions"] > row["loop_instructions"] / 2
    assert (forward["direction"], backward["direction"]) == ("forward", "backward")
    assert forward["floor_flops_per_token"] == 2 * (3 * 16**2 + 2 * 16 * 16)
    assert forward["floor_bytes_per_token"] == 5 * 16 * 2 + 4
    ran = forward["executed"]
    assert ran["bytes_stored"] == 16 * 2 * 16 * 2
    assert ran["bytes_loaded"] >= 16 * (3 * 16 * 2 + 4)


def test_padding_counts_as_work() -> None:
    forward, _ = kernel_report(["sm_80"], ["tile"], head_dims=[12], mini_batch_sizes=[16])
    assert forward["bytes_per_token"] == 5 * 16 * 2 + 4 > forward["floor_bytes_per_token"]


def test_kernels_without_matrix_instructions_compile_as_they_are_launched() -> None:
    for row in kernel_report(["gfx1100"], ["naive"], head_dims=[16]):
        assert row["mma"] == 0
        assert row["registers"] > 0
        assert row["bytes_per_token"] > 0
        assert row["flops_per_token"] is None


def test_a_kernel_that_the_compiler_refuses_is_a_row_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: Launch, target: str) -> None:
        raise CompileError(f"cannot compile for {target}: no")

    monkeypatch.setattr("ttt_kernels.verify.offline.compiler.compile_launch", refuse)
    rows = kernel_report(["sm_80"], ["tile"], head_dims=[16], executed=True)
    assert [row["error"] for row in rows] == ["cannot compile for sm_80: no"] * 2


@pytest.mark.parametrize(
    ("targets", "kernels", "message"),
    [
        (["sm_81"], ["tile"], r"unknown target `sm_81`: expected one of sm_75, sm_80"),
        (["sm_80"], ["cpu"], r"unknown Triton kernel `cpu`: expected one of tile, naive"),
    ],
)
def test_what_cannot_be_compiled_is_named(
    targets: list[str], kernels: list[str], message: str
) -> None:
    with pytest.raises(KernelUnavailableError, match=message):
        kernel_report(targets, kernels)


def test_a_head_too_wide_is_named() -> None:
    with pytest.raises(KernelUnavailableError, match="a head of 256 features; at most 128"):
        kernel_report(["sm_80"], ["tile"], head_dims=[256])


@pytest.mark.parametrize("budget", [b for b in WATCHED if b.target in ("sm_80", "gfx942")], ids=str)
def test_no_kernel_exceeds_its_budget(budget: Budget) -> None:
    assert budget.excess(budget.compile()) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("budget", read_budgets(), ids=str)
def test_no_form_of_any_kernel_exceeds_its_budget(budget: Budget) -> None:
    assert budget.excess(budget.compile()) == []


def test_every_row_of_the_launch_table_has_a_budget() -> None:
    limited = {(b.target, b.kernel, b.dim, b.mini_batch, b.bits, b.form) for b in read_budgets()}
    for target, shape in read_table():
        assert {(target, *shape, form) for form in report.FORMS} <= limited


def test_a_kernel_that_spills_exceeds_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    (budget,) = (b for b in WATCHED if (b.target, b.kernel) == ("sm_80", "tile_forward"))
    one_warp = Form(1, 2)
    monkeypatch.setattr("ttt_kernels.gpu.launch.find_forms", lambda *_: Forms(one_warp, one_warp))
    stack, loop = budget.excess(budget.compile())
    assert "tile_forward for sm_80, D = 64, M = 16, latency: " in stack
    assert stack.endswith(" stack_bytes, the budget is 0")
    assert loop.endswith(f" loop_instructions, the budget is {budget.loop_instructions}")


def test_a_kernel_that_does_not_compile_any_more_exceeds_its_budget() -> None:
    (line,) = WATCHED[0].excess({"error": "cannot compile"})
    assert line.endswith(": cannot compile")


def test_new_budgets_replace_those_of_the_same_form(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text("# kept\nrows = [\n]\n")
    monkeypatch.setattr(budgets, "BUDGETS", path)
    form = Form(4, 2)
    costs = {form: {"stack_bytes": 8, "shared_bytes": 64, "loop_instructions": 100}}
    point = (Trial("tile", 64, 16, torch.float32), "sm_80", "tile_forward", Forms(form, form))
    budgets.write_budgets(budgets.budgets_of(*point, costs))
    costs[form]["loop_instructions"] = 200
    budgets.write_budgets(budgets.budgets_of(*point, costs))
    assert path.read_text().startswith("# kept\n")
    first, second = read_budgets()
    assert first == Budget("sm_80", "tile_forward", 64, 16, 32, "latency", 8, 64, 210)
    assert second == first._replace(form="throughput")
