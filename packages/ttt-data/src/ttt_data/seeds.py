"""Independent random streams out of one seed."""

import hashlib


def derive_seed(seed: int, purpose: str) -> int:
    """Return the seed of one purpose ("parameters", "batches"), so that streams do not overlap."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch and numpy both take 63 bits
