"""`ttt interactive`: write a text in turn with a trained model."""

import sys
from collections.abc import Iterator
from contextlib import suppress

from ttt_cli.app import new_app
from ttt_cli.generation import (
    Checkpoint,
    Generation,
    KernelName,
    Run,
    StateIn,
    TokenizerName,
    generation_options,
    open_session,
)
from ttt_cli.options import Common, common_options
from ttt_cli.repl import Repl

app = new_app()


@app.command()
@common_options
@generation_options
def interactive(
    run: Run,
    common: Common,
    generation: Generation,
    checkpoint: Checkpoint = None,
    tokenizer: TokenizerName = None,
    kernel: KernelName = None,
    state_in: StateIn = None,
) -> None:
    """Write a text in turn with a trained model: a line of yours, an answer of the model's.

    The model remembers the whole text in its state, which can be saved, loaded and forked; /help
    lists the commands. Without a terminal the lines come from stdin and only answers are printed.
    """
    generation.check()
    session = open_session(run, checkpoint, tokenizer, kernel, state_in)
    repl = Repl(session, generation, run=run, json=common.json, quiet=common.quiet)
    terminal = sys.stdin.isatty()
    if terminal and not common.quiet:
        print(f"{run}: /help lists the commands, Ctrl-D leaves", file=sys.stderr)
    for line in _typed_lines() if terminal else _piped_lines():
        if not repl.obey(line):
            break


def _typed_lines() -> Iterator[str]:
    """Lines edited on a terminal; Ctrl-C empties the line, Ctrl-D ends."""
    with suppress(ImportError):  # not on every platform
        import readline  # noqa: F401  (makes `input` edit)
    while True:
        try:
            yield input("> ")
        except KeyboardInterrupt:
            print()
        except EOFError:
            print()
            return


def _piped_lines() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            print(f"error: line {number} of stdin is not UTF-8: {error}", file=sys.stderr)
