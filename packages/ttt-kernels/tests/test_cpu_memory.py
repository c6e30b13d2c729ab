"""Memory of large results of the kernel `cpu`."""

import gc

import pytest
import torch
from torch import Tensor

from ttt_kernels.cpu import arrays
from ttt_kernels.cpu.vector import LINE_BYTES

LIKE = torch.zeros(1)
SHAPE = (1 << 20,)
"""4 MiB of float32."""


@pytest.fixture(autouse=True)
def nothing_is_kept() -> None:
    arrays._rooms.clear()


def filled(value: float, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return arrays.empty(shape, LIKE).fill_(value)


def test_memory_is_used_again_once_nobody_has_it() -> None:
    first = filled(1.0)
    place = first.data_ptr()
    view, array = first[10:20], first.numpy()
    del first
    assert filled(2.0).data_ptr() != place  # a view holds it
    del view
    assert filled(3.0).data_ptr() != place  # so does an array
    assert array.min() == array.max() == 1.0
    del array
    gc.collect()
    assert place in {each.data_ptr() for each in (filled(4.0), filled(5.0))}


def test_results_that_are_held_are_never_written_over() -> None:
    held = [filled(float(n)) for n in range(8)]
    for _ in range(3):
        filled(-1.0)
    assert [each.unique().tolist() for each in held] == [[float(n)] for n in range(8)]


def test_memory_of_another_size_is_left_alone() -> None:
    place = filled(1.0).data_ptr()
    other = filled(2.0, (1 << 21,))
    assert other.data_ptr() != place
    assert filled(3.0).data_ptr() == place


def test_no_more_is_kept_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "KEPT_BYTES", 1 << 24)
    results = [filled(0.0, (arrays.KEPT_BYTES // 16,)) for _ in range(6)]  # a quarter each
    last = results[-1].data_ptr()
    for _ in range(6):
        del results[0]
    assert sum(map(len, arrays._rooms)) <= arrays.KEPT_BYTES
    assert filled(0.0, (arrays.KEPT_BYTES // 16,)).data_ptr() == last


def test_small_results_keep_nothing() -> None:
    filled(1.0, (1000,))
    assert arrays._rooms == []


def test_results_of_any_size_start_on_the_border_of_a_line() -> None:
    results = [filled(0.0, (size,)) for size in (0, 1, 3, 1000, 1 << 19, (1 << 19) + 1, 1 << 20)]
    assert all(each.data_ptr() % LINE_BYTES == 0 for each in results if each.numel())
