"""What the commands of `ttt data` print, for people and for programs."""

import shlex
from typing import TYPE_CHECKING

import msgspec

from ttt_cli.progress import duration, megabytes, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ttt_data.hub import FetchResult
    from ttt_data.prepare import PrepareResult, Progress
    from ttt_data.readers import Split
    from ttt_data.store import Format, TokenStore


class StoreFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What `ttt data info --json` prints."""

    folder: str
    fingerprint: str
    vocab_size: int
    tokenizer_sha256: str
    eos_id: int
    bos_id: int | None
    pad_id: int | None
    token_bytes: int
    """Bytes of a token on the disk."""
    splits: dict[str, dict[str, int]]
    """Documents, tokens, text bytes and shards of each."""
    sources: list[dict[str, str | int | float | bool | None]]


class ForeignSplit(msgspec.Struct, frozen=True, kw_only=True):
    """What `ttt data info --json` prints of a split in the token files of another program."""

    format: "Format"
    files: int
    tokens: int
    largest_id: int


class ForeignFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What `ttt data info --json` prints of token files of another program."""

    path: str
    splits: "dict[Split, ForeignSplit]"
    """Under `train` alone if the names of the files tell no split."""


class Peeked(msgspec.Struct, frozen=True, kw_only=True):
    """What `ttt data peek --json` prints."""

    split: str
    sample: int
    """Its number in a run, over all epochs."""
    epoch: int
    window: int
    """Its number in the text."""
    num_windows: int
    """In an epoch."""
    first_token: int
    """Place of its first token in the split."""
    token_ids: list[int]
    """One more than the model reads: the last one is to be predicted only."""
    text: str


def to_json(value: object) -> str:
    """Encode a result; paths become text."""
    return msgspec.json.encode(value, enc_hook=str).decode()


def progress_text(progress: "Progress") -> str:
    """Say in a line how far a preparation is."""
    total = progress.total_bytes
    of_total = "" if total is None else f" of about {megabytes(total)}"
    left = "" if progress.eta_s is None else f", {duration(progress.eta_s)} left"
    return (
        f"{progress.split}: {megabytes(progress.text_bytes)}{of_total}, "
        f"{progress.documents:,} documents, {megabytes(progress.bytes_per_s)}/s, "
        f"{progress.tokens_per_s / 1e6:.2f} M tokens/s{left}"
    )


def download_text(done_bytes: int, total_bytes: int) -> str:
    """Say in a line how far a download is."""
    return f"download: {megabytes(done_bytes)} of {megabytes(total_bytes)}"


def describe_prepared(result: "PrepareResult") -> str:
    """Say what a preparation did, what it left out, and what can be done next."""
    text_bytes = sum(split.text_bytes for split in result.splits.values())
    tokens = sum(split.tokens for split in result.splits.values())
    rows = [
        (name, f"{split.documents:,} documents, {split.tokens:,} tokens, {split.shards} shards")
        for name, split in result.splits.items()
    ]
    rows += [
        ("text", f"{megabytes(text_bytes)}, {text_bytes / tokens:.2f} bytes a token"),
        ("encoding", f"{result.encoding_path}: {result.encoding_reason}"),
    ]
    if result.kept_documents:
        rows.append(("kept", f"{result.kept_documents:,} documents of an earlier run"))
    rows += [("left out", str(problem)) for problem in result.problems]
    rows += [
        ("time", duration(result.elapsed_s)),
        ("try", f"ttt train --data {shlex.quote(str(result.folder))}"),
    ]
    return table(rows)


def describe_fetched(result: "FetchResult") -> str:
    """Say what was downloaded and how to go on."""
    rows = [
        ("from", f"{result.repo} at {result.commit}"),
        ("files", f"{len(result.files)} in {result.folder}"),
        ("size", f"{megabytes(result.num_bytes)}, {megabytes(result.num_fetched_bytes)} of it new"),
    ]
    if result.yields == "text":
        separator = f" --separator {shlex.quote(result.separator)}" if result.separator else ""
        folder = shlex.quote(str(result.folder))
        rows.append(("try", f"ttt data prepare {folder}{separator} --out DIR"))
    return table(rows)


def store_facts(store: "TokenStore") -> StoreFacts:
    """Gather what a store holds."""
    manifest = store.manifest
    return StoreFacts(
        folder=str(store.folder),
        fingerprint=store.fingerprint,
        vocab_size=manifest.vocab_size,
        tokenizer_sha256=manifest.tokenizer.sha256,
        eos_id=manifest.eos_id,
        bos_id=manifest.bos_id,
        pad_id=manifest.pad_id,
        token_bytes=manifest.token_bytes,
        splits={
            name: {
                "documents": split.num_documents,
                "tokens": split.num_tokens,
                "text_bytes": split.text_bytes,
                "shards": len(split.shards),
            }
            for name, split in manifest.splits.items()
        },
        sources=manifest.provenance.sources,
    )


def describe_store(facts: StoreFacts) -> str:
    """Say what a store holds."""
    rows = [
        (
            name,
            f"{split['documents']:,} documents, {split['tokens']:,} tokens, "
            f"{megabytes(split['text_bytes'])} of text, {split['shards']} shards",
        )
        for name, split in facts.splits.items()
    ]
    rows += [
        ("vocabulary", f"{facts.vocab_size:,} tokens, {facts.token_bytes} bytes each"),
        ("tokenizer", facts.tokenizer_sha256),
        *(("source", f"{source['name']}, {source['fingerprint']}") for source in facts.sources),
        ("fingerprint", facts.fingerprint),
    ]
    return table(rows)


def foreign_facts(path: str, files: "Mapping[Split | None, Sequence[Path]]") -> ForeignFacts:
    """Read what token files of another program hold."""
    from ttt_data.stats import token_counts
    from ttt_data.store import detect_format, open_foreign

    splits: dict[Split, ForeignSplit] = {}
    for split, paths in files.items():
        tokens = open_foreign(paths)
        splits[split or "train"] = ForeignSplit(
            format=detect_format(paths[0]),
            files=len(paths),
            tokens=len(tokens),
            largest_id=len(token_counts(tokens)) - 1,
        )
    return ForeignFacts(path=path, splits=splits)


def describe_foreign(facts: ForeignFacts) -> str:
    """Say what token files of another program hold."""
    rows = [
        (
            name,
            f"{split.tokens:,} tokens up to id {split.largest_id:,}, {split.format}, "
            f"{split.files} file{'s' if split.files > 1 else ''}",
        )
        for name, split in facts.splits.items()
    ]
    train = f"ttt train --data {shlex.quote(facts.path)} --tokenizer NAME"
    return table([*rows, ("try", train)])


def describe_peeked(seen: Peeked) -> str:
    """Show a sample under a line that says where it is from."""
    num_read = len(seen.token_ids) - 1
    return (
        f"sample {seen.sample} of {seen.split}: epoch {seen.epoch}, window {seen.window} of "
        f"{seen.num_windows}, tokens {seen.first_token} to {seen.first_token + num_read}\n"
        f"{'-' * 72}\n{seen.text}"
    )
