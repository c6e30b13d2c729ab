from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ttt_config import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointIncompleteError,
    CheckpointMismatchError,
    ModelConfig,
)
from ttt_layer import ModelState, TTTModel

CONFIG = ModelConfig(
    vocab_size=11,
    hidden_size=16,
    num_layers=2,
    num_heads=2,
    intermediate_size=24,
    layer_type="linear,mlp",
)


def state_after(tokens: int) -> ModelState:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = TTTModel(CONFIG)
        ids = torch.randint(11, (1, 40))
    with torch.no_grad():
        return model(ids[:, :tokens], return_state=True)[1]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("states") / "a.state"
    state_after(21).save(path, {"unread": "[3]", "digest": "of something else"})
    return path


def test_notes_come_back_with_the_state(saved: Path) -> None:
    state, notes = ModelState.load_with_notes(saved)
    assert notes == {"unread": "[3]", "digest": "of something else"}
    assert state.diff(state_after(21)) == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_named(saved: Path, tmp_path: Path, place: float, bit: int) -> None:
    content = bytearray(saved.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    damaged = tmp_path / "damaged.state"
    damaged.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged\.state"):
        ModelState.load(damaged)


def test_every_bit_of_the_header_is_covered(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    damaged = tmp_path / "damaged.state"
    for bit in range(8 * (8 + int.from_bytes(content[:8], "little"))):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.write_bytes(flipped)
        with pytest.raises(CheckpointError, match=r"damaged\.state"):
            ModelState.load(damaged)


@pytest.mark.parametrize("kept", [0, 5, 8, 100, 1_000, -1])
def test_a_cut_file_is_named(saved: Path, tmp_path: Path, kept: int) -> None:
    damaged = tmp_path / "damaged.state"
    damaged.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"damaged\.state.* cut short"):
        ModelState.load(damaged)


def test_a_missing_a_foreign_and_a_newer_file_are_told_apart(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointIncompleteError, match="no state at"):
        ModelState.load(tmp_path / "nowhere")
    foreign = tmp_path / "foreign"
    foreign.write_text("Once upon a time")
    with pytest.raises(CheckpointCorruptError, match="no readable state"):
        ModelState.load(foreign)
    foreign.write_bytes(saved.read_bytes().replace(b"ttt-state-2", b"ttt-state-7"))
    with pytest.raises(CheckpointCorruptError, match=r"newer version of ttt.*update ttt"):
        ModelState.load(foreign)


def test_a_state_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"could not write .*nowhere"):
        state_after(3).save(tmp_path / "nowhere" / "a.state")
    taken = tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(CheckpointError, match=r"could not write .*taken"):
        state_after(3).save(taken)
    assert list(tmp_path.iterdir()) == [taken]


def test_displacement_measures_each_head_and_grows_with_reading() -> None:
    first, later, latest = state_after(1), state_after(17), state_after(33)
    moved, size = first.displacement(later)
    assert moved.shape == size.shape == (2, 1, 2)
    assert (moved > 0).all()
    assert first.displacement(first)[0].count_nonzero() == 0
    assert later.displacement(first)[0].equal(moved)
    inner = first.blocks[0].ttt.inner, latest.blocks[0].ttt.inner
    expected = sum(
        (b - a)[0, 1].detach().double().square().sum()
        for a, b in zip(
            inner[0].weights + inner[0].biases, inner[1].weights + inner[1].biases, strict=True
        )
    )
    found = first.displacement(latest)[0][0, 0, 1]
    assert float(found) == pytest.approx(float(expected) ** 0.5)


def test_states_of_different_models_are_not_compared() -> None:
    other = TTTModel(ModelConfig(vocab_size=11, hidden_size=16, num_layers=1, num_heads=2))
    with pytest.raises(CheckpointMismatchError, match="state of another model"):
        state_after(3).displacement(other.initial_state(1))
    with pytest.raises(CheckpointMismatchError, match="hold 1 and 2 sequences"):
        state_after(3).displacement(state_after(3).select([0, 0]))


def test_equal_states_give_equal_files(saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.state"
    state_after(21).save(again, {"digest": "of something else", "unread": "[3]"})
    assert again.read_bytes() == saved.read_bytes()
