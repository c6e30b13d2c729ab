"""`ttt generate`: let a trained model continue a prompt."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ttt_cli.app import new_app
from ttt_cli.options import Common, common_options
from ttt_config import InvalidValueError

if TYPE_CHECKING:
    from ttt_data.tokenizer import DecodeStream

app = new_app()


class Generated(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints."""

    run: str
    prompt: str
    text: str
    """The continuation, without the prompt."""
    prompt_tokens: int
    tokens: int
    """Tokens of the continuation."""
    token_ids: list[int]
    stopped: str
    """`eos` at the end of a text, `length` at --max-tokens."""
    tokens_per_s: float
    temperature: float
    top_k: int
    top_p: float
    seed: int


@app.command()
@common_options
def generate(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run directory, or a checkpoint in one.")
    ],
    common: Common,
    prompt: Annotated[
        str | None,
        typer.Argument(metavar="PROMPT", help="Text to continue; -: read it from stdin."),
    ] = None,
    prompt_file: Annotated[
        str | None, typer.Option("--prompt-file", metavar="FILE", help="Read the prompt from it.")
    ] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="Tokens to write at most.")] = 200,
    temperature: Annotated[
        float, typer.Option("--temperature", help="Below 1 plainer, above 1 wilder, 0: greedy.")
    ] = 0.8,
    top_k: Annotated[
        int, typer.Option("--top-k", help="Draw from this many best tokens, 0: all.")
    ] = 40,
    top_p: Annotated[
        float, typer.Option("--top-p", help="Draw from the best tokens with this probability.")
    ] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same text.")] = 0,
    stop_at_eos: Annotated[
        bool, typer.Option("--stop-at-eos/--no-stop-at-eos", help="End where the text ends.")
    ] = True,
    stream: Annotated[
        bool, typer.Option("--stream/--no-stream", help="Print the text as it is written.")
    ] = True,
) -> None:
    """Continue a prompt with a trained model; without one, begin a new text."""
    prompt = _read_prompt(prompt, prompt_file)

    import ttt_training  # not above: it takes seconds, which --help can do without

    model, tokenizer, _ = ttt_training.load_run(run)
    # A new text begins where another has ended.
    prompt_ids = tokenizer.encode(prompt).tolist() or [tokenizer.eos_id]
    tokens = ttt_training.generate(
        model,
        prompt_ids,
        max_new_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k or None,
        top_p=top_p,
        seed=seed,
        eos_id=tokenizer.eos_id if stop_at_eos else None,
    )
    started = time.perf_counter()
    text, token_ids = _collect(
        prompt, tokens, tokenizer.decode_stream(), show=stream and not common.json
    )
    tokens_per_s = len(token_ids) / (time.perf_counter() - started)
    if common.json:
        answer = Generated(
            run=run,
            prompt=prompt,
            text=text,
            prompt_tokens=len(prompt_ids),
            tokens=len(token_ids),
            token_ids=token_ids,
            stopped="length" if len(token_ids) == max_tokens else "eos",
            tokens_per_s=tokens_per_s,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
        )
        print(msgspec.json.encode(answer).decode())
        return
    print() if stream else print(prompt + text)
    if not common.quiet:
        print(f"[{len(token_ids)} tokens, {tokens_per_s:,.0f} tokens/s]", file=sys.stderr)


def _collect(
    prompt: str, tokens: Iterator[int], decoder: "DecodeStream", *, show: bool
) -> tuple[str, list[int]]:
    """Gather the text and its tokens, printing the text as it comes if asked to."""
    token_ids: list[int] = []
    text = ""

    def add(piece: str) -> None:
        nonlocal text
        text += piece
        if show:
            print(piece, end="", flush=True)

    if show:
        print(prompt, end="", flush=True)
    for token in tokens:
        token_ids.append(token)
        add(decoder.push(token))
    add(decoder.finish())
    return text, token_ids


def _read_prompt(prompt: str | None, prompt_file: str | None) -> str:
    """The prompt from wherever it is given, without the line break that ends a file."""
    if prompt is not None and prompt_file is not None:
        raise InvalidValueError("the prompt is given twice, as PROMPT and by --prompt-file")
    source = "-" if prompt == "-" else prompt_file
    name = {None: "PROMPT", "-": "stdin"}.get(source, source)
    try:
        if source is None:
            content = os.fsencode(prompt or "")  # as the shell gave it, perhaps no UTF-8 either
        elif source == "-":
            content = sys.stdin.buffer.read()
        else:
            content = Path(source).read_bytes()
        text = content.decode()
    except OSError as error:
        raise InvalidValueError(f"--prompt-file {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidValueError(f"the prompt in {name} is not UTF-8: {error}") from error
    return text if source is None else text.removesuffix("\n")
