"""Random numbers of torch without the global generators."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded_torch(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator inside the block and give the caller's state back after it."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would also seed the GPUs, whose state is not forked here.
        torch.default_generator.manual_seed(seed)
        yield
