import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt_config import HarnessConfig, HarnessError, resolve
from ttt_config.harness import EntryConfig
from ttt_harness import devices
from ttt_harness.devices import GIB, Memory, find_devices, visible
from ttt_harness.estimate import correct, estimate_memory, shape_of
from ttt_harness.model import Peak
from ttt_harness.plan import Run
from ttt_harness.store import Store
from ttt_harness.trainer import expected_memory, find_trainer

PARTS = {"parameters": GIB, "activations": 2 * GIB}


def run_of(name: str, **fields: object) -> Run:
    return Run(EntryConfig(name=name), resolve(("test", fields)).config)


def test_a_shape_that_has_run_takes_what_it_took() -> None:
    peaks = [Peak("x", "cpu", 3 * GIB, 5 * GIB), Peak("x", "cuda", 3 * GIB, 4 * GIB)]
    found = correct(PARTS, "x", "cpu", peaks)
    assert (found.need_bytes, found.basis) == (5 * GIB, "measured")
    # A peak on a GPU is that of torch's allocator: the driver's context comes on top.
    assert correct(PARTS, "x", "cuda", peaks).need_bytes == 4 * GIB + 3 * GIB // 4


def test_a_new_shape_takes_as_much_beyond_its_estimate_as_the_worst_before() -> None:
    assert correct(PARTS, "new", "cpu", []).need_bytes == 4 * GIB
    peaks = [Peak("x", "cpu", GIB, 3 * GIB), Peak("y", "cpu", GIB, 2 * GIB)]
    peaks += [Peak("given", "cpu", 0, 9 * GIB), Peak("z", "cuda", GIB, 9 * GIB)]
    found = correct(PARTS, "new", "cpu", peaks)
    assert (found.need_bytes, found.basis) == (5 * GIB, "expected")


@given(st.integers(0, 9), st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=4))
def test_more_is_never_expected_to_take_less(more: int, past: list[tuple[int, int]]) -> None:
    peaks = [Peak(f"{n}", "cpu", *figures) for n, figures in enumerate(past)]
    small, large = ({"all": size} for size in (5, 5 + more))
    assert (
        correct(small, "new", "cpu", peaks).need_bytes
        <= correct(large, "new", "cpu", peaks).need_bytes
    )


def test_only_what_memory_depends_on_makes_a_shape() -> None:
    same = [{}, {"lr": 0.5}, {"seed": 3}, {"steps": 9}, {"grad_accum": 4}, {"out": "elsewhere"}]
    assert len({shape_of(run_of("a", **fields).config) for fields in same}) == 1
    others = [{"batch": 3}, {"dtype": "bf16"}, {"layer_type": "mlp"}, {"seq_len": 99}]
    others += [{"checkpoint_interval": 2}, {"vocab_size": 9}, {"activation_checkpointing": True}]
    assert len({shape_of(run_of("a", **fields).config) for fields in [{}, *others]}) == 8


@pytest.fixture
def trainer(tmp_path: Path) -> list[str]:
    """Something that answers as `ttt train --dry-run --json`, and counts how often it is asked."""
    path = tmp_path / "ttt"
    path.write_text(
        f"#!{sys.executable} -S\nimport sys\n"
        f"open({str(tmp_path / 'asked')!r}, 'a').write('x')\n"
        "text = open(sys.argv[3]).read()\n"
        "if 'seed = 13' in text:\n"
        '    print(\'{"error": {"type": "E", "exit_code": 4, "issues": ["no text"]}}\', '
        "file=sys.stderr)\n    sys.exit(4)\n"
        'print(\'{"parameters": 3, "memory": {"parameters": 12, "scores": 8}}\')\n'
    )
    path.chmod(0o755)
    return [str(path)]


def test_the_trainer_is_asked_once_for_each_shape(trainer: list[str], tmp_path: Path) -> None:
    runs = [run_of("a"), run_of("b", lr=0.5), run_of("c", batch=3)]
    runs.append(Run(EntryConfig(name="d", memory_gb=2.0), runs[0].config))
    told: list[tuple[int, int]] = []
    with Store(tmp_path / "state.db", create=True) as store:
        for _ in range(2):
            found = estimate_memory(
                runs, trainer, store, "cpu", lambda done, of: told.append((done, of))
            )
    assert (tmp_path / "asked").read_text() == "xx"
    assert told == [(1, 2), (2, 2)]
    assert found["a"] == found["b"] == found["c"]
    d = found["d"]
    assert not isinstance(d, HarnessError)
    assert (d.need_bytes, d.basis) == (2 * GIB, "given")


def test_what_the_trainer_says_against_a_run_is_kept(trainer: list[str]) -> None:
    found = estimate_memory([run_of("a"), run_of("b", seed=13, batch=3)], trainer, None, "cpu")
    assert not isinstance(found["a"], HarnessError)
    assert str(found["b"]) == "no text"


def test_a_trainer_that_says_something_else_is_no_trainer() -> None:
    config = run_of("a").config
    with pytest.raises(HarnessError, match="gave no memory estimate"):
        expected_memory([sys.executable, "-c", "print('hello')"], config)
    with pytest.raises(HarnessError, match="cannot ask nowhere"):
        expected_memory(["nowhere"], config)


def test_the_trainer_is_the_one_of_this_environment() -> None:
    assert find_trainer(None) == (str(Path(sys.executable).with_name("ttt")),)
    with pytest.raises(ValueError, match="no program `nowhere`"):
        find_trainer("nowhere")


def memory_on(monkeypatch: pytest.MonkeyPatch, *found: Memory) -> None:
    monkeypatch.setattr(devices, "_nvidia", lambda: iter(found))
    monkeypatch.setattr(devices, "_amd", lambda: iter(()))


def test_what_others_hold_is_not_given_to_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    memory_on(monkeypatch, Memory("0", "H", 100, 30), Memory("1", "H", 100, 0))
    first, second = find_devices(HarnessConfig(vram_margin=0.1), {"cuda:0": 20})
    assert (first.capacity_bytes, first.limit_bytes) == (80, 90)
    assert (second.name, second.capacity_bytes) == ("cuda:1", 90)
    assert second.environment == {"CUDA_VISIBLE_DEVICES": "1"}


def test_the_size_given_overrules_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    memory_on(monkeypatch, Memory("0", "H", 100, 30))
    (device,) = find_devices(HarnessConfig(vram_margin=0.5, total_vram_gb=2.0), {})
    assert device.capacity_bytes == device.limit_bytes == GIB


def test_without_a_gpu_it_is_the_ram(monkeypatch: pytest.MonkeyPatch) -> None:
    memory_on(monkeypatch)
    (device,) = find_devices(HarnessConfig(), {})
    assert (device.name, device.kind, device.environment) == ("cpu", "cpu", {})
    assert 0 < device.capacity_bytes <= device.limit_bytes


@pytest.mark.parametrize(
    ("named", "expected"),
    [(None, "0 1 2"), ("2,0", "2 0"), ("", ""), ("1,7,0", "1"), ("-1", ""), ("GPU-ab", "GPU-ab")],
)
def test_only_visible_devices_are_used(named: str | None, expected: str) -> None:
    assert visible(["0", "1", "2"], named) == expected.split()


def test_nvidia_is_asked_by_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("pynvml")
    calls: list[str] = []
    vars(library).update(
        NVMLError=RuntimeError,
        nvmlInit=lambda: calls.append("init"),
        nvmlShutdown=lambda: calls.append("shutdown"),
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=100 + handle, used=handle),
        nvmlDeviceGetName=lambda handle: f"GPU {handle}",
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    found = find_devices(HarnessConfig(vram_margin=0.0), {})
    assert [(each.name, each.model, each.capacity_bytes) for each in found] == [
        ("cuda:1", "GPU 1", 100),
        ("cuda:0", "GPU 0", 100),
    ]
    assert calls == ["init", "shutdown"]


def test_amd_is_asked_by_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("amdsmi")
    vars(library).update(
        AmdSmiException=RuntimeError,
        AmdSmiMemoryType=SimpleNamespace(VRAM="vram"),
        amdsmi_init=lambda: None,
        amdsmi_shut_down=lambda: None,
        amdsmi_get_processor_handles=lambda: ["first"],
        amdsmi_get_gpu_memory_total=lambda *_: 100,
        amdsmi_get_gpu_memory_usage=lambda *_: 10,
        amdsmi_get_gpu_asic_info=lambda _: {"market_name": "MI"},
    )
    monkeypatch.setitem(sys.modules, "amdsmi", library)
    monkeypatch.setattr(devices, "_nvidia", lambda: iter(()))
    monkeypatch.delenv("HIP_VISIBLE_DEVICES", raising=False)
    (found,) = find_devices(HarnessConfig(vram_margin=0.0), {})
    assert (found.name, found.capacity_bytes) == ("hip:0", 90)
    assert found.environment == {"HIP_VISIBLE_DEVICES": "0"}
