import pytest

from ttt_config import (
    IncompatibleError,
    InnerConfig,
    InvalidValueError,
    ModelConfig,
    UnknownFieldError,
    preset,
)
from ttt_config.model import SIZES, Size


def test_defaults_are_the_smallest_size() -> None:
    assert ModelConfig() == preset("12m")


@pytest.mark.parametrize("size", SIZES)
def test_preset_fills_the_shape_of_its_size(size: Size) -> None:
    model = preset(size)
    got = (model.hidden_size, model.num_layers, model.num_heads, model.intermediate_size)
    assert got == SIZES[size]
    assert model.size == size


def test_head_dims_are_those_of_the_published_models() -> None:
    dims = {size: preset(size).head_dim for size in SIZES}
    assert dims == {size: {"125m-h32": 32, "760m": 96}.get(size, 64) for size in SIZES}


def test_preset_accepts_the_name_used_in_the_paper_and_capitals() -> None:
    assert preset("1.3B") == preset("1b")


def test_preset_overrides_are_kept_and_checked() -> None:
    model = preset("60m", num_layers=2, inner=InnerConfig(mini_batch_size=4))
    assert (model.num_layers, model.hidden_size, model.inner.mini_batch_size) == (2, 512, 4)
    with pytest.raises(InvalidValueError, match=r"`model.num_layers` .*expected an integer >= 1"):
        preset("60m", num_layers=0)
    with pytest.raises(UnknownFieldError, match=r"did you mean `model\.num_layers`"):
        preset("60m", num_layer=3)


def test_unknown_size_lists_the_sizes() -> None:
    with pytest.raises(InvalidValueError, match=r"expected one of 12m, 60m, .*, got `2b`"):
        preset("2b")


def test_mamba_backbone_fills_what_is_not_given() -> None:
    model = preset("12m", backbone="mamba", use_gate=False)
    assert (model.pre_conv, model.share_qk, model.use_gate) == (True, True, False)


def test_heads_must_divide_the_width_also_in_the_constructor() -> None:
    with pytest.raises(IncompatibleError, match="num_heads 3 and hidden_size 256"):
        ModelConfig(num_heads=3)


@pytest.mark.parametrize("encoding", ["rope", "rope-global"])
def test_rotary_positions_need_an_even_head_dim(encoding: str) -> None:
    with pytest.raises(IncompatibleError, match="even head_dim"):
        preset("12m", hidden_size=12, num_heads=4, pos_encoding=encoding)
    odd = preset("12m", hidden_size=12, num_heads=4, pos_encoding="none")
    assert odd.head_dim == 3


def test_mix_is_the_parsed_layer_type() -> None:
    assert str(ModelConfig(layer_type="mlp,mlp").mix) == "2*mlp"
