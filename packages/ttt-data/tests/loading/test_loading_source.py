import numpy as np

from ttt_data.loading.source import array_source, borders_of


def test_an_array_is_one_document() -> None:
    source = array_source(np.arange(7, dtype=np.uint32))
    assert borders_of(source).tolist() == [0, 7]
    assert source.take(np.array([[6, 0]])).tolist() == [[6, 0]]


def test_empty_documents_have_no_borders() -> None:
    source = array_source(np.arange(5), np.array([0, 0, 2, 2, 5, 5]))
    assert borders_of(source).tolist() == [0, 2, 5]
