"""Measure the data engine beside Hugging Face tokenizers and datasets, on one text, in one run.

Every figure is the median of interleaved rounds, with the smallest and the largest in brackets. CPU
seconds count every process and thread. `datasets` is measured where it is installed.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ttt_data import Loader, Tokenizer, TokenStore, chronicles, pretokenize
from ttt_data.encoding import Encoder
from ttt_data.readers import open_source
from ttt_data.store import TokenSplit, export_split
from ttt_data.train_tokenizer import train_bpe

BATCHES = 200
SHAPE = (8, 2048)
"""Rows and tokens of the batches that are sampled."""

_PREPARE_AND_WEIGH = """
import resource, sys, time
from ttt_data import pretokenize
from ttt_data.readers import open_source

if __name__ == "__main__":
    began_s = time.perf_counter()
    source = open_source(sys.argv[1], test_fraction=0, val_fraction=0.01)
    pretokenize([source], sys.argv[2], tokenizer="bpe-4096", workers=2)
    wall_s = time.perf_counter() - began_s
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    print(wall_s, cpu_s, *(usage.ru_maxrss * 1024 for usage in usages))
"""


class Cost(NamedTuple):
    """What one round of a task took."""

    wall_s: float
    cpu_s: float


class Task(NamedTuple):
    """Something to measure."""

    name: str
    amount: float
    """Megabytes of text, or millions of tokens."""
    unit: str
    run: Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, help="JSON lines to use (default: chronicles)")
    parser.add_argument("--megabytes", type=float, default=16, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument(
        "--gigabyte",
        action="store_true",
        help="instead: prepare 1 GB of JSON lines with 2 workers and report the peak memory",
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.gigabyte:
            print(weigh(write_rows(folder / "text.jsonl", repeated(), 1000), folder / "store"))
            return 0
        path = options.text or write_rows(folder / "text.jsonl", stories(), options.megabytes)
        print(f"{path.name}, {path.stat().st_size / 1e6:.1f} MB; {machine()}\n")
        print(report(tasks(path, folder), options.rounds))
    if find_spec("datasets") is None:
        print("\n`datasets` is not installed: pip install datasets, to have it in the table")
    return 0


def tasks(path: Path, folder: Path) -> list[Task]:
    """Return what is measured, each twice the same when it is run twice."""
    texts = [json.loads(line)["text"] for line in path.read_text("utf-8").splitlines()]
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    tokenizer = Tokenizer.load("bpe-4096")
    encoder = Encoder.choose(tokenizer, texts)
    stores = (folder / f"store-{number}" for number in count())

    def prepare(workers: int) -> Path:
        store = next(stores)
        source = open_source(path, val_fraction=0, test_fraction=0)
        pretokenize([source], store, tokenizer=tokenizer, workers=workers)
        return store

    def work(name: str, run: Callable[[], object]) -> Task:
        return Task(name, megabytes, "MB", run)

    split = TokenStore.open(prepare(1)).split("train")
    found = [
        work("train BPE-4096", lambda: train_bpe(texts, 4096, name="bench")),
        work("encode, tokenizers", lambda: tokenizer.encode_batch(texts)),
        work(f"encode, ours ({encoder.path})", lambda: encoder.encode_batch(texts)),
        work("prepare, 1 worker", lambda: prepare(1)),
        work("prepare, 2 workers", lambda: prepare(2)),
    ]
    if find_spec("datasets") is not None:
        found.append(work("prepare, datasets", lambda: map_datasets(path, tokenizer, folder)))
    return found + sampling_tasks(split, folder)


def sampling_tasks(split: TokenSplit, folder: Path) -> list[Task]:
    """Return tasks that read `BATCHES` batches of `SHAPE`."""
    rows, length = SHAPE
    raw = folder / "train.bin"
    export_split(split, raw, "nanogpt")
    loader = Loader(split, seq_len=length, global_batch_size=rows, seed=0)
    documents = Loader(split, seq_len=length, global_batch_size=rows, seed=0, mode="docs")

    def read(source: Loader) -> None:
        for step in range(BATCHES):
            source.batch(step)

    def read_as_nanogpt() -> None:
        dice = np.random.default_rng(0)
        for _ in range(BATCHES):
            tokens = np.memmap(raw, dtype=np.uint16, mode="r")  # anew each time, as it does
            starts = dice.integers(len(tokens) - length, size=rows)
            for shift in (0, 1):
                np.stack(
                    [tokens[at + shift : at + shift + length].astype(np.int64) for at in starts]
                )

    amount = BATCHES * rows * length / 1e6
    return [
        Task("batches, ours, packed", amount, "M tokens", lambda: read(loader)),
        Task("batches, ours, docs", amount, "M tokens", lambda: read(documents)),
        Task("batches, nanoGPT's rule", amount, "M tokens", read_as_nanogpt),
    ]


def map_datasets(path: Path, tokenizer: Tokenizer, folder: Path) -> None:
    """Tokenize with Hugging Face datasets, in one process, into a cache of its own."""
    from tokenizers import Tokenizer as Backend

    datasets = import_module("datasets")  # not one of our dependencies
    datasets.disable_progress_bars()
    backend = Backend.from_str(tokenizer.to_json())

    def encode(rows: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {"ids": [each.ids for each in backend.encode_batch(rows["text"])]}

    with tempfile.TemporaryDirectory(dir=folder) as cache:
        loaded = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=cache)
        loaded.map(encode, batched=True, remove_columns=loaded.column_names)


def report(found: Sequence[Task], rounds: int) -> str:
    """Measure tasks in turn, round by round, and return the table."""
    costs: dict[str, list[Cost]] = {task.name: [] for task in found}
    for _ in range(rounds):
        for task in found:
            costs[task.name].append(measure(task.run))
    lines = ["| task | per CPU second | per second |", "|---|---|---|"]
    for task in found:
        per_cpu = [task.amount / cost.cpu_s for cost in costs[task.name]]
        per_wall = [task.amount / cost.wall_s for cost in costs[task.name]]
        lines.append(
            f"| {task.name} | {spread(per_cpu)} {task.unit} | {spread(per_wall)} {task.unit} |"
        )
    return "\n".join(lines)


def measure(run: Callable[[], object]) -> Cost:
    """Run a task once."""
    began_s, began_cpu_s = time.perf_counter(), cpu_seconds()
    run()
    return Cost(time.perf_counter() - began_s, cpu_seconds() - began_cpu_s)


def cpu_seconds() -> float:
    """Of this process and of those it has waited for."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def spread(rates: Sequence[float]) -> str:
    """Median, smallest and largest."""
    return f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"


def weigh(path: Path, store: Path) -> str:
    """Prepare a file in a process of its own and say what it took."""
    program = store.with_name("prepare.py")
    program.write_text(_PREPARE_AND_WEIGH)
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, program, path, store], capture_output=True, text=True, check=True
    )
    wall_s, cpu_s, own_bytes, worker_bytes = map(float, done.stdout.split())
    megabytes = path.stat().st_size / 1e6
    return (
        f"{megabytes:.0f} MB prepared by 2 workers in {wall_s:.0f} s, {cpu_s:.0f} CPU seconds; "
        f"peak memory {own_bytes / 1e6:.0f} MB, and {worker_bytes / 1e6:.0f} MB of a worker; "
        f"{machine()}"
    )


def write_rows(path: Path, texts: Iterator[str], megabytes: float) -> Path:
    """Write JSON lines until the file has its size."""
    with path.open("w") as file:
        while file.tell() < megabytes * 1e6:
            file.write(json.dumps({"text": next(texts)}) + "\n")
    return path


def stories() -> Iterator[str]:
    """Yield chronicles without end."""
    return (chronicles.document(index).text for index in count())


def repeated() -> Iterator[str]:
    """Yield the same thousand chronicles again and again, each time under another number."""
    texts = [chronicles.document(index).text for index in range(1000)]
    return (f"{number}. {texts[number % 1000]}" for number in count())


def machine() -> str:
    """Say what was measured on."""
    return (
        f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, "
        f"Python {platform.python_version()}"
    )


if __name__ == "__main__":
    sys.exit(main())
