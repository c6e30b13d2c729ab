"""Work shared by threads of our own: as many as torch is told to use, in any process."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import torch


def share(work: Callable[[int, int], None], count: int) -> None:
    """Call `work(first, last)` for parts that together are 0 to `count`, in threads.

    What it calls has to release the interpreter's lock. The parts are as equal as they can be.
    """
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        work(0, count)
        return
    borders = [count * part // threads for part in range(threads + 1)]
    pool = _pool(os.getpid(), threads)
    for done in [pool.submit(work, *part) for part in pairwise(borders)]:
        done.result()


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """One pool for each process: threads do not live on in a fork."""
    del process
    return ThreadPoolExecutor(threads, thread_name_prefix="ttt-kernel")
