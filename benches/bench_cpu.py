"""Measure the CPU kernels beside eager autograd, and the whole step beside one without inner loop.

Everything in a table is measured in one run, in interleaved rounds: medians, with the smallest and
the largest in brackets. The shapes are those of the 125m model unless they are given.

    python benches/bench_cpu.py layer       one inner layer, forward and forward + backward
    python benches/bench_cpu.py memory      its peak memory, and that of checkpoint intervals
    python benches/bench_cpu.py step        a training step, and one without inner loop
    python benches/bench_cpu.py decode      a token, beside reading all weights once
    python benches/bench_cpu.py compile     the first call of a process, cold and warm
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from training_steps import model_config, training_step, without_inner_loop

from ttt_config import RunConfig
from ttt_config.train import Dtype
from ttt_kernels import ttt_linear_adam, ttt_mlp
from ttt_kernels.reference import AdamMoments, AdamUpdate, InnerParameters, SGDUpdate, scan
from ttt_layer import TTTModel

KINDS = ("linear", "linear-adam", "mlp")
ADAM = AdamUpdate(lr=0.001, beta1=0.9, beta2=0.999)


class Shape(NamedTuple):
    """Of one inner layer."""

    batch: int = 1
    tokens: int = 2048
    heads: int = 12
    head_dim: int = 64
    mini_batch_size: int = 16


class Spread(NamedTuple):
    """Milliseconds of several rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.1f} [{self.low:.1f}, {self.high:.1f}]"


class Layer:
    """The arguments of one inner layer, and the ways to compute it."""

    def __init__(self, kind: str, shape: Shape) -> None:
        rng = torch.Generator().manual_seed(0)
        b, t, h, d, m = shape
        self.kind, self.size = kind, m

        def normal(*size: int, std: float = 1.0) -> Tensor:
            return torch.randn(size, generator=rng) * std

        widths = [(d, 4 * d), (4 * d, d)] if kind == "mlp" else [(d, d)]
        self.q, self.k, self.v = (normal(b, t, h, d, std=0.3) for _ in range(3))
        self.token_eta = 1.0 / torch.arange(1, m + 1)
        self.lr = torch.rand(b, t, h, generator=rng) * (0.1 if kind == "mlp" else 1.0) / d
        self.weights = tuple(normal(h, i, o, std=0.02) for i, o in widths)
        self.biases = tuple(torch.zeros(h, o) for _, o in widths)
        self.ln_w, self.ln_b = torch.ones(h, d), torch.zeros(h, d)
        zeros = (torch.zeros(b, h, d, d), torch.zeros(b, h, d))
        self.moments = (zeros, zeros)
        self.upstream = normal(b, t, h, d)

    def leaves(self) -> list[Tensor]:
        """Everything a gradient is asked for."""
        tokens = (self.q, self.k, self.v, self.token_eta, self.lr)
        return [*tokens, *self.weights, *self.biases, self.ln_w, self.ln_b]

    def run(self, how: str, *, backward: bool, interval: int | None = None) -> None:
        """Compute the layer by a kernel of that name, or as one of the loops of `EAGER`."""
        for leaf in self.leaves():
            leaf.requires_grad_(backward).grad = None
        with torch.set_grad_enabled(backward):
            output = EAGER[how](self) if how in EAGER else self.kernel(how, interval)
        if backward:
            output.backward(self.upstream)

    def eager(self) -> Tensor:
        """The reference: what needs no state is computed before the loop, for all mini-batches."""
        return self.scan((self.q, self.k, self.v, self.lr), self.start())[0]

    def indexed(self) -> Tensor:
        """One mini-batch after the other, taken by its index, as in the official code.

        The gradient of each is then as large as that of all tokens, and zero outside of it.
        """
        tokens = [x.unflatten(1, (-1, self.size)) for x in (self.q, self.k, self.v, self.lr)]
        return self.one_by_one([x[:, i] for x in tokens] for i in range(tokens[0].shape[1]))

    def split(self) -> Tensor:
        """The same with the sequence cut once, where each gradient is as large as its tokens."""
        return self.one_by_one(
            zip(*(x.split(self.size, 1) for x in (self.q, self.k, self.v, self.lr)), strict=True)
        )

    def one_by_one(self, mini_batches: Iterable[Sequence[Tensor]]) -> Tensor:
        """Compute everything of a mini-batch when it is its turn."""
        parameters = self.start()
        answers: list[Tensor] = []
        for tokens in mini_batches:
            answer, parameters = self.scan(tokens, parameters)
            answers.append(answer)
        return torch.cat(answers, 1)

    def start(self) -> InnerParameters:
        """The state before the first token."""
        moments = AdamMoments(*self.moments, 0) if self.kind == "linear-adam" else None
        return InnerParameters(self.weights, self.biases, moments)

    def scan(
        self, tokens: Sequence[Tensor], parameters: InnerParameters
    ) -> tuple[Tensor, InnerParameters]:
        """The reference, q, k, v and lr being those of any tokens."""
        q, k, v, lr = tokens
        return scan(
            *(q, k, v, self.token_eta, lr, parameters, self.ln_w, self.ln_b),
            update=ADAM if self.kind == "linear-adam" else SGDUpdate(),
            mini_batch_size=self.size,
            eps=1e-6,
        )

    def kernel(self, name: str, interval: int | None) -> Tensor:
        """The public function."""
        if self.kind == "linear-adam":
            return ttt_linear_adam(
                self.q,
                self.k,
                self.v,
                self.token_eta,
                self.lr,
                self.weights[0],
                self.biases[0],
                self.ln_w,
                self.ln_b,
                *(self.moments[0], self.moments[1], 0),
                beta1=ADAM.beta1,
                beta2=ADAM.beta2,
                adam_lr=ADAM.lr,
                mini_batch_size=self.size,
                kernel=name,
                checkpoint_interval=interval,
            )[0]
        return ttt_mlp(
            self.q,
            self.k,
            self.v,
            self.token_eta,
            self.lr,
            self.weights,
            self.biases,
            self.ln_w,
            self.ln_b,
            mini_batch_size=self.size,
            kernel=name,
            checkpoint_interval=interval,
        )[0]

    def flops(self) -> float:
        """Of the matrix products of the forward pass; the backward pass has three times as many."""
        b, t, h, _ = self.q.shape
        products = sum(3 * w.shape[1] * w.shape[2] for w in self.weights)
        products += sum(
            w.shape[1] * w.shape[2] for w in self.weights[1:]
        )  # back to the first layer
        tiles = sum(self.size * (w.shape[1] + w.shape[2]) for w in self.weights)
        return 2.0 * b * t * h * (products + tiles)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=list(TABLES))
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--tokens", type=int, default=2048, help="default: %(default)s")
    parser.add_argument("--size", default="125m", help="of `step` and `decode`: %(default)s")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    print(f"{platform.processor() or platform.machine()}, {options.threads} thread(s)\n")
    for row in TABLES[options.what](options):
        print(row, flush=True)
    return 0


EAGER = {"indexed": Layer.indexed, "split": Layer.split, "eager": Layer.eager}
"""Ways to leave the inner loop to autograd; the leanest last, which the limit is counted from."""


def layer_table(options: argparse.Namespace) -> Iterator[str]:
    """One inner layer: eager, kernel, and what share of the speed of large products it reaches."""
    peak = peak_flops()
    yield f"large matrix products: {peak / 1e9:.0f} GFLOP/s"
    yield row("inner layer", *(f"{how}, ms" for how in (*EAGER, "cpu")), "faster than", "limit")
    for kind in KINDS:
        layer = Layer(kind, Shape(tokens=options.tokens))
        for backward in (False, True):
            *loops, cpu = compare(
                [
                    lambda how=how: layer.run(how, backward=backward)  # noqa: B023 - called at once
                    for how in (*EAGER, "cpu")
                ],
                options.rounds,
            )
            limit = loops[-1].median / (1e3 * layer.flops() * (4 if backward else 1) / peak)
            name = f"{kind}, forward{' + backward' if backward else ''}"
            faster = ", ".join(f"{loop.median / cpu.median:.1f}x" for loop in loops)
            yield row(name, *loops, cpu, faster, f"{limit:.1f}x")


def memory_table(options: argparse.Namespace) -> Iterator[str]:
    """Peak memory of forward + backward of one layer over what its arguments take."""
    yield row("inner layer", "how", "interval", "peak, MB", "ms")
    for kind in KINDS:
        cases = [("eager", None), *(("cpu", each) for each in (None, 1, 4, 16, 64))]
        for how, interval in cases:
            layer = Layer(kind, Shape(tokens=options.tokens))
            [spread] = compare(
                [lambda: layer.run(how, backward=True, interval=interval)],  # noqa: B023
                max(1, options.rounds // 2),
            )
            peak = in_another_process("peak", kind, how, str(interval), str(options.tokens))
            yield row(kind, how, interval or "none", f"{float(peak) / 1e6:.0f}", spread)


def step_table(options: argparse.Namespace) -> Iterator[str]:
    """A training step beside the same step with q + k + v + lr for the inner loop."""
    yield row("training step", "inner loop, ms", "without, ms", "slower")
    for kind in ("linear", "mlp"):
        steps = [
            training_step(config_of(kind, options)),
            without_inner_loop(training_step(config_of(kind, options))),
        ]
        ours, bare = compare(steps, options.rounds)
        yield row(f"{options.size} {kind}, f32", ours, bare, f"{ours.median / bare.median:.2f}x")
    yield row("training step", "eager f32, ms", "cpu bf16, ms", "faster")
    for kind in ("linear", "mlp"):
        eager, low = compare(
            [
                training_step(config_of(kind, options), eager=True),
                training_step(config_of(kind, options, dtype="bf16")),
            ],
            max(2, options.rounds // 3),
        )
        yield row(f"{options.size} {kind}", eager, low, f"{eager.median / low.median:.1f}x")


def config_of(kind: str, options: argparse.Namespace, dtype: Dtype = "f32") -> RunConfig:
    """A model and its training as the command line says, a sequence at a time."""
    return model_config(kind, options.size, options.tokens, batch_size=1, dtype=dtype)


def decode_table(options: argparse.Namespace) -> Iterator[str]:
    """One token at a time, beside a pass over all weights."""
    yield row("decode", "a token, ms", "weights once, ms", "slower")
    for kind in ("linear", "mlp"):
        model = TTTModel(config_of(kind, options).model).eval()
        weights = [parameter.detach().flatten() for parameter in model.parameters()]
        prompt = torch.randint(0, 1000, (1, 32))
        with torch.inference_mode():
            _, state = model(prompt, return_state=True)

        def decode(model: TTTModel = model, state: object = state) -> None:
            with torch.inference_mode():
                for token in range(16):  # through a whole mini-batch
                    _, state = model(torch.tensor([[token]]), state=state, return_state=True)

        def read(weights: Sequence[Tensor] = weights) -> None:
            for _ in range(16):
                for weight in weights:
                    weight.sum()

        token, once = (
            Spread(*(value / 16 for value in each))
            for each in compare([decode, read], options.rounds)
        )
        yield row(f"{options.size} {kind}", token, once, f"{token.median / once.median:.2f}x")


def compile_table(options: argparse.Namespace) -> Iterator[str]:
    """The first forward and the first backward of a process: compiled, then read from the disk."""
    del options
    yield row("first call", "cold, s", "its backward, s", "warm, s", "its backward, s")
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            times = [in_another_process("first", kind, TTT_KERNELS_CACHE=folder) for _ in range(2)]
        yield row(kind, *" ".join(times).split())


def in_another_process(*words: str, **environment: str) -> str:
    """Ask a fresh process, which has the peaks and the first calls to itself."""
    command = [sys.executable, __file__, "--child", *words]
    done = subprocess.run(  # noqa: S603 - this very file
        command, capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return done.stdout


def child(
    what: str, kind: str, how: str = "cpu", interval: str = "None", tokens: str = "64"
) -> None:
    """Answer `in_another_process`."""
    torch.set_num_threads(1)
    layer = Layer(kind, Shape(tokens=int(tokens)))
    small = Layer(kind, Shape(tokens=32))
    # What torch imports at its first backward pass, and libraries, are no part of what is measured.
    small.run("eager", backward=True)
    if what == "first":
        began_s = time.process_time()
        layer.run(how, backward=False)
        read_s = time.process_time()
        layer.run(how, backward=True)
        print(f"{read_s - began_s:.2f} {time.process_time() - read_s:.2f}")
        return
    small.run(how, backward=True)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from here on
    began_bytes = memory_bytes("VmRSS")
    layer.run(how, backward=True, interval=None if interval == "None" else int(interval))
    print(memory_bytes("VmHWM") - began_bytes)


def memory_bytes(name: str) -> int:
    """The memory this process holds, `VmRSS`, or the most it has held, `VmHWM`; Linux only."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if name in line]
    return int(line.split()[1]) * 1024


def compare(runs: Sequence[Callable[[], None]], rounds: int) -> list[Spread]:
    """Time several functions in turn, after a round that does not count.

    On one thread it is the processor's time, which other programs take none of.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times: list[list[float]] = [[] for _ in runs]
    for number in range(rounds + 1):
        for run, taken in zip(runs, times, strict=True):
            began = clock()
            run()
            if number:
                taken.append(1e3 * (clock() - began))
    return [Spread(statistics.median(each), min(each), max(each)) for each in times]


def peak_flops() -> float:
    """What products of large matrices reach here, the best of several."""
    a = torch.randn(1024, 1024)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - began)
    return 2 * 1024**3 / min(times)


def row(*cells: object) -> str:
    """A line of a table."""
    return "  ".join(
        f"{cell!s:<26}" if not number else f"{cell!s:<22}" for number, cell in enumerate(cells)
    )


TABLES: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    "layer": layer_table,
    "memory": memory_table,
    "step": step_table,
    "decode": decode_table,
    "compile": compile_table,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
        sys.exit()
    sys.exit(main())
