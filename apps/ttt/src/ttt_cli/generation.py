"""What the commands share that let a model read and write: their options, prompts and runs."""

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ttt_cli.options import absorb, parameter
from ttt_config import CheckpointError, InvalidValueError, TokenizerError

if TYPE_CHECKING:
    from ttt_data import Tokenizer
    from ttt_training import Sampling, Session
    from ttt_training.session import Answer
    from ttt_training.writer import Writer

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run directory, or a checkpoint in one.")]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="STEP",
        help="Take the checkpoint of this step, or `best`, not the last.",
    ),
]
TokenizerName = Annotated[
    str | None, typer.Option("--tokenizer", metavar="NAME", help="Of the run.", hidden=True)
]
"""The run has its tokenizer with it; older scripts name it."""
KernelName = Annotated[
    str | None,
    typer.Option(
        "--kernel",
        metavar="NAME",
        help="Computes the inner loop, see `ttt kernels list`; auto; as in training.",
    ),
]
StateIn = Annotated[
    str | None,
    typer.Option("--state-in", metavar="FILE", help="Go on from this state; see `ttt state`."),
]


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer is written, by the names of the options."""

    max_tokens: int
    temperature: float
    top_k: int
    """0: all."""
    top_p: float
    repetition_penalty: float
    seed: int
    stop: tuple[str, ...]
    stop_at_eos: bool

    def sampling(self, sample: int = 0) -> "Sampling":
        """The settings of one of several samples; each has a seed of its own.

        Raises:
            InvalidValueError: one is out of its range.
        """
        from ttt_training import Sampling

        return Sampling(
            temperature=self.temperature,
            top_k=self.top_k or None,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            seed=self.seed + sample,
        )

    def check(self) -> None:
        """Refuse what no model can do, before one is loaded.

        Raises:
            InvalidValueError: a value is out of its range.
        """
        from ttt_training.writer import check_limits

        self.sampling()
        check_limits(self.max_tokens, self.stop)

    def answer(self, session: "Session") -> "Answer":
        """Let a session write on; raises as `check`."""
        return session.generate(
            max_new_tokens=self.max_tokens,
            sampling=self.sampling(),
            stop=self.stop,
            stop_at_eos=self.stop_at_eos,
        )


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints of one answer."""

    run: str
    prompt: str
    text: str
    """The continuation, without the prompt."""
    prompt_tokens: int
    """Tokens before the continuation, those of a state included."""
    tokens: int
    """Tokens of the continuation."""
    token_ids: list[int]
    """Those of a stop string included, which the text is not."""
    finish_reason: str
    """`eos` at the end of a text, `length` at --max-tokens, `stop` at a stop string; `interrupted`
    by Ctrl-C."""
    tokens_per_s: float
    """Of all answers that were written together, without the time to read prompts."""
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    seed: int


def written(
    writer: "Writer",
    generation: Generation,
    *,
    run: str,
    prompt: str,
    prompt_tokens: int,
    tokens_per_s: float,
) -> Written:
    """Gather what there is to say of an answer."""
    return Written(
        run=run,
        prompt=prompt,
        text=writer.text,
        prompt_tokens=prompt_tokens,
        tokens=len(writer.token_ids),
        token_ids=writer.token_ids,
        finish_reason=writer.finish_reason or "interrupted",
        tokens_per_s=tokens_per_s,
        temperature=generation.temperature,
        top_k=generation.top_k,
        top_p=generation.top_p,
        repetition_penalty=generation.repetition_penalty,
        seed=generation.seed,
    )


def generation_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Generation`, as its argument `generation`."""
    options = [
        parameter(
            "max_tokens",
            int,
            200,
            "--max-tokens",
            "--max-new-tokens",
            help="Tokens to write at most.  [default: 200]",
        ),
        parameter(
            "temperature",
            float,
            0.8,
            "--temperature",
            help="Below 1 plainer, above 1 wilder, 0: greedy.  [default: 0.8]",
        ),
        parameter(
            "top_k",
            int,
            40,
            "--top-k",
            help="Draw from this many best tokens, 0: all.  [default: 40]",
        ),
        parameter(
            "top_p",
            float,
            1.0,
            "--top-p",
            help="Draw from the best tokens with this probability.  [default: 1.0]",
        ),
        parameter(
            "repetition_penalty",
            float,
            1.0,
            "--repetition-penalty",
            help="Above 1 the last 64 tokens come less often.  [default: 1.0]",
        ),
        parameter(
            "seed", int, 0, "--seed", help="The same seed gives the same text.  [default: 0]"
        ),
        parameter(
            "stop",
            list[str] | None,
            None,
            "--stop",
            metavar="TEXT",
            help=r"End before this text; can be repeated; \n is a line break, \t a tab.",
        ),
        parameter(
            "stop_at_eos",
            bool,
            True,
            "--stop-at-eos/--no-stop-at-eos",
            help="End where the text ends.",
        ),
    ]
    return absorb(command, "generation", options, _generation)


def _generation(given: Mapping[str, object]) -> Generation:
    stop = given["stop"] if isinstance(given["stop"], list) else []
    settings = {**given, "stop": tuple(unescape(str(text)) for text in stop)}
    return msgspec.convert(settings, Generation)


def unescape(text: str) -> str:
    r"""Replace ``\n``, ``\t`` and ``\\`` as they are typed by what they stand for."""
    meanings = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}
    return re.sub(r"\\[nt\\]", lambda found: meanings[found[0]], text)


def open_session(
    run: str,
    checkpoint: str | None,
    tokenizer: str | None,
    kernel: str | None,
    state_in: str | None = None,
) -> "Session":
    """Load the model of a run, and take up the text of a state if there is one.

    Raises:
        CheckpointError: the run or the state is missing, damaged or not for each other.
        TokenizerError: `tokenizer` is not the run's.
        KernelUnavailableError: `kernel` cannot run here.
    """
    from ttt_training import Session, load_run
    from ttt_training.load import checkpoint_path

    path = Path(run) if checkpoint is None else checkpoint_path(run, checkpoint)
    model, own_tokenizer, _ = load_run(path, kernel=kernel)
    check_tokenizer(tokenizer, own_tokenizer, run)
    if state_in is None:
        return Session(model, own_tokenizer)
    return Session.load(state_in, model, own_tokenizer)


def check_tokenizer(name: str | None, own: "Tokenizer", run: str) -> None:
    """Make sure that a tokenizer named on the command line is that of the run.

    Raises:
        TokenizerError: it is not, or cannot be read.
    """
    from ttt_data import Tokenizer

    if name is not None and Tokenizer.load(name) != own:
        raise TokenizerError(
            f"--tokenizer {name} is not the tokenizer {run} was trained with; "
            "leave it out, the run has its own"
        )


def check_writable(path: str, *, replace: bool = True) -> None:
    """Refuse a file that cannot be written before the work it is to hold is done.

    Raises:
        CheckpointError: the folder is missing or not writable, or something is in the way.
    """
    target = Path(path)
    folder = target.parent
    obstacle = None
    if not folder.is_dir():
        obstacle = f"there is no folder {folder}"
    elif target.is_dir():
        obstacle = "it is a folder; expected the name of a file"
    elif not os.access(folder, os.W_OK):
        obstacle = f"the folder {folder} is not writable"
    elif target.exists() and not replace:
        obstacle = "it exists; choose another name or add --overwrite"
    if obstacle:
        raise CheckpointError(f"cannot write {path}: {obstacle}")


def read_text(
    text: str | None, path: str | None, *, name: str, option: str, keep_end: bool = False
) -> str | None:
    """Text from wherever it is given: an argument, a file, or stdin where either is `-`.

    Args:
        text: the argument.
        path: of the file.
        name: of the argument, for messages.
        option: of the file, for messages.
        keep_end: keep the line break that ends a file.

    Returns:
        The text; None if neither is given.

    Raises:
        InvalidValueError: both are given, the file cannot be read, or the bytes are not UTF-8.
    """
    if text is not None and path is not None:
        raise InvalidValueError(f"the text is given twice, as {name} and by {option}")
    source = "-" if text == "-" else path
    if source is None:
        # As the shell gave it, which need not be UTF-8 either.
        return None if text is None else _decode(os.fsencode(text), name)
    try:
        content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise InvalidValueError(f"{option} {source}: {error.strerror}") from error
    decoded = _decode(content, "stdin" if source == "-" else source)
    return decoded if keep_end else decoded.removesuffix("\n")


def _decode(content: bytes, place: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidValueError(f"the text in {place} is not UTF-8: {error}") from error
