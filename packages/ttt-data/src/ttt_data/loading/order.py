"""Which window the n-th sample of a source is."""

from functools import lru_cache

import numpy as np

from ttt_data.permutation import permute

_BLOCK = 4096


def epochs_and_windows(
    positions: np.ndarray, num_windows: int, *, seed: int, shuffle: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the epoch and the window of each sample.

    Every epoch deals every window once: in an order of its own, or always in the order of the text.

    Args:
        positions: numbers of samples, counted from 0 over all epochs, (B,) int64.
        num_windows: windows of an epoch.
        seed: of the orders.
        shuffle: false for the order of the text.
    """
    epochs, places = np.divmod(positions, num_windows)
    if not shuffle:
        return epochs, places
    windows = np.empty_like(places)
    blocks, places = np.divmod(places, _BLOCK)
    for epoch, block in set(zip(epochs.tolist(), blocks.tolist(), strict=True)):
        chosen = (epochs == epoch) & (blocks == block)
        windows[chosen] = _permuted_block(block, num_windows, seed, epoch)[places[chosen]]
    return epochs, windows


@lru_cache(maxsize=64)
def _permuted_block(block: int, num_windows: int, seed: int, epoch: int) -> np.ndarray:
    """Permute `_BLOCK` neighbours at once, which costs little more than permuting one."""
    start = block * _BLOCK
    indices = np.arange(start, min(start + _BLOCK, num_windows))
    windows = permute(indices, num_windows, seed=seed, epoch=epoch)
    windows.flags.writeable = False  # shared by all who ask
    return windows
