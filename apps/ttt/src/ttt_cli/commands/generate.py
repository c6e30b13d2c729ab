"""`ttt generate`: let a trained model continue prompts."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ttt_cli.app import new_app
from ttt_cli.generation import (
    Checkpoint,
    Generation,
    KernelName,
    Run,
    StateIn,
    TokenizerName,
    Written,
    check_writable,
    generation_options,
    open_session,
    read_text,
    written,
)
from ttt_cli.options import Common, common_options
from ttt_config import InvalidValueError

if TYPE_CHECKING:
    from ttt_training import Session

app = new_app()

BATCH_SIZE = 16
"""Texts written together at most."""


@app.command()
@common_options
@generation_options
def generate(
    run: Run,
    common: Common,
    generation: Generation,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT...", help="Text to continue; -: read it from stdin."),
    ] = None,
    prompt_file: Annotated[
        str | None, typer.Option("--prompt-file", metavar="FILE", help="Read the prompt from it.")
    ] = None,
    prompts_file: Annotated[
        str | None,
        typer.Option("--prompts-file", metavar="FILE", help="Read prompts from it, one a line."),
    ] = None,
    samples: Annotated[
        int,
        typer.Option("--samples", help="Texts for each prompt, of seeds --seed, --seed + 1, ..."),
    ] = 1,
    checkpoint: Checkpoint = None,
    tokenizer: TokenizerName = None,
    kernel: KernelName = None,
    state_in: StateIn = None,
    state_out: Annotated[
        str | None,
        typer.Option("--state-out", metavar="FILE", help="Leave the state here, to go on from."),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream/--no-stream", help="Print the text as it is written.")
    ] = True,
) -> None:
    """Continue prompts with a trained model; without one, begin a new text.

    Several prompts, or several samples, are written together; with --json as one object a line.
    A text is the same whether it is written alone or with others.
    """
    texts = _read_prompts(prompts or [], prompt_file, prompts_file)
    if samples < 1:
        raise InvalidValueError(f"--samples is {samples}; expected 1 or more")
    if state_out is not None:
        if len(texts) * samples > 1:
            raise InvalidValueError("--state-out holds the state of one text; give one prompt")
        check_writable(state_out)
    generation.check()
    session = open_session(run, checkpoint, tokenizer, kernel, state_in)
    if len(texts) * samples > 1:
        jobs = [(text, sample) for text in texts for sample in range(samples)]
        for begin in range(0, len(jobs), BATCH_SIZE):
            batch = jobs[begin : begin + BATCH_SIZE]
            _print(_write_together(session, batch, generation, run), common, first=begin == 0)
        return
    shown = stream and not common.json
    answer = _write_one(session, texts[0], generation, run, show=shown)
    if state_out is not None:
        session.save(state_out)
    _print([answer], common, shown=shown)


def _write_one(
    session: "Session", prompt: str, generation: Generation, run: str, *, show: bool
) -> Written:
    """Continue one prompt, printing the text as it comes if asked to."""
    session.feed(prompt)
    answer = generation.answer(session)
    prompt_tokens = session.position
    if show:
        print(prompt, end="", flush=True)
    started = time.perf_counter()
    for piece in answer:
        if show:
            print(piece, end="", flush=True)
    tokens_per_s = len(answer.writer.token_ids) / (time.perf_counter() - started)
    return written(
        answer.writer,
        generation,
        run=run,
        prompt=prompt,
        prompt_tokens=prompt_tokens,
        tokens_per_s=tokens_per_s,
    )


def _write_together(
    session: "Session", jobs: Sequence[tuple[str, int]], generation: Generation, run: str
) -> list[Written]:
    """Continue several prompts, each from where the session stands."""
    from ttt_training.session import write_together

    samplings = [generation.sampling(sample) for _, sample in jobs]
    read: dict[str, Session] = {}
    for prompt, _ in jobs:
        if prompt not in read:
            read[prompt] = session.fork()
            read[prompt].feed(prompt)
            read[prompt].begin()
    started = time.perf_counter()
    writers = write_together(
        [read[prompt] for prompt, _ in jobs],
        samplings,
        max_new_tokens=generation.max_tokens,
        stop=generation.stop,
        stop_at_eos=generation.stop_at_eos,
    )
    num_tokens = sum(len(writer.token_ids) for writer in writers)
    tokens_per_s = num_tokens / (time.perf_counter() - started)
    return [
        written(
            writer,
            msgspec.structs.replace(generation, seed=generation.seed + sample),
            run=run,
            prompt=prompt,
            prompt_tokens=read[prompt].position,
            tokens_per_s=tokens_per_s,
        )
        for (prompt, sample), writer in zip(jobs, writers, strict=True)
    ]


def _print(
    answers: Sequence[Written], common: Common, *, first: bool = True, shown: bool = False
) -> None:
    """Print answers written together; texts have an empty line between them.

    Args:
        answers: what was written.
        common: `--json` and `--quiet`.
        first: nothing was printed before.
        shown: the text has been printed already.
    """
    if common.json:
        for answer in answers:
            print(msgspec.json.encode(answer).decode(), flush=True)
        return
    texts = "\n\n".join(answer.prompt + answer.text for answer in answers)
    print("" if shown else texts if first else f"\n{texts}", flush=True)
    if not common.quiet:
        num_tokens = sum(answer.tokens for answer in answers)
        print(f"[{num_tokens} tokens, {answers[-1].tokens_per_s:,.0f} tokens/s]", file=sys.stderr)


def _read_prompts(
    prompts: Sequence[str], prompt_file: str | None, prompts_file: str | None
) -> list[str]:
    """The prompts from wherever they are given; one that is empty if there is none."""
    if prompts_file is not None:
        if prompts or prompt_file is not None:
            raise InvalidValueError("prompts are given twice, by --prompts-file and otherwise")
        text = read_text(None, prompts_file, name="PROMPT", option="--prompts-file") or ""
        return text.split("\n")
    if len(prompts) > 1:
        if "-" in prompts:
            raise InvalidValueError("- reads the one prompt from stdin; give it alone")
        if prompt_file is not None:
            raise InvalidValueError("the text is given twice, as PROMPT and by --prompt-file")
        texts = [read_text(text, None, name="PROMPT", option="") for text in prompts]
        return [text or "" for text in texts]
    only = prompts[0] if prompts else None
    return [read_text(only, prompt_file, name="PROMPT", option="--prompt-file") or ""]
