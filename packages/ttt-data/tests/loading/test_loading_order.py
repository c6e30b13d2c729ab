import numpy as np
import pytest

from ttt_data.loading.order import epochs_and_windows
from ttt_data.permutation import permute


@pytest.mark.parametrize("num_windows", [1, 7, 4096, 10_000])
def test_samples_run_through_the_permutations_of_the_epochs(num_windows: int) -> None:
    places = np.random.default_rng(0).integers(0, 3 * num_windows, 200)
    epochs, windows = epochs_and_windows(places, num_windows, seed=5, shuffle=True)
    assert epochs.tolist() == (places // num_windows).tolist()
    for epoch in range(3):
        chosen = epochs == epoch
        expected = permute(places[chosen] % num_windows, num_windows, seed=5, epoch=epoch)
        assert windows[chosen].tolist() == expected.tolist()


def test_without_shuffling_windows_come_as_they_are() -> None:
    epochs, windows = epochs_and_windows(np.arange(5, 9), 3, seed=5, shuffle=False)
    assert epochs.tolist() == [1, 2, 2, 2]
    assert windows.tolist() == [2, 0, 1, 2]
