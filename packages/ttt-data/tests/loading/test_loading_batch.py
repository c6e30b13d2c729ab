import numpy as np
import pytest

from ttt_data.loading.batch import Batch

INPUTS = np.arange(24).reshape(6, 4)
FULL = Batch(INPUTS, INPUTS + 1, np.zeros((6, 4), dtype=np.int32), INPUTS % 4 == 0)


def test_rows_are_split_without_a_copy() -> None:
    parts = FULL.split(3)
    assert [part.inputs.tolist() for part in parts] == [
        INPUTS[i : i + 2].tolist() for i in (0, 2, 4)
    ]
    for part in parts:
        for ours, whole in zip(part, FULL, strict=True):
            assert ours is not None
            assert np.shares_memory(ours, whole)
            assert ours.shape == (2, 4)


def test_splitting_and_concatenating_give_the_batch_again() -> None:
    for batch in (FULL, Batch(INPUTS, INPUTS + 1)):
        again = Batch.concatenate(batch.split(2))
        for ours, whole in zip(again, batch, strict=True):
            assert ours is whole if ours is None or whole is None else np.array_equal(ours, whole)


def test_rows_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(ValueError, match="6 rows cannot be cut into 4 equal parts"):
        FULL.split(4)
