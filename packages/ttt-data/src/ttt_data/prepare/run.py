"""The preparation, from beginning to end."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from ttt_config.errors import DataError
from ttt_data.batches import batches
from ttt_data.encoding import Encoder, EncodingPath
from ttt_data.prepare.pool import EncodingPool
from ttt_data.prepare.progress import Meter, Progress
from ttt_data.prepare.provenance import store_provenance
from ttt_data.prepare.workload import Estimate, Pass, check_documents, plan_passes
from ttt_data.readers import Problem, Source, SourceDocument, Split
from ttt_data.store import Manifest, TokenStoreWriter
from ttt_data.store.writer import DEFAULT_SHARD_TOKENS
from ttt_data.tokenizer import Tokenizer


class SplitSummary(Struct, frozen=True):
    """What one split of a prepared store holds."""

    documents: int
    tokens: int
    text_bytes: int
    shards: int


class PrepareResult(Struct, frozen=True, kw_only=True):
    """What a preparation did.

    Attributes:
        folder: the token store.
        fingerprint: of the store.
        splits: what it holds, by name.
        kept_documents: those that an earlier, interrupted run had stored.
        problems: what the sources held that could not be used.
        encoding_path: how text became ids, see `Encoder`.
        encoding_reason: why so.
        elapsed_s: for reading, encoding and writing.
    """

    folder: Path
    fingerprint: str
    splits: dict[str, SplitSummary]
    kept_documents: int
    problems: tuple[Problem, ...]
    encoding_path: EncodingPath
    encoding_reason: str
    elapsed_s: float


def prepare(
    sources: Sequence[Source],
    out: str | Path,
    *,
    tokenizer: Tokenizer | str | Path = "bpe-4096",
    workers: int = 1,
    shard_tokens: int = DEFAULT_SHARD_TOKENS,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> PrepareResult:
    """Encode the documents of some sources and write them as a token store.

    Every document is followed by the end-of-text token. The splits are those of the sources, one
    source after the other; all bytes of the store depend on the sources, the tokenizer and
    `shard_tokens` alone. After an error, Ctrl-C or a kill, a call with the same arguments goes on
    after the last finished shard; the number of workers and what is done about bad documents may
    differ. With several workers, a script must hold its work behind `if __name__ == "__main__":`.

    Args:
        sources: made by `open_source`.
        out: folder of the store; made if need be.
        tokenizer: or what `Tokenizer.load` takes.
        workers: 1 for this process, more for so many others beside it.
        shard_tokens: tokens of a shard, at most, unless a single document has more.
        overwrite: replace a finished store, or an unfinished one begun with other arguments.
        progress: called after every batch of about a million characters.

    Raises:
        DataError: a source cannot be read or has no document for one of its splits, the folder is
            taken or another process writes to it, or the disk is full.
        TokenizerError: the tokenizer cannot be loaded or has no end-of-text token.
    """
    if not sources:
        raise DataError("nothing to prepare: no source was given")
    if not isinstance(tokenizer, Tokenizer):
        tokenizer = Tokenizer.load(tokenizer)
    for source in sources:
        check_documents(source)
    passes = plan_passes(sources)
    writer = TokenStoreWriter(
        out,
        tokenizer_json=tokenizer.to_json(),
        vocab_size=tokenizer.vocab_size,
        eos_id=tokenizer.eos_id,
        bos_id=tokenizer.bos_id,
        pad_id=tokenizer.pad_id,
        shard_tokens=shard_tokens,
        provenance=store_provenance(sources),
        overwrite=overwrite,
    )
    with writer:
        encoder = Encoder.choose(tokenizer, _texts(sources[0].documents("train")))
        meter = Meter(Estimate(sources, passes), progress)
        with EncodingPool(encoder, workers) as pool:
            problems = _run(passes, sources, writer, pool, meter)
        manifest = writer.finish()
    return PrepareResult(
        folder=Path(out),
        fingerprint=manifest.fingerprint,
        splits=_summaries(manifest),
        kept_documents=meter.kept_documents,
        problems=problems,
        encoding_path=encoder.path,
        encoding_reason=encoder.reason,
        elapsed_s=meter.elapsed_s,
    )


def _run(
    passes: Sequence[Pass],
    sources: Sequence[Source],
    writer: TokenStoreWriter,
    pool: EncodingPool,
    meter: Meter,
) -> tuple[Problem, ...]:
    """Write all documents that are not stored yet and return what was wrong with the others."""
    # Several passes over one file meet the same problems, the first of which is the example.
    problems: dict[tuple[int, str, str], Problem] = {}
    to_keep = {each.split: writer.stored_documents(each.split) for each in passes}
    for each in passes:
        source = sources[each.source]
        meter.begin_pass(source.spec, each.split)
        documents = source.documents(each.split)
        for batch in pool.encode(batches(_not_stored(documents, each.split, to_keep, meter))):
            for tokens, text_bytes in batch.documents():
                writer.add_document(each.split, tokens, text_bytes)
            meter.add(batch)
        meter.end_pass()
        for problem in source.problems:
            problems[each.source, problem.kind, problem.example] = problem
    return tuple(problems.values())


def _not_stored(
    documents: Iterable[SourceDocument], split: Split, to_keep: dict[Split, int], meter: Meter
) -> Iterator[str]:
    """The texts of the documents that come after those an earlier run has stored."""
    for document in documents:
        if to_keep[split] > 0:
            to_keep[split] -= 1
            meter.keep(len(document.text.encode()))
        else:
            yield document.text


def _texts(documents: Iterable[SourceDocument]) -> Iterator[str]:
    return (document.text for document in documents)


def _summaries(manifest: Manifest) -> dict[str, SplitSummary]:
    return {
        name: SplitSummary(
            split.num_documents, split.num_tokens, split.text_bytes, len(split.shards)
        )
        for name, split in manifest.splits.items()
    }
