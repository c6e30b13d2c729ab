"""Time the Triton kernels against the memory floor and the torch reference, on this machine's GPU.

Each case is held against the float64 reference before it is timed. Times are medians of many runs,
with the tenth and the ninetieth percentile; caches are cleared between runs. The floor is what the
bytes and the products of a case would take at the speeds of a large copy and a large product,
measured in the same run (docs/kernels.md says which bytes and products).

    python benches/bench_gpu.py                  writes benches/results/<machine>.{json,md}
    python benches/bench_gpu.py --out FOLDER
"""

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from training_steps import model_config, training_step, without_inner_loop

from ttt_kernels import read_open_tokens, ttt_linear
from ttt_kernels.reference import InnerParameters

ROOT = Path(__file__).parents[1]
NO_GPU = "no GPU: nothing to time; `make test` proves the kernels without one"
TOLERANCE = 1.5e-2
"""Of a result in bfloat16, relative to float64."""
FEWEST = 5
"""Calls of which a median is taken."""


@dataclass(frozen=True)
class Shape:
    """Of one inner layer, tokens in bfloat16."""

    batch: int = 8
    tokens: int = 2048
    heads: int = 12
    head_dim: int = 64
    mini_batch_size: int = 16

    @property
    def token_heads(self) -> int:
        """B T H."""
        return self.batch * self.tokens * self.heads


SHAPES = (
    Shape(),
    Shape(batch=1),
    Shape(batch=32),
    Shape(heads=24, head_dim=32),
    Shape(heads=6, head_dim=128),
    Shape(mini_batch_size=64),
)
KERNELS = ("reference", "naive-multi", "tile-multi")
STEP_BATCHES = (1, 8, 32)


@dataclass(frozen=True)
class Work:
    """The least that has to be moved and multiplied.

    Attributes:
        bytes: read from and written to global memory.
        flops: two for each product of a matrix product.
    """

    bytes: float
    flops: float

    def floor_ms(self, speeds: "Speeds") -> float:
        """The time it takes where one of both is all that counts."""
        return 1e3 * max(self.bytes / speeds.bytes_s, self.flops / speeds.flops_s)


@dataclass(frozen=True)
class Speeds:
    """What the device reaches where it has nothing else to do.

    Attributes:
        bytes_s: read and written by a copy.
        flops_s: of a product of bfloat16 matrices.
    """

    bytes_s: float
    flops_s: float


def work_of(what: str, shape: Shape, item_bytes: int = 2) -> Work:
    """The work of `forward`, `backward` or `decode` (a token).

    Per token and head, with D features and mini-batches of M: forward reads q, k, v, a rate and
    writes the output, 3 D^2 + 2 M D products; backward reads q, k, v, g, the upstream gradient and
    a rate, writes four gradients, 9 D^2 + 6 M D products. Decoding reads the state and on average
    (M - 1) / 2 open tokens, and writes the state once in M tokens, in float32.
    """
    dim, size = shape.head_dim, shape.mini_batch_size
    tokens_bytes = shape.token_heads * dim * item_bytes
    if what == "forward":
        flops = 2.0 * shape.token_heads * (3 * dim**2 + 2 * size * dim)
        return Work(4.0 * tokens_bytes + 4.0 * shape.token_heads, flops)
    if what == "backward":
        flops = 2.0 * shape.token_heads * (9 * dim**2 + 6 * size * dim)
        return Work(8.0 * tokens_bytes + 8.0 * shape.token_heads, flops)
    rows = shape.batch * shape.heads
    state, opened = dim**2 + dim, (size - 1) / 2 * (2 * dim + 1)
    flops = 2.0 * rows * (2 * dim**2 + 2 * opened)
    return Work(rows * (4.0 * (state + opened + state / size) + 4.0 * dim * item_bytes), flops)


@dataclass(frozen=True)
class Row:
    """A timed case.

    Attributes:
        what: `forward`, `forward + backward` or `decode`.
        kernel: by name.
        shape: of the layer.
        median_ms: of one call.
        low_ms: tenth percentile.
        high_ms: ninetieth percentile.
        floor_ms: see `Work`.
        error: largest relative error of a result against float64, before it was timed.
    """

    what: str
    kernel: str
    shape: Shape
    median_ms: float
    low_ms: float
    high_ms: float
    floor_ms: float
    error: float


@dataclass(frozen=True)
class StepRow:
    """A training step of the 125m model, bf16 by autocast.

    Attributes:
        batch: B.
        tokens: T.
        median_ms: of the step.
        bare_ms: of one with q + k + v + lr for the inner loop.
        tokens_s: read by the former.
    """

    batch: int
    tokens: int
    median_ms: float
    bare_ms: float
    tokens_s: float


@dataclass(frozen=True)
class Results:
    """What was measured so far, and where."""

    machine: dict[str, Any]
    speeds: Speeds
    rows: list[Row]
    steps: list[StepRow]


def spread(times_ms: Sequence[float]) -> tuple[float, float, float]:
    """Median, tenth and ninetieth percentile."""
    deciles = statistics.quantiles(times_ms, n=10, method="inclusive")
    return statistics.median(times_ms), deciles[0], deciles[-1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benches" / "results")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print(NO_GPU)
        return 0
    results = Results(machine(), measured_speeds(), [], [])
    for batch in STEP_BATCHES:
        results.steps.append(timed_step(batch))
        print(step_line(results.steps[-1]), flush=True)
    for shape in SHAPES:
        found = [*layer_rows(shape, results.speeds), decode_row(shape, results.speeds)]
        print(*map(table_row, found), sep="\n", flush=True)
        results.rows.extend(found)
        data, table = write_results(options.out, results)
        print(f"{data}\n{table}", flush=True)
    return 0


def timed_step(batch: int) -> StepRow:
    """Of the 125m model, whole and without its inner loop."""
    tokens = Shape().tokens
    config = model_config("linear", "125m", tokens, batch_size=batch, dtype="bf16")
    whole = training_step(config)
    with_loop, bare = (wall_ms(step) for step in (whole, without_inner_loop(whole)))
    return StepRow(batch, tokens, with_loop, bare, 1e3 * batch * tokens / with_loop)


def wall_ms(step: Callable[[], None], rounds: int = 10) -> float:
    """Median time of a training step, which waits for its own loss."""
    times = []
    for _ in range(3 + rounds):
        began = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times[3:])


def layer_rows(shape: Shape, speeds: Speeds) -> list[Row]:
    """Forward, and forward with backward, by every kernel."""
    arguments = random_arguments(shape)
    q, k, v, token_eta, lr, *rest = arguments
    small = [*(x[:1, :80] for x in (q, k, v)), token_eta, lr[:1, :80], *rest]
    upstream = torch.randn_like(arguments[0])
    rows = []
    for kernel in KERNELS:
        error = worst_error(small, kernel, shape.mini_batch_size)
        if error > TOLERANCE:
            raise SystemExit(f"{kernel} at {shape}: error {error:.1e}, not timed")

        def forward(kernel: str = kernel) -> Tensor:
            options = {"mini_batch_size": shape.mini_batch_size, "kernel": kernel}
            return ttt_linear(*arguments, **options)[0]

        def both(forward: Callable[[], Tensor] = forward) -> None:
            torch.autograd.grad(forward(), arguments, upstream)

        ahead, back = work_of("forward", shape), work_of("backward", shape)
        floor_ms = ahead.floor_ms(speeds)
        with torch.no_grad():
            times = spread(timed(forward))
        rows.append(Row("forward", kernel, shape, *times, floor_ms, error))
        floor_ms += back.floor_ms(speeds)
        times = spread(timed(both))
        rows.append(Row("forward + backward", kernel, shape, *times, floor_ms, error))
    return rows


def decode_row(shape: Shape, speeds: Speeds) -> Row:
    """A token in place; a mini-batch is timed and divided."""
    from ttt_kernels.gpu.decode import OpenMiniBatch

    q, k, v, token_eta, lr, weight, bias, ln_w, ln_b = (x.detach() for x in random_arguments(shape))
    size = shape.mini_batch_size
    parameters = InnerParameters(
        (weight.expand(shape.batch, *weight.shape),), (bias.expand(shape.batch, *bias.shape),)
    )
    none = read_open_tokens(k[:, :0], v[:, :0], parameters, ln_w, ln_b, eps=1e-6)
    held = OpenMiniBatch.of(parameters, none, lr[:, :0], mini_batch_size=size)

    def mini_batch() -> Tensor:
        steps = ((x[:, t : t + 1] for x in (q, k, v, lr)) for t in range(size))
        outputs = [held.step(a, b, c, token_eta, d, ln_w, ln_b) for a, b, c, d in steps]
        return torch.cat(outputs, 1)

    first = [x[:, :size] for x in (q, k, v)]
    doubled = (*first, token_eta, lr[:, :size], weight, bias, ln_w, ln_b)
    expected = ttt_linear(*(x.double() for x in doubled), mini_batch_size=size, kernel="reference")[
        0
    ]
    error = relative_error(mini_batch(), expected)
    if error > TOLERANCE:
        raise SystemExit(f"decode at {shape}: error {error:.1e}, not timed")
    median, low, high = (time / size for time in spread(timed(mini_batch)))
    floor_ms = work_of("decode", shape).floor_ms(speeds)
    return Row("decode", "decode", shape, median, low, high, floor_ms, error)


def random_arguments(shape: Shape) -> list[Tensor]:
    """Those of `ttt_linear`, which want gradients."""
    b, t, h, d, m = asdict(shape).values()
    rng = torch.Generator().manual_seed(0)

    def normal(*size: int, std: float = 1.0) -> Tensor:
        return (torch.randn(size, generator=rng) * std).cuda()

    tokens = [normal(b, t, h, d, std=0.3).bfloat16() for _ in range(3)]
    eta = (1.0 / torch.arange(1, m + 1)).cuda()
    lr = (torch.rand(b, t, h, generator=rng) / d).cuda()
    state = [normal(h, d, d, std=d**-0.5), torch.zeros(h, d).cuda()]
    norm = [torch.ones(h, d).cuda(), torch.zeros(h, d).cuda()]
    return [x.requires_grad_() for x in (*tokens, eta, lr, *state, *norm)]


def worst_error(arguments: Sequence[Tensor], kernel: str, size: int) -> float:
    """Of output, final state and every gradient, against the reference in float64."""
    results = []
    for dtype, name in ((None, kernel), (torch.float64, "reference")):
        leaves = [x.detach().to(dtype or x.dtype).requires_grad_() for x in arguments]
        reached = ttt_linear(*leaves, mini_batch_size=size, kernel=name)
        rng = torch.Generator().manual_seed(1)
        upstream = [torch.randn(x.shape, generator=rng).bfloat16().to(x) for x in reached]
        results.append([*reached, *torch.autograd.grad(list(reached), leaves, upstream)])
    return max(relative_error(ours, true) for ours, true in zip(*results, strict=True))


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over that of what is expected; NaN is infinitely wrong."""
    found, expected = found.detach().double(), expected.detach().double()
    error = (found - expected).norm() / expected.norm()
    return float(error.nan_to_num(nan=torch.inf))


def timed(call: Callable[[], object]) -> list[float]:
    """Milliseconds of many calls after a warm-up, the second-level cache cleared before each."""
    from triton.testing import do_bench

    times = do_bench(call, warmup=100, rep=500, return_mode="all")
    if len(times) < FEWEST:  # each takes long
        times = do_bench(call, warmup=0, rep=FEWEST * max(times), return_mode="all")
    return times


def measured_speeds() -> Speeds:
    """Of a copy of 1 GiB and of a product of matrices of 8192 x 8192."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copy_ms, _, _ = spread(timed(lambda: target.copy_(source)))
    matrix = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    product_ms, _, _ = spread(timed(lambda: matrix @ matrix))
    return Speeds(2 * 2**30 / (copy_ms / 1e3), 2 * 8192**3 / (product_ms / 1e3))


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    import triton

    device = torch.cuda.get_device_properties(0)
    return {
        "device": device.name,
        "memory_gib": round(device.total_memory / 2**30, 1),
        "multiprocessors": device.multi_processor_count,
        "runtime": torch.version.hip or torch.version.cuda,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "revision": revision(),
    }


def revision() -> str:
    """The commit that is timed, with a `+` if files differ from it."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() or "unknown"


def write_results(folder: Path, results: Results) -> tuple[Path, Path]:
    """Write all figures as JSON and the tables as Markdown; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    device, speeds = results.machine["device"], results.speeds
    stem = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    data, table = folder / f"{stem}.json", folder / f"{stem}.md"
    data.write_text(json.dumps(asdict(results), indent=1) + "\n")
    lines = [
        f"# {device}",
        "",
        "By `python benches/bench_gpu.py`; milliseconds, the median and in brackets the tenth and",
        "ninetieth percentile. Tokens in bfloat16.",
        "",
        *(f"* {name}: {value}" for name, value in results.machine.items()),
        f"* a copy: {speeds.bytes_s / 1e9:.0f} GB/s",
        f"* a product: {speeds.flops_s / 1e12:.0f} TFLOP/s",
        "",
        "| | kernel | B | T | H | D | M | ms | floor, ms | times the floor | error |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *map(table_row, results.rows),
        "",
        "A training step of the 125m model, TTT-Linear, bf16, and one without the inner loop:",
        "",
        "| B | T | ms | without, ms | tokens/s |",
        "|---|---|---|---|---|",
        *map(step_line, results.steps),
    ]
    table.write_text("\n".join(lines) + "\n")
    return data, table


def step_line(row: StepRow) -> str:
    """A line of the Markdown table of training steps."""
    times = f"{row.median_ms:.1f} | {row.bare_ms:.1f} | {row.tokens_s:,.0f}"
    return f"| {row.batch} | {row.tokens} | {times} |"


def table_row(row: Row) -> str:
    """A line of the Markdown table."""
    cells = [
        *(row.what, row.kernel, *asdict(row.shape).values()),
        f"{row.median_ms:.3g} [{row.low_ms:.3g}, {row.high_ms:.3g}]",
        *(f"{row.floor_ms:.3g}", f"{row.median_ms / row.floor_ms:.1f}", f"{row.error:.1e}"),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    sys.exit(main())
