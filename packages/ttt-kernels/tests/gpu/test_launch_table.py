"""How kernels are launched: the table, what is done where it has no row, and how it is made."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ttt_kernels.gpu import launch, tune
from ttt_kernels.gpu.launch import Form, Forms, Shape, find_forms, launch_options, read_table
from ttt_kernels.gpu.trial import TOLERANCES, Trial
from ttt_kernels.verify import TARGETS, simulated
from ttt_kernels.verify.launch import Launch, intercepted
from ttt_kernels.verify.targets import find_target

FORWARD = Shape("tile_forward", 64, 16, 16)


def test_rows_are_for_targets_and_tiles_that_exist() -> None:
    for (target, shape), forms in read_table().items():
        assert target in TARGETS
        assert shape.kernel.split("_")[0] in ("tile", "naive")
        assert shape.dim in (16, 32, 64, 128)
        assert shape.mini_batch in (16, 32, 64)
        assert shape.bits in (16, 32)
        assert all(form.num_warps in tune.WARPS for form in forms)
        assert all(form.num_stages in tune.STAGES for form in forms)


def test_a_forward_for_few_programs_has_more_warps_than_one_for_many() -> None:
    forms = read_table()["sm_80", FORWARD]
    assert forms.latency.num_warps == 4
    assert forms.throughput.num_warps in (1, 2)


@pytest.mark.parametrize(
    ("target", "row"),
    [
        ("sm_86", "sm_80"),
        ("sm_89", "sm_80"),
        ("sm_100", "sm_90"),
        ("gfx950", "gfx942"),
        ("sm_75", None),
        (None, None),
    ],
)
def test_a_target_without_a_row_is_launched_as_the_newest_older_one_of_its_kind(
    target: str | None, row: str | None
) -> None:
    expected = launch.by_rule(FORWARD) if row is None else read_table()[row, FORWARD]
    assert find_forms(FORWARD, target) == expected


def test_generations_of_a_kind_are_in_order() -> None:
    names = sorted(TARGETS, key=launch.generation)
    assert [n for n in names if launch.generation(n)[0] == "cdna"] == ["gfx90a", "gfx942", "gfx950"]
    assert [n for n in names if launch.generation(n)[0] == "rdna"] == [
        *("gfx1030", "gfx1100", "gfx1201")
    ]


@pytest.mark.parametrize(
    ("kernel", "dim", "bits", "warps"),
    [
        ("tile_forward", 16, 16, 1),
        ("tile_forward", 64, 16, 4),
        ("tile_forward", 64, 32, 8),
        ("naive_forward", 64, 32, 4),
        ("tile_backward", 128, 32, 8),
    ],
)
def test_a_shape_without_a_row_has_a_warp_for_16_features(
    kernel: str, dim: int, bits: int, warps: int
) -> None:
    assert launch.by_rule(Shape(kernel, dim, 16, bits)).latency.num_warps == warps


@pytest.mark.parametrize(("programs", "form"), [(31, "latency"), (32, "throughput")])
def test_a_launch_that_fills_the_device_is_about_throughput(
    programs: int, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_target", lambda _: "sm_80")
    monkeypatch.setattr(launch, "_processors", lambda _: 8)
    expected = getattr(read_table()["sm_80", FORWARD], form).options()
    assert launch_options(FORWARD, programs, torch.device("cuda")) == expected


def test_tensors_in_main_memory_are_launched_for_latency_on_the_verified_target() -> None:
    with simulated("sm_80"):
        options = launch_options(FORWARD, 10**6, torch.device("cpu"))
    assert options == read_table()["sm_80", FORWARD].latency.options()


def test_a_form_of_ones_own_holds_in_its_context_alone() -> None:
    own, device = Form(1, 3), torch.device("cpu")
    with simulated():
        before = launch_options(FORWARD, 1, device)
        with launch.launched_as({"tile_forward": own}):
            assert launch_options(FORWARD, 1, device) == own.options()
        assert launch_options(FORWARD, 1, device) == before


def test_shapes_are_padded_as_tiles_are() -> None:
    assert Shape.of("k", 24, 5, torch.bfloat16) == Shape("k", 32, 16, 16)
    assert Shape.of("k", 96, 33, torch.float32) == Shape("k", 128, 64, 32)


def test_a_table_that_is_written_is_read_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = read_table()
    path = tmp_path / "launch.toml"
    path.write_text("# kept\nrows = [\n]\n")
    monkeypatch.setattr(launch, "TABLE", path)
    try:
        launch.write_table(known)
        assert path.read_text().startswith("# kept\nrows = [\n")
        assert read_table() == known
        launch.write_table(known | {("sm_80", FORWARD): launch.by_rule(FORWARD)})
        assert find_forms(FORWARD, "sm_80") == launch.by_rule(FORWARD)
    finally:
        read_table.cache_clear()
        find_forms.cache_clear()


def row(loop: int, stack: int = 0) -> dict[str, int]:
    return {"loop_instructions": loop, "stack_bytes": stack}


def test_forms_are_ranked_by_what_spills_and_then_by_what_is_issued() -> None:
    rows = {
        Form(1, 2): row(2000, stack=880),
        Form(2, 2): row(1360),
        Form(4, 2): row(786, stack=tune.NEGLIGIBLE_STACK),
        Form(8, 2): row(644),  # its eight warps share four schedulers
    }
    assert tune.choose(rows) == Forms(latency=Form(4, 2), throughput=Form(2, 2))


def test_forms_that_were_timed_are_ranked_by_it() -> None:
    rows = {
        Form(2, 2): row(1360) | {"ms": {"latency": 2.0, "throughput": 3.0}},
        Form(4, 3): row(786, stack=880) | {"ms": {"latency": 3.0, "throughput": 2.0}},
    }
    assert tune.choose(rows) == Forms(latency=Form(2, 2), throughput=Form(4, 3))


def test_where_there_is_the_gpu_all_stages_of_all_warps_are_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, list[Form]]] = []

    def time_forms(_: Trial, direction: str, forms: dict[Form, Any]) -> dict[Form, Any]:
        asked.append((direction, list(forms)))
        return {f: {"latency": f.num_stages / f.num_warps, "throughput": 1.0} for f in forms}

    monkeypatch.setattr(tune, "can_time", lambda target: target == "sm_80")
    monkeypatch.setattr(tune, "time_forms", time_forms)
    forward, backward = tune.tune(Trial("tile", 16, 16), "sm_80")
    all_forms = {Form(warps, stages) for warps in (1, 2) for stages in tune.STAGES}
    assert [(direction, set(forms)) for direction, forms in asked] == [
        ("forward", all_forms),
        ("backward", all_forms),
    ]
    assert forward.forms.latency == backward.forms.latency == Form(2, 1)
    assert forward.rows[Form(1, 3)]["ms"] == {"latency": 3.0, "throughput": 1.0}


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_call_that_is_timed_launches_one_direction_each_time(direction: str) -> None:
    trial, launched = Trial("tile", 16, 16, sequences=3), list[Launch]()
    with intercepted(launched.append, find_target("sm_80")):
        call = trial.call(direction, "cpu")
        launched.clear()
        call()
        call()
    assert [each.name for each in launched] == [f"tile_{direction}"] * 2
    assert {math.prod(each.grid) for each in launched} == {3 * trial.heads}


def test_forms_whose_state_fills_the_registers_are_not_compiled() -> None:
    def warps(direction: str, dim: int) -> list[int]:
        return [n for n in tune.WARPS if tune.plausible(n, Trial("tile", dim, 16), direction)]

    assert warps("forward", 16) == warps("backward", 16) == [1, 2]
    assert warps("forward", 64) == [1, 2, 4, 8]
    assert warps("backward", 64) == [2, 4, 8]
    assert warps("backward", 128) == [8]


def test_a_form_that_is_wrong_is_not_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial("tile", 16, 16)
    forms = trial.forms("sm_80", "latency")
    how, error = tune.prove(trial, "sm_80", forms)
    assert how == "simulated"
    assert 0 < error < TOLERANCES[torch.bfloat16]
    monkeypatch.setitem(TOLERANCES, torch.bfloat16, error / 2)
    with pytest.raises(tune.WrongKernelError, match=r"is off by .*; no row was written"):
        tune.prove(trial, "sm_80", forms)


@pytest.mark.slow
def test_tuning_finds_the_rows_that_are_in_the_table() -> None:
    for found in tune.tune(Trial("tile", 64, 16), "sm_80"):
        assert found.forms == read_table()["sm_80", found.shape]
        assert found.proven == "simulated"
