"""Compiled code on the disk, threads and processes, of the kernel `cpu`."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from inner_inputs import InnerInputs, make_inputs
from torch import multiprocessing as mp

from ttt_kernels import ttt_linear

ENTRY = """
from ttt_kernels.cpu.jit import entry
from compiled.helper import twice

@entry
def run(x):
    return twice(x) + 1
"""
HELPER = """
from ttt_kernels.cpu.jit import jit

@jit
def twice(x):
    return {factor} * x
"""


class Package:
    """A package of an entry point and a function that it calls from another module."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "cache"
        (folder / "compiled").mkdir()
        (folder / "compiled/__init__.py").write_text("")
        (folder / "compiled/main.py").write_text(ENTRY)
        self.set_factor(2)

    def set_factor(self, factor: int) -> None:
        (self.folder / "compiled/helper.py").write_text(HELPER.format(factor=factor))

    def run(self, show: str = "run(20.0)", **environment: str) -> tuple[str, bool]:
        """What a fresh process shows, and whether it had to compile."""
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; from compiled.main import run; print({show})"],
            env={
                **os.environ,
                "PYTHONPATH": str(self.folder),
                "PYTHONDONTWRITEBYTECODE": "1",
                "TTT_KERNELS_CACHE": str(self.cache),
                **environment,
            },
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip(), "compiling `run` of the cpu kernel" in done.stderr


def test_code_is_kept_until_any_module_it_came_from_changes(tmp_path: Path) -> None:
    package = Package(tmp_path)
    assert package.run() == ("41.0", True)
    assert package.run() == ("41.0", False)
    package.set_factor(3)  # Numba's own cache looks at compiled/main.py alone
    assert package.run() == ("61.0", True)
    package.set_factor(2)
    assert package.run() == ("41.0", False)


def test_code_is_read_without_what_only_compiling_needs(tmp_path: Path) -> None:
    package = Package(tmp_path)
    show = "run(20.0), 'numba.core.inline_closurecall' in sys.modules"
    assert package.run(show) == ("41.0 True", True)
    assert package.run(show) == ("41.0 False", False)


def test_code_is_read_from_no_directory_that_others_can_write(tmp_path: Path) -> None:
    package = Package(tmp_path)
    package.run()
    [kept] = package.cache.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    kept.chmod(0o777)
    before = {path: path.read_bytes() for path in kept.iterdir()}
    for path in before:
        path.write_bytes(b"not what was written")
    assert package.run() == ("41.0", False), "compiled anew, and not kept"
    assert all(path.read_bytes() == b"not what was written" for path in kept.iterdir())


def test_without_a_place_to_keep_it_code_is_compiled_each_time(tmp_path: Path) -> None:
    package = Package(tmp_path)
    assert package.run(TTT_KERNELS_CACHE="")[0] == "41.0"
    assert not package.cache.exists()


def output_and_gradients(x: InnerInputs) -> list[torch.Tensor]:
    x = x.require_grad()
    out, weight, bias = ttt_linear(
        *(x.q, x.k, x.v, x.token_eta, x.lr, x.weights[0], x.biases[0], x.ln_w, x.ln_b),
        mini_batch_size=x.mini_batch_size,
        kernel="cpu",
    )
    loss = (out * out).sum() + weight.sum() + (bias * bias).sum()
    return [out.detach(), *torch.autograd.grad(loss, list(x.named().values()))]


def test_any_number_of_threads_gives_the_same_bits() -> None:
    x = make_inputs(batch=2, heads=3, tokens=19)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(output_and_gradients(x))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def _in_another_process(queue: "mp.SimpleQueue[list[list[float]]]") -> None:
    torch.set_num_threads(2)
    x = make_inputs(batch=2, heads=3, tokens=19)
    queue.put([each.flatten().tolist() for each in output_and_gradients(x)])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_child_process_computes_the_same(start: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # so that this process has threads of its own
    try:
        ours = output_and_gradients(make_inputs(batch=2, heads=3, tokens=19))
    finally:
        torch.set_num_threads(threads)
    context: Any = mp.get_context(start)
    queue = context.SimpleQueue()
    child = context.Process(target=_in_another_process, args=(queue,))
    child.start()
    theirs = queue.get()
    child.join()
    assert child.exitcode == 0
    assert theirs == [each.flatten().tolist() for each in ours]
