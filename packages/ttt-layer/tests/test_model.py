"""Laws 3 and 4: any chunking gives the same text model, and its state is a value."""

from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from ttt_config import InnerConfig, ModelConfig
from ttt_config.errors import (
    CheckpointError,
    CheckpointMismatchError,
    IncompatibleError,
    InvalidValueError,
)
from ttt_config.mix import InnerKind
from ttt_config.model import SIZES, PosEncoding, Size
from ttt_layer import ModelState, TTTModel, record_inner_traces

KINDS: tuple[InnerKind, ...] = get_args(InnerKind)


def tiny(**changes: Any) -> ModelConfig:
    inner = {"mini_batch_size": 4, "expansion_factor": 2, "adam_lr": 0.01}
    inner |= changes.pop("inner", {})
    fields: dict[str, Any] = {
        "vocab_size": 11,
        "hidden_size": 8,
        "num_layers": 2,
        "num_heads": 2,
        "intermediate_size": 12,
        "max_seq_len": 64,
        **changes,
    }
    return ModelConfig(inner=InnerConfig(**inner), **fields)


def make_model(config: ModelConfig, seed: int = 0) -> TTTModel:
    """A float64 model whose parameters are far from their initial values, so that all matter."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TTTModel(config).double()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3, mean=0.1)
    return model


def make_ids(batch: int, tokens: int, vocab: int = 11, seed: int = 0) -> Tensor:
    return torch.randint(vocab, (batch, tokens), generator=torch.Generator().manual_seed(seed))


configs = st.builds(
    tiny,
    layer_type=st.sampled_from([*KINDS, "linear,mlp"]),
    pos_encoding=st.sampled_from(get_args(PosEncoding)),
    pre_conv=st.booleans(),
    share_qk=st.booleans(),
    use_gate=st.booleans(),
    conv_kernel=st.integers(1, 4),
    tie_embeddings=st.booleans(),
    inner=st.builds(lambda m: {"mini_batch_size": m}, st.integers(1, 5)),
)


@settings(max_examples=40, deadline=None)
@given(config=configs, pieces=st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_any_chunking_gives_the_same_logits_and_state(
    config: ModelConfig, pieces: list[int]
) -> None:
    model, ids = make_model(config), make_ids(2, sum(pieces))
    with torch.no_grad():
        whole, whole_state = model(ids, return_state=True)
        state, outputs = model.initial_state(2), []
        for piece in ids.split(pieces, dim=1):
            logits, state = model(piece, state=state, return_state=True)
            outputs.append(logits)
    torch.testing.assert_close(torch.cat(outputs, 1), whole, rtol=0, atol=1e-9)
    assert state.position == whole_state.position == (sum(pieces),) * 2
    assert max(state.diff(whole_state).values(), default=0.0) < 1e-9


@settings(max_examples=15, deadline=None)
@given(config=configs, lengths=st.lists(st.integers(0, 9), min_size=2, max_size=4))
def test_sequences_at_their_own_positions_are_independent(
    config: ModelConfig, lengths: list[int]
) -> None:
    model = make_model(config)
    states, more = [], make_ids(len(lengths), 5, seed=2)
    with torch.no_grad():
        for row, length in enumerate(lengths):
            state = model.initial_state(1)
            if length:
                _, state = model(make_ids(1, length, seed=row), state=state, return_state=True)
            states.append(state)
        together, end = model(more, state=ModelState.concatenate(states), return_state=True)
        for row, state in enumerate(states):
            alone = model(more[row : row + 1], state=state)
            torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-9)
    assert end.position == tuple(length + 5 for length in lengths)


def test_token_by_token_equals_prefill_in_float32() -> None:
    config = tiny(layer_type="mlp", pre_conv=True, share_qk=True, use_gate=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, ids = TTTModel(config), make_ids(1, 19)
    with torch.no_grad():
        whole = model(ids)
        state, outputs = model.initial_state(1), []
        for token in ids.split(1, dim=1):
            logits, state = model(token, state=state, return_state=True)
            outputs.append(logits)
    torch.testing.assert_close(torch.cat(outputs, 1), whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_its_true_gradient(kind: InnerKind) -> None:
    if kind == "linear-adam":  # the step is a constant to the outer gradient; one mini-batch is not
        config = tiny(layer_type=kind, inner={"mini_batch_size": 8})
    else:
        config = tiny(layer_type=kind, pre_conv=True, share_qk=True, use_gate=True)
    model, ids = make_model(config), make_ids(1, 7)
    names, parameters = zip(*model.named_parameters(), strict=True)

    def loss(*values: Tensor) -> Tensor:
        logits = torch.func.functional_call(model, dict(zip(names, values, strict=True)), (ids,))
        return functional.cross_entropy(logits[0, :-1], ids[0, 1:])

    assert torch.autograd.gradcheck(loss, parameters, fast_mode=True)
    gradients = torch.autograd.grad(loss(*parameters), parameters)
    unmoved = {n for n, g in zip(names, gradients, strict=True) if not g.any()}
    assert not unmoved


def expected_parameters(c: ModelConfig, vocab: int) -> int:
    """Counted from the official table of tensors and shapes (math.md 4)."""
    width, heads, dim, hidden = c.hidden_size, c.num_heads, c.head_dim, c.intermediate_size
    inner = {
        "linear": heads * (dim * dim + dim),
        "mlp": heads * (8 * dim * dim + 5 * dim),
    }[c.layer_type]
    ttt = 4 * width * width + inner + heads * width + heads + 16 + 2 * heads * dim + 2 * width
    block = ttt + 3 * width * hidden + 2 * width
    if c.backbone == "mamba":
        conv = width * 4 + width
        block += 2 * conv + conv + width  # q and k conv and gate less k_proj; pre_conv and its norm
    return vocab * width + c.num_layers * block + width


@pytest.mark.parametrize(
    ("size", "linear_m", "mlp_m"),
    [
        ("125m", 110.28, 114.44),
        ("350m", 337.29, 348.40),
        ("760m", 733.02, 757.94),
        ("1b", 1284.85, 1307.07),
    ],
)
@pytest.mark.parametrize("mamba", [False, True])
def test_parameter_counts_are_official(
    size: Size, linear_m: float, mlp_m: float, mamba: bool
) -> None:
    for layer_type, published in (("linear", linear_m), ("mlp", mlp_m)):
        config = ModelConfig(
            vocab_size=32000,
            layer_type=layer_type,
            backbone="mamba" if mamba else "transformer",
            **SIZES[size]._asdict(),
            pre_conv=mamba,
            share_qk=mamba,
            use_gate=mamba,
        )
        with torch.device("meta"):
            count = sum(p.numel() for p in TTTModel(config).parameters())
        assert count == expected_parameters(config, 32000)
        extra = {"125m": 0.15, "350m": 0.39, "760m": 0.59, "1b": 0.79}[size] if mamba else 0.0
        assert round(count / 1e6, 2) == pytest.approx(published + extra, abs=0.011)


def test_initial_parameters_are_official() -> None:
    config = tiny(hidden_size=64, vocab_size=500, share_qk=True, pre_conv=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = TTTModel(config)
        jax = TTTModel(msgspec.structs.replace(config, conv_init="jax"))
    values = dict(model.named_parameters())
    for name, parameter in values.items():
        if "norm" in name:
            assert torch.equal(
                parameter, torch.full_like(parameter, 0.0 if name.endswith("bias") else 1.0)
            )
        elif "conv" in name:
            assert 0.4 < parameter.detach().abs().max() <= 0.5
        elif "biases" in name or name.endswith(("eta.bias", "token_idx")):
            assert not parameter.any()
        else:
            assert 0.017 < parameter.detach().std() < 0.023, name
    convs = {n: p.detach() for n, p in jax.named_parameters() if "conv" in n and "norm" not in n}
    assert all(not p.any() for n, p in convs.items() if n.endswith("bias"))
    weights = torch.cat([p.flatten() for n, p in convs.items() if n.endswith("weight")])
    assert 0.47 < weights.std() < 0.53
    assert weights.abs().max() <= 2 * 0.5 / 0.8796


def test_state_is_saved_loaded_forked_and_compared(tmp_path: Path) -> None:
    config = tiny(layer_type="linear-adam,mlp", share_qk=True, pre_conv=True)
    model, ids, more = make_model(config), make_ids(2, 7), make_ids(2, 4, seed=5)
    with torch.no_grad():
        _, state = model(ids, return_state=True)
        state.save(tmp_path / "a.state")
        loaded = ModelState.load(tmp_path / "a.state")
        assert loaded.diff(state) == {}
        assert loaded.position == (7, 7)
        expected = model(more, state=state)
        assert torch.equal(model(more, state=loaded), expected)
        fork = state.fork()
        _, moved = model(more, state=fork, return_state=True)
        assert state.diff(fork) == {}
        for tensor in fork.tensors().values():
            tensor.zero_()
        assert torch.equal(model(more, state=state), expected)
    with pytest.raises(CheckpointMismatchError, match="different positions"):
        state.diff(moved)
    assert [p.name for p in tmp_path.iterdir()] == ["a.state"]


def test_a_damaged_state_file_is_refused(tmp_path: Path) -> None:
    model = make_model(tiny())
    path = tmp_path / "a.state"
    with torch.no_grad():
        model(make_ids(1, 6), return_state=True)[1].save(path)
    whole = path.read_bytes()
    for position in range(0, len(whole), 97):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        with pytest.raises(CheckpointError):
            ModelState.load(path)
    path.write_bytes(whole[:-10])
    with pytest.raises(CheckpointError):
        ModelState.load(path)
    with pytest.raises(CheckpointError, match="no state at"):
        ModelState.load(tmp_path / "nowhere")


def test_a_state_of_another_model_or_batch_is_refused() -> None:
    model, other = make_model(tiny()), make_model(tiny(layer_type="mlp"))
    with pytest.raises(CheckpointMismatchError, match="state of another model"):
        model(make_ids(1, 3), state=other.initial_state(1))
    with pytest.raises(CheckpointMismatchError, match="state holds 2 sequences, the input 1"):
        model(make_ids(1, 3), state=model.initial_state(2))


def test_a_state_fits_the_same_model_under_another_kernel() -> None:
    model = make_model(tiny(layer_type="linear"))
    twin = make_model(tiny(layer_type="fused-tile-multi", inner={"checkpoint_interval": 2}))
    with torch.no_grad():
        _, state = model(make_ids(1, 6), return_state=True)
        more = make_ids(1, 3, seed=1)
        assert torch.equal(twin(more, state=state), model(more, state=state))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.tensor([[1, 11]]), "holds 11, expected token ids from 0 to 10"),
        (torch.tensor([[-1, 2]]), "holds -1"),
        (torch.zeros(2, 0, dtype=torch.long), r"shape \(2, 0\), expected \(B, T\)"),
        (torch.zeros(3, dtype=torch.long), r"shape \(3,\)"),
    ],
)
def test_wrong_input_ids_are_named(ids: Tensor, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        make_model(tiny())(ids)


def test_positions_past_an_absolute_table_are_refused() -> None:
    model = make_model(tiny(pos_encoding="absolute", max_seq_len=8))
    model(make_ids(1, 8))
    with pytest.raises(InvalidValueError, match=r"position 8 is past .* max_seq_len = 8"):
        model(make_ids(1, 9))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 6, "num_heads": 2}, "even head_dim"),
        ({"hidden_size": 9, "num_heads": 2}, "num_heads must divide hidden_size"),
        ({"vocab_size": None}, "needs `vocab_size`"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(IncompatibleError, match=message):
        TTTModel(tiny(**changes))


def test_absolute_and_global_positions_tell_mini_batches_apart() -> None:
    ids = make_ids(1, 4).repeat(1, 3)  # three equal mini-batches

    def second_and_third_agree(pos_encoding: PosEncoding) -> bool:
        model = make_model(tiny(pos_encoding=pos_encoding))
        for block in model.blocks:  # no learning: only positions could make a difference
            block.get_parameter("ttt.eta.token_idx").data.fill_(-2.0)
        logits = model(ids)
        return torch.allclose(logits[:, 4:8], logits[:, 8:], rtol=0, atol=1e-12)

    assert second_and_third_agree("rope")
    assert second_and_third_agree("none")
    assert not second_and_third_agree("absolute")
    # rotations of q and k by one common angle cancel in their product, but q W and k W do not
    assert not second_and_third_agree("rope-global")


def test_traces_name_every_layer() -> None:
    model = make_model(tiny(layer_type="linear,mlp"))
    with torch.no_grad(), record_inner_traces(model) as traces:
        model(make_ids(3, 9))
    assert sorted(traces) == [0, 1]
    assert traces[1].loss_after.shape == (3, 2, 2)
