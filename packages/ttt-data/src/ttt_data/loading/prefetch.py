"""Batches made ahead of time."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from typing import Protocol

from ttt_data.loading.batch import Batch


class _HasBatches(Protocol):
    def batch(self, step: int) -> Batch: ...


def prefetch(loader: _HasBatches, start_step: int = 0, depth: int = 2) -> Generator[Batch]:
    """Yield the batches of all steps from `start_step` on, without end.

    One thread makes them, from when the first one is asked for; reading a memory map and copying
    arrays leave the interpreter free for the training loop. Use it as

        with contextlib.closing(prefetch(loader, step)) as batches:
            for batch in batches: ...

    Closing the iterator stops the thread after the batch it is at; so does dropping the iterator.

    Args:
        loader: a `Loader`.
        start_step: the first step, counted from 0.
        depth: batches that are kept ready. The batches are the same for every depth; 0 makes each
            when it is asked for, without a thread.

    Raises:
        ValueError: a number is negative.
        Exception: whatever `loader.batch` raised in the thread, when that batch is asked for.
    """
    if start_step < 0 or depth < 0:
        raise ValueError(f"start_step and depth must not be negative: {start_step}, {depth}")
    return _ahead(loader, start_step, depth) if depth else _inline(loader, start_step)


def _inline(loader: _HasBatches, start_step: int) -> Generator[Batch]:
    for step in count(start_step):
        yield loader.batch(step)


def _ahead(loader: _HasBatches, start_step: int, depth: int) -> Generator[Batch]:
    steps = count(start_step)
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ttt-prefetch")
    try:
        pending = deque(worker.submit(loader.batch, step) for step in islice(steps, depth))
        while True:
            batch = pending.popleft().result()
            pending.append(worker.submit(loader.batch, next(steps)))
            yield batch
    finally:
        worker.shutdown(cancel_futures=True)
