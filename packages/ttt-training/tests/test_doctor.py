"""What `ttt doctor` finds on machines that are not as they should be."""

import importlib
import os
import shutil
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from torch import Tensor

from ttt_config import InvalidValueError, RunConfig
from ttt_data import pretokenize
from ttt_data.readers import open_source
from ttt_kernels import dispatch
from ttt_kernels.kernel import ArgumentGradients, InnerLoop, Upstream
from ttt_kernels.reference.kernel import ReferenceKernel
from ttt_training import doctor
from ttt_training.doctor import CHECKS, Finding, data, device, disk, examine, threads
from ttt_training.doctor.software import in_range, required_versions

Maker = Callable[..., RunConfig]


@pytest.fixture
def find(tiny: Maker, tmp_path: Path) -> Callable[..., list[Finding]]:
    """Make one check for a small run, with other values by their flags' names."""

    def run(check: str, **values: object) -> list[Finding]:
        return examine(tiny(tmp_path / "run", **values), [check])

    return run


@pytest.fixture(autouse=True)
def small_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "TRIAL_BYTES", 2**20)


def test_this_machine_has_no_problem(tiny: Maker, tmp_path: Path) -> None:
    told: list[str] = []
    names = [name for name in CHECKS if name not in {"kernel", "compiler", "threads"}]
    found = examine(tiny(tmp_path), names, told.append)
    assert told == names
    assert [each for each in found if each.status != "ok"] == []
    assert list(dict.fromkeys(each.check for each in found)) == names


def test_a_check_that_fails_is_a_finding_and_hinders_no_other(
    monkeypatch: pytest.MonkeyPatch, tiny: Maker, tmp_path: Path
) -> None:
    def broken(_: RunConfig) -> Iterator[Finding]:
        raise RuntimeError("no such\nthing")

    monkeypatch.setitem(doctor.CHECKS, "torch", broken)
    first, second = examine(tiny(tmp_path), ["torch", "python"])
    assert (first.status, second.status) == ("problem", "ok")
    assert first.found == "the check itself failed: RuntimeError: no such"


def test_an_unknown_check_is_refused(tiny: Maker, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="no check `gpu`, expected one of: python, torch"):
        examine(tiny(tmp_path), ["gpu"])


@pytest.mark.parametrize(
    ("version", "required", "fits"),
    [
        ("2.13.0+cpu", ">=2.9,<2.16", True),
        ("2.16.0", ">=2.9,<2.16", False),
        ("2.15.3", ">=2.9,<2.16", True),
        ("2.8.1", ">=2.9,<2.16", False),
        ("2.16.0a0+git1", "<2.16", False),
        ("3.7.1", "==3.7.1", True),
        ("3.9.0", "==3.7.1", False),
        ("3.9.2", "~=3.9.0", True),
        ("3.10.0", "~=3.9.0", False),
        ("3.11.7", ">=3.11, <3.14", True),
        ("1.0", "", True),
    ],
)
def test_versions_are_compared_by_number(version: str, required: str, fits: bool) -> None:
    assert in_range(version, required) is fits


def test_bounds_are_those_of_the_installed_packages() -> None:
    assert in_range(torch.__version__, required_versions("ttt-training", "torch"))
    assert required_versions("ttt-training", "torch").startswith(">=")
    assert required_versions("ttt-kernels", "triton").startswith(">=")
    assert required_versions("ttt-training", "tor") == ""


def test_a_torch_that_is_too_new_is_named(find: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "3.0.0")
    (found,) = find("torch")
    assert found.status == "problem"
    assert found.found.startswith("3.0.0 for ")
    assert "expected >=2.9,<2.16" in found.found


def test_a_triton_that_the_kernels_do_not_know_is_named(
    find: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module
    old = types.SimpleNamespace(__version__="3.1.0")
    monkeypatch.setattr(
        importlib, "import_module", lambda name: old if name == "triton" else real(name)
    )
    (found,) = find("triton")
    assert found.status == "problem"
    assert found.found.startswith("3.1.0, expected >=3.6")


def test_a_gpu_under_a_torch_for_cpus_is_named(
    find: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu\n")
    monkeypatch.setattr(device, "NVIDIA_DRIVER", driver)
    monkeypatch.setattr(torch.version, "cuda", None)
    (found,) = find("device")
    assert found.status == "problem"
    assert found.fix == "install torch for it: scripts/setup_env.sh cuda"


def test_a_driver_that_is_too_old_is_named(
    find: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unavailable() -> bool:
        warnings.warn("The NVIDIA driver on your system is too old (found 12080).", stacklevel=1)
        return False

    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu\n")
    monkeypatch.setattr(device, "NVIDIA_DRIVER", driver)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", unavailable)
    (found,) = find("device")
    assert found.status == "problem"
    assert "too old (found 12080)" in found.found
    assert str(found.fix).startswith("update the driver 570.86.15 to one for CUDA 13.0")


def test_an_amd_gpu_that_is_closed_to_the_user_is_named(
    find: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(device, "AMD_DEVICE", tmp_path)
    monkeypatch.setattr(torch.version, "hip", "7.2")
    monkeypatch.setattr(os, "access", lambda *_: False)
    (found,) = find("device")
    assert found.status == "problem"
    assert "usermod -aG render,video" in str(found.fix)


@pytest.mark.parametrize(
    ("hip", "gpu", "compiled", "status"),
    [
        (None, (9, 0), ["sm_80", "sm_90"], "ok"),
        (None, (8, 6), ["sm_80", "sm_90"], "ok"),
        (None, (12, 0), ["sm_80", "sm_90"], "problem"),
        (None, (12, 0), ["sm_80", "compute_90"], "ok"),
        (None, (7, 0), ["sm_75", "sm_80"], "problem"),
        ("7.2", "gfx1030", ["gfx90a", "gfx1030"], "ok"),
        ("7.2", "gfx1031:xnack-", ["gfx90a", "gfx1030"], "problem"),
    ],
)
def test_a_gpu_must_be_one_torch_was_compiled_for(
    find: Callable,
    monkeypatch: pytest.MonkeyPatch,
    hip: str | None,
    gpu: tuple[int, int] | str,
    compiled: list[str],
    status: str,
) -> None:
    about = types.SimpleNamespace(name="Some GPU", total_memory=80 * 2**30)
    if isinstance(gpu, str):
        about.gcnArchName = gpu
    else:
        about.major, about.minor = gpu
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: about)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: compiled)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    (found,) = find("device")
    assert found.status == status
    assert found.found.startswith("Some GPU, 80 GiB, ")


def test_a_missing_compiler_matters_where_triton_needs_it(
    find: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert find("compiler")[0].status == "warning"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (found,) = find("compiler")
    assert found.status == "problem"
    assert "apt-get install gcc" in str(found.fix)


class Careless(ReferenceKernel):
    """Forgets part of one gradient."""

    def backward(
        self, loop: InnerLoop, saved: Sequence[Tensor], upstream: Upstream
    ) -> ArgumentGradients:
        found = super().backward(loop, saved, upstream)
        return found._replace(ln_w=0.97 * found.ln_w)


class Broken(ReferenceKernel):
    """Does not compile."""

    def forward(self, *_: object, **__: object) -> NoReturn:
        raise RuntimeError("ptxas fatal\nmore")


def test_one_tile_shows_a_wrong_and_a_broken_kernel(
    find: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {"cpu": Careless(), "naive": Broken(), "reference": ReferenceKernel()}
    monkeypatch.setattr(dispatch, "INSTALLED", installed)
    monkeypatch.setitem(dispatch.CAPABILITIES, "naive", dispatch.CAPABILITIES["reference"])
    wrong, broken, right = find("kernel")
    assert [each.status for each in (wrong, broken, right)] == ["problem", "problem", "ok"]
    assert "`gradient of ln_w` is off by 3.0e-02" in wrong.found
    assert broken.found == "naive fails: RuntimeError: ptxas fatal"
    assert right.found.startswith("reference: one tile and its gradients, off by ")


def test_a_kernel_without_a_device_here_is_not_judged(
    find: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {"tile-multi": Broken(), "reference": ReferenceKernel()}
    monkeypatch.setattr(dispatch, "INSTALLED", installed)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (only,) = find("kernel")
    assert only.status == "ok"
    assert only.found.startswith("reference: ")


def test_code_that_is_not_kept_is_a_warning(
    find: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTT_KERNELS_CACHE", "")
    found = find("caches")[0]
    assert found.status == "warning"
    assert "every process compiles it anew" in found.found


def test_code_of_other_sources_is_counted(
    find: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    (cache / "older").mkdir(parents=True, mode=0o700)
    cache.chmod(0o700)
    (cache / "older/scan.nbc").write_bytes(bytes(3_000_000))
    monkeypatch.setenv("TTT_KERNELS_CACHE", str(cache))
    found = find("caches")[0]
    assert found.found.startswith(f"cpu: {cache}, 0.0 MB in 0 files for sources ")
    assert found.found.endswith("3.0 MB in 1 files for sources that are no longer these")


def test_a_triton_cache_that_cannot_be_written_is_a_problem(
    find: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "kept"))
    assert "triton: " + str(tmp_path / "kept") in find("caches")[-1].found
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert find("caches")[-1].status == "problem"


def test_threads_are_held_against_cores(
    find: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(threads, "CGROUP_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert find("threads")[0].found == "8 threads on 8 cores"
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (many,) = find("threads")
    assert (many.status, many.fix) == ("warning", "export OMP_NUM_THREADS=2")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (few,) = find("threads")
    assert few.found == "1 threads on 8 cores (OMP_NUM_THREADS=1): the others wait"


def test_the_disk_must_hold_the_planned_checkpoints(
    find: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert find("disk")[0].status == "ok"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(disk, "write_speed", lambda _: 100.0)
    assert find("disk")[0].status == "warning"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1000))
    (full,) = find("disk", keep_last=2)
    assert full.status == "problem"
    assert "0.0 MB free for 4 checkpoints of 0.3 MB" in full.found


def test_a_place_that_cannot_be_written_is_a_problem(find: Callable, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where the run should be")
    (found,) = find("disk")
    assert found.status == "problem"
    assert found.found == f"cannot write in {tmp_path / 'run'}: Not a directory"


def test_a_run_of_another_tokenizer_is_named(
    find: Callable, finished_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    assert find("tokenizer")[0].status == "ok"
    (found,) = find("tokenizer", tokenizer="bpe-4096")
    assert found.status == "problem"
    assert f"but {tmp_path / 'run/tokenizer.json'} has sha256" in found.found
    (missing,) = find("tokenizer", tokenizer=str(tmp_path / "gone.json"))
    assert missing.status == "problem"


class InstalledFile:
    """The built-in tokenizer as the list of a wheel's files has it."""

    hash = types.SimpleNamespace(mode="sha256", value="AAAA")
    place = Path()

    def __str__(self) -> str:
        return "ttt_data/builtin/bpe-4096.json"

    def locate(self) -> Path:
        return self.place


def test_an_installed_file_that_was_changed_is_named(
    find: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changed = tmp_path / "bpe-4096.json"
    changed.write_text("{}")
    monkeypatch.setattr(InstalledFile, "place", changed)
    monkeypatch.setattr(data.metadata, "files", lambda _: [InstalledFile()])
    (found,) = find("tokenizer", tokenizer="bpe-4096")
    assert found.status == "problem"
    assert found.found == f"{changed} is not the file that was installed"


def test_damage_in_a_token_store_is_named(find: Callable, tmp_path: Path) -> None:
    store = tmp_path / "store"
    source = open_source("chronicles", num_documents=4, val_fraction=0.5, test_fraction=0)
    pretokenize([source], store, tokenizer="bytes")
    (whole,) = find("data", data=str(store))
    assert whole.status == "ok"
    assert "every byte is as written" in whole.found
    shard = store / "train-00000.bin"
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    found = find("data", data=str(store))
    assert {each.status for each in found} == {"problem"}
    assert "train-00000.bin" in found[0].found


def test_text_that_is_not_there_is_named(find: Callable, tmp_path: Path) -> None:
    (found,) = find("data", data=str(tmp_path / "gone.txt"))
    assert found.status == "problem"
    assert "gone.txt" in found.found
