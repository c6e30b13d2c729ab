"""Independent random streams out of one seed, without the global generators."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(seed: int, purpose: str) -> int:
    """Give the seed of one purpose ("parameters", "batches"), so that streams do not overlap."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch and numpy both take 63 bits


@contextmanager
def seeded_torch(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator inside the block and give the caller's state back after it."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would also seed the GPUs, whose state is not forked here.
        torch.default_generator.manual_seed(seed)
        yield
