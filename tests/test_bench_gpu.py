"""`make gpu` as far as a machine without a GPU can tell: floors, the results file, one line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import bench_gpu as bench
import pytest

ROOT = Path(__file__).parents[1]


def test_floors_are_bytes_and_products_of_the_layer() -> None:
    one = bench.Shape(batch=1, tokens=1, heads=1, head_dim=64, mini_batch_size=16)
    forward, backward = bench.work_of("forward", one), bench.work_of("backward", one)
    assert (forward.bytes, forward.flops) == (516, 28_672)
    assert (backward.bytes, backward.flops) == (1032, 86_016)
    decode = bench.work_of("decode", one)
    state, opened = 4 * (64 * 64 + 64), 4 * 7.5 * (64 + 64 + 1)
    assert decode.bytes == state + state / 16 + opened + 4 * 64 * 2
    # ten times the layer is ten times the work, and the slower of both counts
    ten = bench.work_of("forward", bench.Shape(2, 5, 1, 64, 16))
    assert ten.bytes == 10 * forward.bytes
    assert forward.floor_ms(bench.Speeds(516e3, 1e30)) == pytest.approx(1.0)
    assert forward.floor_ms(bench.Speeds(1e30, 28_672e3)) == pytest.approx(1.0)


def test_the_results_file_has_every_figure_and_the_machine(
    tmp_path: Path,
) -> None:
    row = bench.Row("forward", "tile-multi", bench.Shape(), 0.5, 0.4, 0.7, 0.1, 2e-3)
    named = {"device": "Some GPU (80 GB)", "torch": "2.13"}
    step = bench.StepRow(8, 2048, 64.0, 32.0, 256_000.0)
    results = bench.Results(named, bench.Speeds(3e12, 9e14), [row], [step])
    data, table = bench.write_results(tmp_path / "new", results)
    assert data.name == "some-gpu-80-gb.json"
    content = json.loads(data.read_text())
    assert content["machine"] == named
    assert content["rows"][0]["median_ms"] == 0.5
    assert content["rows"][0]["shape"]["head_dim"] == 64
    assert "| forward | tile-multi | 8 | 2048 | 12 | 64 | 16 | 0.5 [0.4, 0.7] | 0.1 | 5.0 |" in (
        table.read_text()
    )
    assert content["steps"][0]["bare_ms"] == 32.0
    assert "| 8 | 2048 | 64.0 | 32.0 | 256,000 |" in table.read_text()
    assert "* a copy: 3000 GB/s\n* a product: 900 TFLOP/s\n" in table.read_text()


def test_the_spread_is_median_and_deciles() -> None:
    assert bench.spread([float(i) for i in range(101)]) == (50.0, 10.0, 90.0)


def test_calls_that_take_long_are_timed_often_enough_for_a_median(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def do_bench(_: Any, *, rep: float, **_options: Any) -> list[float]:
        return [600.0] * max(1, int(rep / 600.0))  # as Triton does for a call of 600 ms

    monkeypatch.setattr("triton.testing.do_bench", do_bench)
    assert bench.timed(lambda: None) == [600.0] * 5


def test_where_there_is_no_gpu_one_line_says_so() -> None:
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
    for command in (
        [ROOT / "scripts" / "gpu.sh", sys.executable],
        [sys.executable, ROOT / "benches" / "bench_gpu.py"],
    ):
        done = subprocess.run(command, env=hidden, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        [line] = done.stdout.splitlines()
        assert line.startswith("no GPU")
