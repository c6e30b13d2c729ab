from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt_config import ConfigError, IncompatibleError, InvalidValueError, UnknownFieldError
from ttt_config.fields import all_fields
from ttt_harness.plan import Plan, load_plan
from ttt_harness.sweep import expand

PlanOf = Callable[[str], Plan]


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    def load(text: str) -> Plan:
        path = tmp_path / "harness.toml"
        path.write_text(text)
        return load_plan(path)

    return load


def test_runs_have_the_defaults_under_what_they_say_themselves(plan_of: PlanOf) -> None:
    plan = plan_of("""
        [defaults]
        size = "60m"
        lr = 0.01
        [[runs]]
        name = "a"
        [[runs]]
        name = "b"
        lr = 0.02
        num_layers = 2
        [runs.train]
        steps = 7
    """)
    a, b = (run.config for run in plan.runs)
    assert (a.model.hidden_size, a.model.num_layers, a.train.lr) == (512, 6, 0.01)
    assert (b.model.num_layers, b.train.lr, b.train.steps) == (2, 0.02, 7)
    assert (a.out, b.out) == ("runs/a", "runs/b")


def test_the_keys_of_ttt_rs_are_understood_stale_ones_too(plan_of: PlanOf) -> None:
    plan = plan_of("""
        [harness]
        total_vram_gb = 192.0
        vram_margin = 0.05
        on_failure = "skip"
        max_retries = 5
        state_file = "./state.json"
        rust_log = "info"
        hang_timeout_secs = 600
        idle_timeout_secs = 300
        settle_grace_secs = 10
        [harness.runpod]
        enabled = false
        [defaults]
        out_prefix = "artifacts"
        workers = 2
        threads = 64
        tokenizer = "bytes"
        [[runs]]
        name = "a"
        inner = "fused-tile-multi"
        seq_len = 256
        ttt_base_lr = 0.5
        mlp_expansion = 2
        mini_batch = 8
        batch = 4
        grad_accum = 2
        samples = 100
        epochs = 3
        test_samples = 10
        seed = 7
        [[runs]]
        name = "b"
        out = "elsewhere"
    """)
    settings = plan.settings
    assert (settings.hang_timeout_s, settings.idle_timeout_s) == (600, 300)
    assert (settings.settle_grace_s, settings.vram_margin) == (10, 0.05)
    a, b = (run.config for run in plan.runs)
    assert a.model.layer_type == "fused-tile-multi-linear"
    assert (a.model.max_seq_len, a.model.inner.base_lr) == (256, 0.5)
    assert (a.model.inner.expansion_factor, a.model.inner.mini_batch_size) == (2, 8)
    assert (a.train.batch_size, a.train.grad_accum_steps, a.train.epochs) == (4, 2, 3)
    assert (a.out, b.out) == ("artifacts/a", "elsewhere")
    assert [note.split()[0] for note in plan.notes] == ["rust_log", "workers", "threads"]


def test_every_field_of_the_trainer_can_be_set(plan_of: PlanOf) -> None:
    for field in all_fields():
        if field.default is None or isinstance(field.default, bool | str):
            continue
        plan = plan_of(f'[[runs]]\nname = "a"\n{field.name} = {field.default}')
        assert len(plan.runs) == 1


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("[harnes]", UnknownFieldError, "unknown table `harnes` .* did you mean `harness`"),
        ("[harness]\nmax_retrys = 2", UnknownFieldError, "line 2.*did you mean `max_retries`"),
        ("[harness]\nmax_retries = -1", InvalidValueError, "`max_retries` .*line 2.* >= 0"),
        (
            '[defaults]\nsede = 1\n[[runs]]\nname = "a"',
            UnknownFieldError,
            "`sede` .*line 2.*did you mean `train.seed`",
        ),
        ('[[runs]]\nname = "a"\nlern = 1', UnknownFieldError, "line 3"),
        ('[[runs]]\nname = "../a"', InvalidValueError, "expected letters, digits"),
        ("[[runs]]\nlr = 0.1", InvalidValueError, r"\[\[runs\]\] .*line 1.*`name` is missing"),
        ("[[runs]]\nname = 3", InvalidValueError, "expected a string"),
        ("[runs]\na = 1", InvalidValueError, r"expected tables \[\[runs\]\]"),
        ("", ConfigError, "no run in it"),
        ('[[runs]]\nname = "a"\n[[runs]]\nname = "a"', ConfigError, "two runs are called `a`"),
        (
            '[[runs]]\nname = "a"\n[[runs]]\nname = "b"\nout = "runs/a"',
            IncompatibleError,
            "`a` and `b` write the same directory",
        ),
        ('[[runs]]\nname = "a"\nafter = ["c"]', IncompatibleError, "names `c`, which is no run"),
        (
            '[[runs]]\nname = "a"\nafter = ["b"]\n[[runs]]\nname = "b"\nafter = ["a"]',
            IncompatibleError,
            "circle: a -> b -> a",
        ),
        ('[[runs]]\nname = "a"\nhidden_size = 30', IncompatibleError, "run `a`: .*num_heads"),
        ('[[sweep]]\nname = "a"\nlr = 0.1', InvalidValueError, "no list of values"),
        ('[[sweep]]\nname = "a"\nlr = []', InvalidValueError, "`lr` is empty"),
        ('[[sweep]]\nname = "{x}"\nlr = [0.1]', InvalidValueError, "the lists are lr"),
        ('[[sweep]]\nname = "a{seed}"\nlr = [0.1, 0.2]\nseed = [1]', InvalidValueError, "`a1`"),
        (
            '[[sweep]]\nname = "a"\nmode = "list"\nlr = [0.1, 0.2]\nseed = [1]',
            InvalidValueError,
            "`lr` has 2, `seed` has 1",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    plan_of: PlanOf, text: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        plan_of(text)


def test_all_problems_are_said_at_once_and_those_of_the_defaults_once(plan_of: PlanOf) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of("""
            [harness]
            max_retrys = 1
            [defaults]
            lern = 3
            [[runs]]
            name = "a"
            [[runs]]
            name = "b"
            seed = "x"
        """)
    assert len(caught.value.issues) == 3


def test_a_grid_is_every_combination(plan_of: PlanOf) -> None:
    plan = plan_of("""
        [[sweep]]
        name = "lr{lr}-{layer_type}"
        lr = [0.001, 0.01]
        layer_type = ["linear", "4*linear,mlp"]
        after = []
    """)
    assert [run.name for run in plan.runs] == [
        "lr0.001-linear",
        "lr0.001-4-linear-mlp",
        "lr0.01-linear",
        "lr0.01-4-linear-mlp",
    ]
    assert [run.config.train.lr for run in plan.runs] == [0.001, 0.001, 0.01, 0.01]


def test_lists_side_by_side(plan_of: PlanOf) -> None:
    plan = plan_of("""
        [[sweep]]
        name = "s"
        mode = "list"
        hidden_size = [32, 64]
        num_heads = [1, 2]
        [sweep.model.inner]
        base_lr = [0.5, 1.0]
    """)
    assert [run.name for run in plan.runs] == [
        "s-hidden_size32-num_heads1-base_lr0.5",
        "s-hidden_size64-num_heads2-base_lr1.0",
    ]
    assert [run.config.model.inner.base_lr for run in plan.runs] == [0.5, 1.0]


@given(
    st.dictionaries(
        st.sampled_from(["lr", "seed", "steps", "batch"]),
        st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True),
        min_size=1,
    )
)
def test_a_grid_has_the_product_of_its_lists_and_no_run_twice(axes: dict[str, list[int]]) -> None:
    points = expand("s", axes, "grid", "here")
    count = 1
    for values in axes.values():
        count *= len(values)
    assert len({point.name for point in points}) == len(points) == count
    assert all(point.values[key] in values for point in points for key, values in axes.items())
