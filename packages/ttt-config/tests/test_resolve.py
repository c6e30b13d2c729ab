import math
import re
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_config import (
    ConfigError,
    IncompatibleError,
    InvalidValueError,
    RunConfig,
    UnknownFieldError,
    resolve,
)
from ttt_config.fields import Field, all_fields, find_field, nest

keys = st.sampled_from([key for field in all_fields() for key in field.keys]) | st.text(max_size=9)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())
tables = st.recursive(
    leaves,
    lambda inner: st.dictionaries(keys | st.sampled_from(["model", "train"]), inner, max_size=3),
    max_leaves=6,
)


def test_nothing_given_is_all_defaults() -> None:
    resolved = resolve()
    assert resolved.config == RunConfig()
    assert set(resolved.provenance) == {field.path for field in all_fields()}
    assert set(resolved.provenance.values()) == {"default"}


def test_later_layers_win_and_are_named() -> None:
    config, provenance = resolve(
        ("file demo.toml", {"train": {"lr": 1e-3, "steps": 5, "seed": 1}}),
        ("--lr", {"train": {"lr": 2e-3}}),
        ("--set", {"train": {"seed": 2}}),
    )
    assert (config.train.lr, config.train.steps, config.train.seed) == (2e-3, 5, 2)
    labels = [provenance[f"train.{name}"] for name in ("lr", "steps", "seed", "beta1")]
    assert labels == ["--lr", "file demo.toml", "--set", "default"]


def test_preset_yields_to_explicit_values_of_its_own_layer_and_above() -> None:
    config, provenance = resolve(
        ("file demo.toml", {"model": {"num_layers": 3, "num_heads": 2}}),
        ("--size", {"model": {"size": "125m"}}),
        ("--backbone", {"model": {"backbone": "mamba"}}),
        ("--set", {"model": {"num_heads": 6}}),
    )
    assert (config.model.hidden_size, config.model.num_layers) == (768, 12)
    assert config.model.num_heads == 6
    assert provenance["model.num_layers"] == "size 125m"
    assert provenance["model.num_heads"] == "--set"
    assert provenance["model.share_qk"] == "backbone mamba"
    same_layer = resolve(("file demo.toml", {"model": {"size": "125m", "num_layers": 3}})).config
    assert (same_layer.model.hidden_size, same_layer.model.num_layers) == (768, 3)


def test_backbone_given_later_turns_an_earlier_one_off() -> None:
    config = resolve(
        ("file", {"backbone": "mamba"}), ("--backbone", {"backbone": "transformer"})
    ).config
    model = config.model
    assert [model.pre_conv, model.share_qk, model.use_gate] == [False] * 3


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        ("seq_len", 64, "model.max_seq_len"),
        ("ttt_base_lr", 0.5, "model.inner.base_lr"),
        ("mini_batch", 8, "model.inner.mini_batch_size"),
        ("mlp_expansion", 2, "model.inner.expansion_factor"),
        ("mlp_expansion_factor", 2, "model.inner.expansion_factor"),
        ("epsilon", 0.1, "model.inner.eps"),
        ("conv_before_ttt", True, "model.pre_conv"),
        ("conv_kernel_size", 3, "model.conv_kernel"),
        ("tie_word_embeddings", False, "model.tie_embeddings"),
        ("initializer_range", 0.1, "model.init_std"),
        ("batch", 3, "train.batch_size"),
        ("grad_clip_norm", 0.5, "train.max_grad_norm"),
        ("inner", "mlp", "model.layer_type"),
        ("lr", 0.5, "train.lr"),
    ],
)
def test_flat_spellings_are_found_at_the_root_and_in_any_table(
    key: str, value: object, path: str
) -> None:
    expected = resolve(("test", nest({path: value}))).config
    assert expected != RunConfig()
    assert resolve(("test", {key: value})).config == expected
    assert resolve(("test", {"data": {key: value}})).config == expected
    assert resolve(("test", {"model": {key: value}})).config == expected


def test_inner_is_a_table_or_an_old_name_of_the_layer_type() -> None:
    assert resolve(("test", {"model": {"inner": "fused"}})).config.model.layer_type == (
        "fused-naive-linear"
    )
    assert resolve(("test", {"inner": {"base_lr": 0.5}})).config.model.inner.base_lr == 0.5


@pytest.mark.parametrize(
    ("path", "spelled", "canonical"),
    [
        ("model.size", "125M", "125m"),
        ("model.size", "1.3b", "1b"),
        ("model.layer_type", "MLP, mlp", "2*mlp"),
        ("train.dtype", "bfloat16", "bf16"),
        ("train.dtype", "float32", "f32"),
    ],
)
def test_values_become_canonical(path: str, spelled: str, canonical: str) -> None:
    assert resolve(("test", nest({path: spelled}))) == resolve(("test", nest({path: canonical})))


def test_unknown_field_says_where_and_what_was_meant() -> None:
    message = "unknown field `train.warmup_stpes` (file a.toml); did you mean `train.warmup_steps`?"
    with pytest.raises(UnknownFieldError, match=re.escape(message)):
        resolve(("file a.toml", {"train": {"warmup_stpes": 3}}))


def test_suggestion_knows_aliases_and_tables() -> None:
    with pytest.raises(UnknownFieldError, match=r"did you mean `model\.max_seq_len`"):
        resolve(("test", {"seq_lenn": 3}))
    with pytest.raises(UnknownFieldError, match=r"did you mean `model\.inner\.kernel`"):
        resolve(("test", {"model": {"inner": {"kernl": 3}}}))


def test_unknown_table_is_an_unknown_field() -> None:
    with pytest.raises(UnknownFieldError, match=r"`trian` .*; did you mean `train`"):
        resolve(("test", {"trian": {"lr": 1.0}}))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("train.steps", 0, "`train.steps` (test): expected an integer >= 1, got `0`"),
        ("train.steps", 1.5, "expected an integer >= 1, got `1.5`"),
        ("train.steps", True, "expected an integer >= 1, got true"),
        ("train.steps", "5", "expected an integer >= 1, got `5`"),
        ("train.beta1", 1, "expected a number >= 0, < 1, got `1`"),
        ("train.lr", math.inf, "expected a number > 0, got `inf`"),
        ("train.lr", math.nan, "expected a number > 0, got `nan`"),
        ("train.seed", 2**63, "expected an integer >= 0, <= 9223372036854775807, got `922"),
        ("model.use_gate", 1, "expected true or false, got `1`"),
        ("model.vocab_size", 0, "expected an integer >= 1 or none, got `0`"),
        ("model.pos_encoding", "ropes", "absolute, got `ropes`; did you mean `rope`?"),
        ("model.layer_type", "mlq", "unknown layer type 'mlq', did you mean `mlp`?"),
        ("out", ["a\nb"], r"expected a string, got `['a\nb']`"),
        ("train.dtype", "x" * 99, f"got `{'x' * 60}...`"),
        ("a\nb", 3, r"unknown field `'a\nb'`"),
        ("train", 3, "`train` (test): expected a table, got `3`"),
        ("out.deep", 3, "expected a string, got a table"),
    ],
)
def test_wrong_value_says_expected_and_got(path: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        resolve(("test", nest({path: value})))
    assert "\n" not in str(caught.value)


def test_all_problems_of_all_layers_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(
            ("file a.toml", {"train": {"steps": 0, "lrr": 1}, "size": "big"}),
            ("--lr", {"train": {"lr": "fast"}}),
        )
    assert [type(issue) for issue in caught.value.issues] == [
        InvalidValueError,
        UnknownFieldError,
        InvalidValueError,
        InvalidValueError,
    ]
    assert str(caught.value).count("\n") == 3


def test_one_field_by_two_spellings_in_one_layer_is_refused() -> None:
    layer = {"seq_len": 64, "model": {"max_seq_len": 128}}
    message = "`model.max_seq_len` (test) and `seq_len` both set `model.max_seq_len`; keep one"
    with pytest.raises(InvalidValueError, match=re.escape(message)):
        resolve(("test", layer))


def test_one_field_by_two_spellings_in_two_layers_is_an_override() -> None:
    config = resolve(("a", {"seq_len": 64}), ("b", {"model": {"max_seq_len": 128}})).config
    assert config.model.max_seq_len == 128


def test_values_that_contradict_each_other_name_their_table() -> None:
    with pytest.raises(IncompatibleError, match=r"^`model`: num_heads must divide hidden_size"):
        resolve(("test", {"model": {"num_heads": 7}}))


def test_every_spelling_means_one_field_everywhere() -> None:
    for field in all_fields():
        for key in field.keys:
            assert find_field("", key) == field
            assert find_field("train", key) == field


def test_every_flag_is_one_fields() -> None:
    flags = [flag for field in all_fields() for flag in field.flags]
    assert len(flags) == len(set(flags))
    common = {"--config", "--set", "--json", "--quiet", "--debug", "--help"}
    assert not common & set(flags)


@settings(max_examples=40)
@given(st.dictionaries(keys, tables, max_size=4))
def test_any_tables_resolve_or_are_refused_line_by_line(values: dict[str, object]) -> None:
    lines: list[str] = []
    issues: tuple[ConfigError, ...] = ()
    try:
        resolve(("test", values))
    except ConfigError as error:
        lines, issues = str(error).splitlines(), error.issues
    assert len(lines) == len(issues)


def test_resolve_leaves_its_layers_alone() -> None:
    values = types.MappingProxyType({"model": types.MappingProxyType({"size": "60M"})})
    assert resolve(("test", values)).config.model.size == "60m"


def default_of(field: Field) -> object:
    config: object = RunConfig()
    for name in field.path.split("."):
        config = getattr(config, name)
    return config


def test_fields_know_the_defaults() -> None:
    assert all(field.default == default_of(field) for field in all_fields())
