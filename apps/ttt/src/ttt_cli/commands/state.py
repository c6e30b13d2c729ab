"""`ttt state`: what a model remembers of a text, as a file."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ttt_cli.app import new_app
from ttt_cli.generation import (
    Checkpoint,
    KernelName,
    Run,
    StateIn,
    TokenizerName,
    check_writable,
    open_session,
    read_text,
)
from ttt_cli.options import Common, common_options
from ttt_cli.progress import ProgressLine, duration, table
from ttt_config import CheckpointError, CheckpointMismatchError, InvalidValueError

if TYPE_CHECKING:
    from torch import Tensor

    from ttt_training import Session

app = new_app("Save, check, copy and compare what a model remembers of a text.")

Text = Annotated[
    str | None, typer.Option("--text", metavar="TEXT", help="Text to read; -: from stdin.")
]
TextFile = Annotated[
    str | None, typer.Option("--file", metavar="FILE", help="Read the text from it.")
]
StateFile = Annotated[str, typer.Argument(metavar="FILE", help="A state.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file, if there is one.")]


class StateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints of a state."""

    file: str
    bytes: int
    position: int
    """Tokens of the text so far."""
    unread: list[int]
    """Its last tokens, which the state does not know yet: they are read when it goes on."""
    model: str
    """Digest of the architecture."""
    parameters_sha256: str
    tokenizer_sha256: str
    ttt_version: str


class HeadMoved(msgspec.Struct, frozen=True):
    """How far the fast weights of one head have moved."""

    distance: float
    """Euclidean norm of the difference."""
    relative: float
    """The same as a share of the norm of the first."""


class StateDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints of two states."""

    positions: tuple[int, int]
    layers: list[list[HeadMoved]]
    """By layer, then head."""


@app.command()
@common_options
def save(
    run: Run,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The state to write.")],
    common: Common,
    text: Text = None,
    text_file: TextFile = None,
    state_in: StateIn = None,
    checkpoint: Checkpoint = None,
    tokenizer: TokenizerName = None,
    kernel: KernelName = None,
    overwrite: Overwrite = False,
) -> None:
    """Read a text, from --text, --file or stdin, and keep what the model has learned from it.

    The size of the state does not depend on the length of the text. To go on from it:
    `ttt generate RUN --state-in FILE` or `ttt interactive RUN --state-in FILE`.
    """
    check_writable(file, replace=overwrite or file == state_in)
    content = _read(text, text_file, default="-")
    session = open_session(run, checkpoint, tokenizer, kernel, state_in)
    _feed(session, content, common)
    session.save(file)
    _print(_facts(file), common)


@app.command()
@common_options
def load(
    run: Run,
    file: StateFile,
    common: Common,
    text: Text = None,
    text_file: TextFile = None,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="Where the state goes; may be the same file."),
    ] = None,
    checkpoint: Checkpoint = None,
    tokenizer: TokenizerName = None,
    kernel: KernelName = None,
    overwrite: Overwrite = False,
) -> None:
    """Make sure that a state is whole and belongs to a run; with a text, read on into --out."""
    content = _read(text, text_file, default=None)
    if (content is None) != (out is None):
        raise InvalidValueError("a text to read on needs --out, and --out a text: --text or --file")
    if out is not None:
        check_writable(out, replace=overwrite or Path(out) == Path(file))
    session = open_session(run, checkpoint, tokenizer, kernel, file)
    if content is not None and out is not None:
        _feed(session, content, common)
        session.save(out)
    _print(_facts(out or file), common)


@app.command()
@common_options
def fork(
    file: StateFile,
    copies: Annotated[list[str], typer.Argument(metavar="COPY...", help="The states to write.")],
    common: Common,
    overwrite: Overwrite = False,
) -> None:
    """Copy a state that is whole, to go on from it more than once."""
    from ttt_training.durable import write_durably

    facts, content = _facts(file), Path(file).read_bytes()
    for copy in copies:
        check_writable(copy, replace=overwrite)
        if Path(copy).exists() and Path(copy).samefile(file):
            raise InvalidValueError(f"COPY {copy} is the state itself; choose another name")
    for copy in copies:
        try:
            write_durably(Path(copy), content)
        except OSError as error:
            raise CheckpointError(f"could not write {copy}: {error.strerror}") from error
        _print(msgspec.structs.replace(facts, file=copy), common)


@app.command()
@common_options
def info(file: StateFile, common: Common) -> None:
    """Say what a state is of, after making sure that it is whole."""
    _print(_facts(file), common)


@app.command()
@common_options
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A state.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another of the same model.")],
    common: Common,
) -> None:
    """Say how far the fast weights of each head have moved from one state to another."""
    from ttt_training.session import read_session_file

    before, notes = read_session_file(first)
    after, other_notes = read_session_file(second)
    if other_notes.parameters_sha256 != notes.parameters_sha256:
        raise CheckpointMismatchError(
            f"{first} and {second} were made by different weights; compare states of one checkpoint"
        )
    moved, size = before.displacement(after)
    found = StateDiff(
        positions=(
            before.position[0] + len(notes.unread),
            after.position[0] + len(other_notes.unread),
        ),
        layers=[_heads(*layer) for layer in zip(moved, size, strict=True)],
    )
    if common.json:
        print(msgspec.json.encode(found).decode())
        return
    print(f"fast weights moved, in % of their norm in {first}")
    rows = [("layer", " ".join(f"{'head ' + str(head):>8}" for head in range(moved.shape[-1])))]
    for index, layer in enumerate(found.layers):
        rows.append((str(index), " ".join(f"{100 * head.relative:8.3f}" for head in layer)))
    print(table(rows))


def _heads(moved: "Tensor", size: "Tensor") -> list[HeadMoved]:
    """The heads of one layer, (1, H) each."""
    return [
        HeadMoved(distance, distance / max(norm, 1e-30))
        for distance, norm in zip(moved[0].tolist(), size[0].tolist(), strict=True)
    ]


def _read(text: str | None, text_file: str | None, *, default: str | None) -> str | None:
    """The text as it is, to its last line break."""
    source = default if text is None and text_file is None else text_file
    return read_text(text, source, name="--text", option="--file", keep_end=True)


def _feed(session: "Session", text: str | None, common: Common) -> None:
    """Read a text, and say how far that is."""
    num_tokens = len(session.tokenizer.encode(text or ""))
    started = time.perf_counter()
    with ProgressLine(quiet=common.quiet or common.json) as line:

        def show(num_read: int) -> None:
            left_s = (time.perf_counter() - started) * (num_tokens / num_read - 1)
            line.show(f"read {num_read:,} of {num_tokens:,} tokens, {duration(left_s)} left")

        session.feed(text or "", show)


def _facts(file: str) -> StateFacts:
    """What a state is of; raises if it is not whole."""
    from ttt_training.session import read_session_file

    state, notes = read_session_file(file)
    return StateFacts(
        file=file,
        bytes=Path(file).stat().st_size,
        position=state.position[0] + len(notes.unread),
        unread=list(notes.unread),
        model=state.identity,
        parameters_sha256=notes.parameters_sha256,
        tokenizer_sha256=notes.tokenizer_sha256,
        ttt_version=notes.ttt_version,
    )


def _print(facts: StateFacts, common: Common) -> None:
    if common.json:
        print(msgspec.json.encode(facts).decode())
    else:
        print(
            table(
                [
                    ("state", f"{facts.file}, {facts.bytes:,} bytes, whole"),
                    ("text", f"{facts.position:,} tokens, {len(facts.unread)} of them unread"),
                    ("model", facts.model),
                    ("parameters", facts.parameters_sha256),
                    ("tokenizer", facts.tokenizer_sha256),
                    ("written by", f"ttt {facts.ttt_version}"),
                ]
            )
        )
