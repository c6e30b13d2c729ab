import tomllib

from hypothesis import given
from hypothesis import strategies as st

from ttt_config import RunConfig, diff, dump, resolve
from ttt_config.fields import Field, all_fields, flatten, nest


def values_of(field: Field) -> st.SearchStrategy[object]:
    kinds: dict[type, st.SearchStrategy[object]] = {
        bool: st.booleans(),
        int: st.integers(1, 2**31),
        float: st.floats(1e-30, 0.999),
        str: st.text(),
    }
    by_name: dict[str, st.SearchStrategy[object]] = {
        "layer_type": st.sampled_from(["linear", "4*linear,mlp", "fused-tile-multi"]),
        "num_heads": st.just(2),
        "hidden_size": st.integers(1, 64).map(lambda count: 4 * count),
    }
    values = by_name.get(field.name, kinds[field.kind])
    if field.choices:
        values = st.sampled_from(field.choices)
    return values | st.none() if field.optional else values


configs = st.fixed_dictionaries({field.path: values_of(field) for field in all_fields()}).map(
    lambda flat: resolve(("test", nest(flat))).config
)


def read(text: str) -> RunConfig:
    return resolve(("dump", tomllib.loads(text))).config


@given(configs)
def test_dump_reads_back_equal(config: RunConfig) -> None:
    assert read(dump(config)) == config


@given(configs, configs)
def test_diff_lists_exactly_the_fields_that_differ(a: RunConfig, b: RunConfig) -> None:
    left, right = flatten(a), flatten(b)
    assert {found.path for found in diff(a, b)} == {p for p in left if left[p] != right[p]}
    assert diff(a, a) == []


def test_diff_gives_both_values() -> None:
    changed = resolve(("test", {"lr": 0.5, "vocab_size": 9})).config
    assert diff(RunConfig(), changed) == [("model.vocab_size", None, 9), ("train.lr", 0.003, 0.5)]


def test_dump_of_a_preset_does_not_depend_on_the_preset() -> None:
    config = resolve(("test", {"size": "350m", "backbone": "mamba"})).config
    assert tomllib.loads(dump(config))["model"]["hidden_size"] == 1024
    assert read(dump(config)) == config
