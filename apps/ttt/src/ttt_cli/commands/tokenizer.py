"""`ttt tokenizer`: train a tokenizer, or say what one is."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from ttt_cli.app import new_app
from ttt_cli.data_errors import as_options
from ttt_cli.options import Common, common_options
from ttt_cli.progress import ProgressLine, megabytes, table
from ttt_config import ConfigError, TokenizerError

if TYPE_CHECKING:
    from ttt_data import Tokenizer

app = new_app("Train a tokenizer, or say what one is.")

SAMPLE_DOCUMENTS = 40
"""Chronicles that show how long tokens are."""


class TokenizerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints."""

    name: str
    vocab_size: int
    eos_id: int | None
    bos_id: int | None
    pad_id: int | None
    sha256: str
    """Of its canonical JSON, as token stores and checkpoints record it."""
    sample: str
    bytes_per_token: float
    """On the sample."""
    encoding_path: str
    encoding_reason: str


@app.command()
@common_options
def train(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Text, as for `ttt data prepare`."),
    ],
    common: Common,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="The tokenizer.json to write.")],
    vocab_size: Annotated[
        int, typer.Option("--vocab-size", help="Tokens: 3 special ones, 256 bytes, merges.")
    ] = 4096,
    max_bytes: Annotated[
        int, typer.Option("--max-bytes", help="Learn from so much of the text at most.")
    ] = 100_000_000,
    text_field: Annotated[
        str, typer.Option("--text-field", help="Key or column that holds the text.")
    ] = "text",
    on_bad: Annotated[
        Literal["stop", "skip"], typer.Option("--on-bad", help="What to do at a bad document.")
    ] = "stop",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file, if there is one.")
    ] = False,
) -> None:
    """Learn a byte-level BPE vocabulary from the training split of some text."""
    if Path(out).exists() and not overwrite:
        raise ConfigError(f"--out: `{out}` exists; choose another file or add --overwrite")

    from ttt_data.readers import open_source
    from ttt_data.store.durable import AtomicFile
    from ttt_data.train_tokenizer import train_bpe

    with as_options(), ProgressLine(quiet=common.quiet) as line:
        opened = [
            open_source(spec, text_field=text_field, on_bad=on_bad, test_fraction=0)
            for spec in sources
        ]
        documents = chain.from_iterable(source.documents("train") for source in opened)
        texts = _beginning((document.text for document in documents), max_bytes, line)
        tokenizer = train_bpe(texts, vocab_size, out)
    with AtomicFile(Path(out)) as file:
        file.write(tokenizer.to_json().encode())
    _print(_facts(tokenizer), common)


@app.command()
@common_options
def info(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="bpe-4096, bytes, a tokenizer.json, or a folder that holds one."
        ),
    ],
    common: Common,
) -> None:
    """Say what a tokenizer is made of, how long its tokens are and how text becomes ids."""
    from ttt_data import Tokenizer

    _print(_facts(Tokenizer.load(name)), common)


def _facts(tokenizer: "Tokenizer") -> TokenizerFacts:
    from ttt_data import chronicles
    from ttt_data.encoding import Encoder

    texts = [document.text for document in chronicles.documents("val", SAMPLE_DOCUMENTS)]
    encoder = Encoder.choose(tokenizer, texts)
    num_bytes = sum(len(text.encode()) for text in texts)
    num_tokens = sum(len(ids) for ids in encoder.encode_batch(texts))
    try:
        eos_id, bos_id = tokenizer.eos_id, tokenizer.bos_id
    except TokenizerError:  # it can be looked at, though not trained with
        eos_id = bos_id = None
    return TokenizerFacts(
        name=tokenizer.name,
        vocab_size=tokenizer.vocab_size,
        eos_id=eos_id,
        bos_id=bos_id,
        pad_id=tokenizer.pad_id,
        sha256=tokenizer.sha256,
        sample=f"{SAMPLE_DOCUMENTS} chronicles held out, {megabytes(num_bytes)}",
        bytes_per_token=num_bytes / max(1, num_tokens),
        encoding_path=encoder.path,
        encoding_reason=encoder.reason,
    )


def _print(facts: TokenizerFacts, common: Common) -> None:
    if common.json:
        print(msgspec.json.encode(facts).decode())
        return
    rows = [
        ("tokenizer", facts.name),
        ("vocabulary", f"{facts.vocab_size:,} tokens"),
        ("special ids", f"eos {facts.eos_id}, bos {facts.bos_id}, pad {facts.pad_id}"),
        ("bytes a token", f"{facts.bytes_per_token:.2f} ({facts.sample})"),
        ("encoding", f"{facts.encoding_path}: {facts.encoding_reason}"),
        ("sha256", facts.sha256),
    ]
    print(table(rows))


def _beginning(texts: Iterable[str], max_bytes: int, line: ProgressLine) -> Iterator[str]:
    """The first texts, up to the one that reaches `max_bytes`."""
    num_bytes = 0
    for text in texts:
        yield text
        num_bytes += len(text.encode())
        line.show(f"read {megabytes(num_bytes)}")
        if num_bytes >= max_bytes:
            return
