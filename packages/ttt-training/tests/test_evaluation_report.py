"""What `ttt eval` says about a run."""

import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from ttt_config import CheckpointIncompleteError, InvalidValueError, RunConfig
from ttt_data import Tokenizer, chronicles
from ttt_layer import TTTModel, scaled_inner_lr
from ttt_training import load_run, train
from ttt_training.evaluation_report import EvaluationReport, Wanted, report_run
from ttt_training.load import checkpoint_path
from ttt_training.token_classes import CLASSES, classes_of

ConfigMaker = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def learned_run(tiny: ConfigMaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned to learn a little."""
    out = tmp_path_factory.mktemp("runs") / "learned"
    train(tiny(out, steps=120, documents=40, val_fraction=0.2, save_every=40, eval_every=40))
    return out


ALL = Wanted()


def report(run: Path, wanted: Wanted = ALL, **changes: int | str) -> EvaluationReport:
    path = checkpoint_path(run, "latest")
    model, tokenizer, config = load_run(path)
    trained = config.model.max_seq_len
    shape = msgspec.structs.replace(config.model, max_seq_len=changes.get("seq_len", trained))
    source = msgspec.structs.replace(config.data, source=changes.get("source", config.data.source))
    changed = msgspec.structs.replace(config, model=shape, data=source)
    return report_run(
        model, tokenizer, changed, checkpoint=path, trained_seq_len=trained, wanted=wanted
    )


def test_positions_add_up_to_the_whole(learned_run: Path) -> None:
    found = report(learned_run)
    assert [(each.start, each.stop) for each in found.by_position] == [
        *((0, 1), (1, 2), (2, 4), (4, 8), (8, 16), (16, 32))
    ]
    assert sum(each.tokens for each in found.by_position) == found.tokens
    total = sum(each.loss * each.tokens for each in found.by_position)
    assert total / found.tokens == pytest.approx(found.loss)
    assert found.gain is not None
    gains = [each.gain.value * each.tokens for each in found.by_position if each.gain]
    assert sum(gains) / found.tokens == pytest.approx(found.gain.value)
    assert found.perplexity == pytest.approx(math.exp(found.loss))


def test_the_gain_is_the_difference_of_two_evaluations(learned_run: Path) -> None:
    found = report(learned_run, Wanted(samples=20))
    model, tokenizer, config = load_run(learned_run)
    path = checkpoint_path(learned_run, "latest")
    with scaled_inner_lr(model, 0.0):
        frozen = report_run(
            model,
            tokenizer,
            config,
            checkpoint=path,
            trained_seq_len=32,
            wanted=Wanted(samples=20, gain=False),
        )
    assert found.gain is not None
    assert found.windows == frozen.windows == 20
    assert found.gain.value == pytest.approx(frozen.loss - found.loss, abs=1e-9)
    assert found.gain.low < found.gain.value < found.gain.high
    assert frozen.gain is None


@pytest.mark.parametrize("layer_type", ["linear", "linear-adam", "mlp", "mlp2"])
def test_without_inner_learning_the_fast_weights_stay(layer_type: str, tiny: ConfigMaker) -> None:
    config = tiny(Path("unused"), layer_type=layer_type, vocab_size=20).model
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = TTTModel(config)
    ids = torch.randint(0, 20, (2, 32), generator=torch.Generator().manual_seed(1))
    start = model.initial_state(2)
    with scaled_inner_lr(model, 0.0), torch.no_grad():
        _, end = model(ids, return_state=True)
    for before, after in zip(start.blocks, end.blocks, strict=True):
        for weight, same in zip(before.ttt.inner.weights, after.ttt.inner.weights, strict=True):
            assert torch.equal(weight, same)
    with torch.no_grad():
        _, moved = model(ids, return_state=True)
    assert not torch.equal(
        moved.blocks[0].ttt.inner.weights[0], start.blocks[0].ttt.inner.weights[0]
    ), "the rate is itself again"


def test_two_evaluations_give_the_same_figures(learned_run: Path) -> None:
    wanted = Wanted(samples=9)
    one, two = (msgspec.json.encode(report(learned_run, wanted)) for _ in range(2))
    assert one == two


def test_longer_windows_than_in_training_are_read(learned_run: Path) -> None:
    found = report(learned_run, Wanted(samples=4), seq_len=128)
    assert (found.seq_len, found.trained_seq_len, found.windows) == (128, 32, 4)
    assert found.by_position[-1].stop == 128


def test_other_text_has_no_classes(learned_run: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("some other text, line by line\n" * 300)
    found = report(learned_run, source=str(tmp_path / "other.txt"))
    assert found.by_class == []
    assert found.source == str(tmp_path / "other.txt")


def test_classes_cover_the_beginning_of_every_story(learned_run: Path) -> None:
    found = report(learned_run, Wanted(samples=1, split="val"))
    assert [each.name for each in found.by_class] == list(CLASSES)
    assert sum(each.tokens for each in found.by_class) == 64 * 32


def test_names_are_counted_as_they_come_again() -> None:
    story = chronicles.document(1, split="val")
    tokenizer = Tokenizer.load("bytes")
    ids, classes = classes_of(story, tokenizer)
    assert len(ids) == len(classes) == len(story.text)
    word = next(story.text[start:end] for start, end, kind in story.spans if kind == "name")
    word = word.split()[0]
    places = [
        start
        for start, _, kind in story.spans
        if kind == "name" and story.text.startswith(word, start)
    ]
    numbers = [int(classes[place]) for place in places[:7]]
    expected = [1, 2, 3, 3, 3, 4, 4][: len(numbers)]
    assert numbers == expected
    answers = [start for start, _, kind in story.spans if kind == "answer"]
    assert {CLASSES[classes[start]] for start in answers} <= {"answer"}
    assert np.count_nonzero(classes == 0) > len(classes) / 2


def test_checkpoints_are_found_by_step_by_name_and_by_loss(learned_run: Path) -> None:
    assert checkpoint_path(learned_run, "80").name == "step-000080"
    assert checkpoint_path(learned_run, "step-000120").name == "step-000120"
    assert checkpoint_path(learned_run, "latest").name == "step-000120"
    assert checkpoint_path(learned_run, "best").name in {"step-000080", "step-000120"}
    with pytest.raises(CheckpointIncompleteError, match="has no step-000007; it has step-000040"):
        checkpoint_path(learned_run, "7")
    with pytest.raises(CheckpointIncompleteError, match=r"has no \.\./\.\./x; it has"):
        checkpoint_path(learned_run, "../../x")


def test_a_run_that_was_never_evaluated_has_no_best(finished_run: Path) -> None:
    assert checkpoint_path(finished_run, "best").name == "step-000006"


def test_no_windows_at_all_are_refused(learned_run: Path) -> None:
    with pytest.raises(InvalidValueError, match="samples is 0, expected 1 or more"):
        report(learned_run, Wanted(samples=0))
