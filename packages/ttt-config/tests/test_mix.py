from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt_config import InvalidValueError, MixPattern
from ttt_config.inner import KernelName
from ttt_config.mix import InnerKind, LayerSpec

FUSED: dict[str, KernelName] = {
    "fused-naive-linear": "naive",
    "fused-naive-multi-linear": "naive-multi",
    "fused-tile-linear": "tile",
    "fused-tile-multi-linear": "tile-multi",
    "d2d-streaming-linear": "d2d-streaming",
    "ptr-streaming-linear": "ptr-streaming",
}
NAMES = [*get_args(InnerKind), *FUSED]

parts = st.tuples(st.integers(0, 5), st.sampled_from(NAMES))
pattern_lists = st.lists(parts, min_size=1, max_size=6).filter(
    lambda found: any(count for count, _ in found)
)


def spell(found: list[tuple[int, str]]) -> str:
    return ",".join(f"{count}*{name}" for count, name in found)


@given(pattern_lists)
def test_canonical_spelling_parses_back_to_the_same_layers(found: list[tuple[int, str]]) -> None:
    pattern = MixPattern.parse(spell(found))
    expanded = [MixPattern.parse(name).layer(0) for count, name in found for _ in range(count)]
    assert MixPattern.parse(str(pattern)) == pattern
    assert [pattern.layer(index) for index in range(len(pattern))] == expanded


@given(pattern_lists)
def test_canonical_spelling_is_the_shortest_run_length_code(found: list[tuple[int, str]]) -> None:
    runs = MixPattern.parse(spell(found)).runs
    assert all(left[1] != right[1] for left, right in pairwise(runs))


def test_pattern_repeats_over_the_layers() -> None:
    pattern = MixPattern.parse("4*linear,mlp")
    kinds = [pattern.layer(index).kind for index in range(11)]
    assert kinds == ["linear"] * 4 + ["mlp"] + ["linear"] * 4 + ["mlp", "linear"]


def test_case_spaces_empty_parts_and_zero_counts_do_not_matter() -> None:
    assert str(MixPattern.parse(" 2 * Linear,, LINEAR , 0*mlp, MLP2,")) == "3*linear,mlp2"


@pytest.mark.parametrize("name", FUSED)
def test_fused_names_are_linear_by_a_kernel(name: str) -> None:
    pattern = MixPattern.parse(name)
    assert pattern.layer(0) == LayerSpec("linear", FUSED[name])
    assert str(pattern) == name
    assert MixPattern.parse(name.removesuffix("-linear")) == pattern


@pytest.mark.parametrize("name", ["fused", "fused-linear"])
def test_bare_fused_is_the_naive_kernel(name: str) -> None:
    assert str(MixPattern.parse(name)) == "fused-naive-linear"


@pytest.mark.parametrize("multiplier", ["x", "", "-1", "2.5", "1_0", "9" * 5000])
def test_bad_multiplier_is_named(multiplier: str) -> None:
    with pytest.raises(InvalidValueError, match=f"invalid multiplier '{multiplier}' in"):
        MixPattern.parse(f"mlp,{multiplier}*linear")


def test_unknown_type_suggests_the_nearest() -> None:
    with pytest.raises(InvalidValueError, match="unknown layer type 'lnear', did you mean `lin"):
        MixPattern.parse("lnear")


def test_unknown_type_without_a_neighbour_lists_all() -> None:
    with pytest.raises(InvalidValueError, match="expected one of linear, linear-adam, mlp,"):
        MixPattern.parse("attention")


@pytest.mark.parametrize("text", ["", " , ", "0*linear"])
def test_pattern_without_a_layer_is_empty(text: str) -> None:
    with pytest.raises(InvalidValueError, match="empty mix pattern"):
        MixPattern.parse(text)
