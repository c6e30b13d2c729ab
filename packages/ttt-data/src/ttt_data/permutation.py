"""A shuffle that needs no memory: the keyed permutation of [0, n), one index at a time.

A Feistel network is a bijection whatever its round function does. It works on numbers of 2h bits,
so the domain is the smallest power of four that holds n; an image that falls outside [0, n) is sent
through again until it falls inside ("cycle walking", on average fewer than four times), which keeps
the map a bijection of [0, n).
"""

import hashlib

import numpy as np

NUM_ROUNDS = 6


def permute(indices: np.ndarray | int, size: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return where each index goes under the permutation of [0, size) of this seed and epoch.

    Args:
        indices: any shape, each in [0, size).
        size: number of elements, from 1 to 2**62.
        seed: one order of all epochs.
        epoch: every epoch has an order of its own.

    Returns:
        Same shape as `indices`, int64. As the indices run over [0, size), so do the values, once.
    """
    values = np.asarray(indices, dtype=np.uint64)
    if not 0 < size <= 1 << 62:
        raise ValueError(f"size must be from 1 to 2**62, got {size}")
    if values.size and int(values.max()) >= size:
        raise ValueError(f"index {int(values.max())} is outside [0, {size})")
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    keys = _round_keys(seed, epoch)
    values = _feistel(values, half_bits, keys)
    outside = values >= size
    while outside.any():
        values = np.where(outside, _feistel(values, half_bits, keys), values)
        outside = values >= size
    return values.astype(np.int64)


def _round_keys(seed: int, epoch: int) -> np.ndarray:
    digest = hashlib.sha512(f"permutation/{seed}/{epoch}".encode()).digest()
    return np.frombuffer(digest, dtype="<u8")[:NUM_ROUNDS].astype(np.uint64)


def _feistel(values: np.ndarray, half_bits: int, keys: np.ndarray) -> np.ndarray:
    """Apply the network to numbers below 4**half_bits."""
    shift = np.uint64(half_bits)
    mask = np.uint64((1 << half_bits) - 1)
    left, right = values >> shift, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << shift) | right


def _mix(values: np.ndarray) -> np.ndarray:
    """Scramble 64-bit words: multiply and shift until every bit depends on every other."""
    with np.errstate(over="ignore"):  # wrapping around is the point
        values = (values ^ (values >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
        values = (values ^ (values >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return values ^ (values >> np.uint64(32))
