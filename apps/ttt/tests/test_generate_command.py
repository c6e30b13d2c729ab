import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def install(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    return install


def test_the_prompt_is_continued_and_the_speed_said_aside(ttt: Callable, trained: Path) -> None:
    flags = ("--max-tokens", "30", "--no-stop-at-eos")
    code, out, err = ttt("generate", str(trained), "Once é", *flags)
    assert code == 0
    assert out.startswith("Once é")
    assert out.endswith("\n")
    assert err.startswith("[30 tokens, ")
    quiet = ttt("generate", str(trained), "Once é", *flags, "--quiet")
    assert quiet == (0, out, "")


def test_json_has_the_text_and_how_it_was_made(ttt: Callable, trained: Path) -> None:
    flags = ("--max-tokens", "30", "--no-stop-at-eos")
    text = ttt("generate", str(trained), "Once", *flags, "--quiet").out
    code, out, err = ttt("generate", str(trained), "Once", *flags, "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert answer["prompt"] + answer["text"] + "\n" == text
    assert answer["prompt_tokens"] == 4
    assert answer["tokens"] == len(answer["token_ids"]) == 30
    assert answer["tokens_per_s"] > 0
    assert (answer["finish_reason"], answer["seed"], answer["top_k"]) == ("length", 0, 40)


def test_a_run_of_a_gpu_kernel_is_trained_and_read_by_any_that_runs_here(
    ttt: Callable, trained: Path, tmp_path: Path
) -> None:
    config, run = trained.with_name("tiny.toml"), str(tmp_path / "run")
    flags = ("--config", str(config), "--layer-type", "fused-tile-multi")
    code, out, _ = ttt("train", *flags, "--out", run)
    assert code == 0
    assert "cpu (`tile-multi` cannot run this: it runs on cuda, not cpu" in out
    recorded = json.loads(ttt("info", run, "--json").out)["model"]["kernel"]
    assert recorded.startswith("cpu (`tile-multi` cannot run this")
    asked = ("generate", run, "Once", "--temperature", "0", "--quiet")
    texts = [ttt(*asked, "--kernel", name).out for name in ("cpu", "reference", "auto")]
    assert texts == [ttt(*asked).out] * 3
    code, out, err = ttt(*asked, "--kernel", "tile-multi")
    assert (code, out) == (6, "")
    assert err == (
        "error: kernel `tile-multi` cannot run this: it runs on cuda, not cpu; "
        "use kernel `auto` to fall back\n"
    )


@pytest.mark.parametrize(
    "command",
    [
        ("generate", "RUN", "Once"),
        ("interactive", "RUN"),
        ("eval", "RUN", "--samples", "1", "--no-gain"),
        ("state", "save", "RUN", "NEW", "--text", "Once"),
        ("state", "load", "RUN", "STATE"),
    ],
)
def test_whatever_reads_a_run_takes_a_kernel(
    ttt: Callable, trained: Path, tmp_path: Path, stdin: Callable, command: tuple[str, ...]
) -> None:
    state = str(tmp_path / "once.state")
    assert ttt("state", "save", str(trained), state, "--text", "Once").code == 0
    names = {"RUN": str(trained), "NEW": str(tmp_path / "new.state"), "STATE": state}
    asked = [names.get(word, word) for word in command]
    stdin(b"")
    refused = ttt(*asked, "--kernel", "tile")
    assert refused.code == 6
    assert "`tile` cannot run this: it runs on cuda, not cpu" in refused.err
    assert not (tmp_path / "new.state").exists()
    stdin(b"")
    assert ttt(*asked, "--kernel", "reference").code == 0


def test_streamed_and_whole_text_are_the_same(ttt: Callable, trained: Path) -> None:
    streamed = ttt("generate", str(trained), "A", "--seed", "3", "--quiet")
    assert ttt("generate", str(trained), "A", "--seed", "3", "--quiet", "--no-stream") == streamed
    assert ttt("generate", str(trained), "A", "--seed", "4", "--quiet").out != streamed.out


def test_the_prompt_also_comes_from_a_file_or_stdin(
    ttt: Callable, trained: Path, tmp_path: Path, stdin: Callable[[bytes], None]
) -> None:
    expected = ttt("generate", str(trained), "Once é\nupon", "--quiet")
    file = tmp_path / "prompt.txt"
    file.write_bytes("Once é\nupon\n".encode())
    assert ttt("generate", str(trained), "--prompt-file", str(file), "--quiet") == expected
    stdin(file.read_bytes())
    assert ttt("generate", str(trained), "-", "--quiet") == expected
    stdin(file.read_bytes())
    assert ttt("generate", str(trained), "--prompt-file", "-", "--quiet") == expected


def test_without_a_prompt_a_new_text_begins(ttt: Callable, trained: Path) -> None:
    answer = json.loads(ttt("generate", str(trained), "--json", "--max-tokens", "5").out)
    assert (answer["prompt"], answer["prompt_tokens"], answer["tokens"]) == ("", 1, 5)


def test_the_end_of_the_text_can_be_written_over(ttt: Callable, trained: Path) -> None:
    flags = ("--json", "--temperature", "5", "--top-k", "0", "--max-tokens", "1500")
    stopped = json.loads(ttt("generate", str(trained), "A", *flags).out)
    assert stopped["finish_reason"] == "eos"
    free = json.loads(ttt("generate", str(trained), "A", *flags, "--no-stop-at-eos").out)
    assert (free["finish_reason"], free["tokens"]) == ("length", 1500)
    assert free["token_ids"][: stopped["tokens"]] == stopped["token_ids"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--temperature", "-1"), "temperature is -1.0; expected 0"),
        (("--top-k", "-2"), "top_k is -2"),
        (("--top-p", "0"), "top_p is 0.0"),
        (("--max-tokens", "-5"), "max_new_tokens is -5"),
        (("--seed", "-1"), "seed is -1"),
        (("--prompt-file", "nowhere.txt"), "--prompt-file nowhere.txt: No such file"),
        (("A", "--prompt-file", "b"), "given twice"),
    ],
)
def test_a_bad_setting_is_one_line(
    ttt: Callable, trained: Path, flags: tuple[str, ...], message: str
) -> None:
    code, out, err = ttt("generate", str(trained), *flags)
    assert (code, out) == (3, "")
    assert err.startswith(f"error: {message}") or message in err
    assert err.count("\n") == 1


def test_a_prompt_that_is_no_text_is_one_line(
    ttt: Callable, trained: Path, stdin: Callable[[bytes], None]
) -> None:
    stdin(b"\xff\xfe")
    code, _, err = ttt("generate", str(trained), "-")
    assert (code, err.count("\n")) == (3, 1)
    assert "stdin is not UTF-8" in err
    code, _, err = ttt("generate", str(trained), "caf\udce9")  # Latin-1, as Python sees it
    assert (code, err.count("\n")) == (3, 1)
    assert "PROMPT is not UTF-8" in err


def test_what_is_no_usable_run_is_one_line(ttt: Callable, trained: Path, tmp_path: Path) -> None:
    def complaint(path: Path) -> str:
        code, out, err = ttt("generate", str(path), "A")
        assert (code, out, err.count("\n")) == (5, "", 1)
        return err

    assert "no run directory" in complaint(tmp_path / "nowhere")
    assert "is not a run directory" in complaint(tmp_path)
    run = shutil.copytree(trained, tmp_path / "run")
    weights = run / "checkpoints/step-000004/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\0")
    assert "model.safetensors is damaged" in complaint(run)
    weights.unlink()
    assert "model.safetensors is missing" in complaint(run)
    shutil.rmtree(run / "checkpoints")
    assert "stopped before its first save" in complaint(run)


def answers(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def test_prompts_written_together_become_what_each_becomes_alone(
    ttt: Callable, trained: Path, tmp_path: Path
) -> None:
    prompts = ["Once", "There was a very long one", "", "Then"]
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(prompts) + "\n")
    flags = ("--json", "--max-tokens", "40", "--stop", "e")
    together = answers(ttt("generate", str(trained), "--prompts-file", str(file), *flags).out)
    assert [answer["prompt"] for answer in together] == prompts
    for answer in together:
        [alone] = answers(ttt("generate", str(trained), str(answer["prompt"]), *flags).out)
        assert alone | {"tokens_per_s": 0} == answer | {"tokens_per_s": 0}
    both = ttt("generate", str(trained), "Once", "Then", "--max-tokens", "40", "--stop", "e")
    first, last = together[0], together[3]
    assert both.out == f"Once{first['text']}\n\nThen{last['text']}\n"


def test_samples_have_seeds_of_their_own(ttt: Callable, trained: Path) -> None:
    flags = ("--json", "--max-tokens", "20", "--no-stop-at-eos")
    out = ttt("generate", str(trained), "A", *flags, "--samples", "3", "--seed", "5").out
    samples = answers(out)
    assert [sample["seed"] for sample in samples] == [5, 6, 7]
    assert len({sample["text"] for sample in samples}) == 3
    [alone] = answers(ttt("generate", str(trained), "A", *flags, "--seed", "6").out)
    assert alone["text"] == samples[1]["text"]


def test_a_stop_string_ends_the_text_and_is_not_in_it(ttt: Callable, trained: Path) -> None:
    flags = ("--json", "--max-tokens", "60", "--no-stop-at-eos")
    [free] = answers(ttt("generate", str(trained), "A", *flags).out)
    text = str(free["text"])
    [stopped] = answers(ttt("generate", str(trained), "A", *flags, "--stop", text[20:23]).out)
    assert stopped["text"] == text[: text.index(text[20:23])]
    assert stopped["finish_reason"] == "stop"
    shown = ttt("generate", str(trained), "A", *flags[1:], "--stop", text[20:23], "--quiet").out
    assert shown == f"A{stopped['text']}\n"


def test_a_text_goes_on_from_its_state(ttt: Callable, trained: Path, tmp_path: Path) -> None:
    state = str(tmp_path / "a.state")
    flags = ("--json", "--no-stop-at-eos", "--repetition-penalty", "1.2")
    [whole] = answers(ttt("generate", str(trained), "Once", *flags, "--max-tokens", "35").out)
    parts = [
        ttt("generate", str(trained), "Once", *flags, "--max-tokens", "5", "--state-out", state)
    ]
    for length in ("16", "14"):
        more = ("--max-tokens", length, "--state-in", state, "--state-out", state)
        parts.append(ttt("generate", str(trained), *flags, *more))
    ids = [token for part in parts for token in json.loads(part.out)["token_ids"]]
    assert ids == whole["token_ids"]
    assert json.loads(parts[-1].out)["prompt_tokens"] == 4 + 5 + 16


def test_a_checkpoint_is_chosen_by_its_step(ttt: Callable, trained: Path) -> None:
    flags = ("A", "--quiet", "--max-tokens", "5")
    last = ttt("generate", str(trained), *flags)
    assert ttt("generate", str(trained), *flags, "--checkpoint", "4") == last
    assert ttt("generate", str(trained), *flags, "--checkpoint", "step-000004") == last
    code, _, err = ttt("generate", str(trained), *flags, "--checkpoint", "7")
    assert (code, err.count("\n")) == (5, 1)
    assert "has no step-000007; it has step-000004" in err


def test_the_tokenizer_may_be_named_if_it_is_the_runs(ttt: Callable, trained: Path) -> None:
    flags = ("generate", str(trained), "A", "--quiet", "--max-tokens", "5")
    assert ttt(*flags, "--tokenizer", "bytes") == ttt(*flags)
    code, _, err = ttt(*flags, "--tokenizer", "bpe-4096")
    assert (code, err.count("\n")) == (4, 1)
    assert "--tokenizer bpe-4096 is not the tokenizer" in err


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--stop", ""), 3, "a stop string is empty"),
        (("--repetition-penalty", "0"), 3, "repetition_penalty is 0.0"),
        (("--samples", "0"), 3, "--samples is 0; expected 1 or more"),
        (("A", "B", "--prompt-file", "c"), 3, "given twice"),
        (("A", "--prompts-file", "c"), 3, "given twice"),
        (("A", "-"), 3, "give it alone"),
        (("--prompts-file", "nowhere.txt"), 3, "--prompts-file nowhere.txt: No such file"),
        (("A", "B", "--state-out", "a.state"), 3, "--state-out holds the state of one text"),
        (
            ("--state-out", "nowhere/a.state"),
            5,
            "cannot write nowhere/a.state: there is no folder nowhere",
        ),
        (("--state-out", "."), 5, "is a folder"),
        (("--state-in", "nowhere"), 5, "no state at nowhere"),
        (("--state-in", __file__), 5, "is no readable state"),
    ],
)
def test_a_bad_combination_is_one_line(
    ttt: Callable, trained: Path, flags: tuple[str, ...], code: int, message: str
) -> None:
    outcome = ttt("generate", str(trained), *flags)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (code, "", 1)
    assert message in outcome.err
