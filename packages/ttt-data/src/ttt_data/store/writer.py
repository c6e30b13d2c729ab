"""Writes a token store, shard by shard, so that a kill loses at most the shards that are open."""

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import msgspec
import numpy as np

from ttt_config.errors import DataError
from ttt_data.store.begin import begin
from ttt_data.store.digest import record_bytes
from ttt_data.store.durable import AtomicFile, write_error
from ttt_data.store.header import token_bytes
from ttt_data.store.lock import FolderLock
from ttt_data.store.manifest import (
    MANIFEST_NAME,
    MAX_INT32,
    TOKENIZER_NAME,
    Manifest,
    Plan,
    Provenance,
    SplitName,
    encode_manifest,
    make_manifest,
)
from ttt_data.store.shard import ShardWriter

DEFAULT_SHARD_TOKENS = 100_000_000


class TokenStoreWriter:
    """Fills a folder with a token store; a context manager that finishes it if the block ends well.

    A block that ends in an error, or a process that is killed, leaves the folder unfinished: no
    reader opens it, and a writer made with the same arguments goes on after the finished shards.
    The files it ends with are the same bytes as without the interruption, provided the caller
    leaves out the first `stored_documents(split)` documents of each split:

        with TokenStoreWriter(folder, tokenizer_json=..., vocab_size=4096, eos_id=1) as writer:
            done = writer.stored_documents("train")
            for ids, text_bytes in islice(documents, done, None):
                writer.add_document("train", ids, text_bytes)

    Args:
        folder: made if need be; must be empty or hold a token store.
        tokenizer_json: text of the tokenizer.json the ids belong to; kept in the store with its
            keys sorted and without spaces, so that its hash is `Tokenizer.sha256`.
        vocab_size: one more than the largest id; decides between two and four bytes per token.
        eos_id: the id that ends a document. It is recorded only: documents bring their own.
        bos_id: the id that begins a document, if there is one.
        pad_id: the id of padding, if there is one.
        shard_tokens: a shard is closed before it would pass this many tokens. It holds whole
            documents; one that is larger by itself gets its own shard.
        provenance: written into the manifest.
        overwrite: replace a finished store, or an unfinished one begun with other arguments.

    Raises:
        DataError: the folder must not be touched, another writer is in it, the arguments are not
            those it was begun with, or the disk is full.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        tokenizer_json: str,
        vocab_size: int,
        eos_id: int,
        bos_id: int | None = None,
        pad_id: int | None = None,
        shard_tokens: int = DEFAULT_SHARD_TOKENS,
        provenance: Provenance | None = None,
        overwrite: bool = False,
    ) -> None:
        self.folder = Path(folder)
        tokenizer = _canonical_json(tokenizer_json)
        self._plan = _checked(
            Plan(
                vocab_size=vocab_size,
                token_bytes=token_bytes(vocab_size),
                eos_id=eos_id,
                bos_id=bos_id,
                pad_id=pad_id,
                tokenizer=record_bytes(TOKENIZER_NAME, tokenizer),
                shard_tokens=shard_tokens,
                provenance=provenance or Provenance(),
            )
        )
        self._dtype = np.dtype(f"<u{self._plan.token_bytes}")
        self._open: dict[str, ShardWriter] = {}
        self._closed = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(self.folder, error) from error
        self._lock = FolderLock(self.folder)
        try:
            self._journal = begin(self.folder, self._plan, tokenizer, overwrite=overwrite)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "TokenStoreWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and not self._closed:
            self.finish()
        else:
            self.abandon()

    def stored_documents(self, split: str) -> int:
        """Return how many documents of a split are in finished shards already."""
        return sum(shard.num_documents for shard in self._journal.shards.get(split, ()))

    def add_document(self, split: str, ids: Sequence[int] | np.ndarray, text_bytes: int) -> None:
        """Append a document to a split.

        Args:
            split: name of the split, letters, digits and underscores.
            ids: (tokens,), integers below `vocab_size`, the end-of-text token included.
            text_bytes: length of the text in UTF-8, for bits per byte.

        Raises:
            DataError: an id is not in the vocabulary, and nothing was added; or the disk is full,
                and the writer is closed with its finished shards kept.
        """
        self._check_open()
        _check_document(split, text_bytes)
        tokens = self._tokens(split, ids)
        with self._keeping_finished_shards():
            shard = self._shard_for(split, len(tokens))
            shard.add(tokens, text_bytes)

    def finish(self) -> Manifest:
        """Close the open shards and commit the manifest, which makes the store readable.

        Raises:
            DataError: no document was added, or the disk is full.
        """
        self._check_open()
        if not self._open and not self._journal.shards:
            raise DataError(f"nothing to write to `{self.folder}`: no document was added")
        with self._keeping_finished_shards():
            for split in sorted(self._open):
                self._finish_shard(split)
            manifest = make_manifest(self._plan, self._journal.shards)
            with AtomicFile(self.folder / MANIFEST_NAME) as file:
                file.write(encode_manifest(manifest))
        self._journal.remove()
        self.abandon()
        return manifest

    def abandon(self) -> None:
        """Leave the folder as it is, without the open shards; without effect when closed."""
        if self._closed:
            return
        self._closed = True
        for shard in self._open.values():
            shard.discard()
        self._lock.release()

    def _check_open(self) -> None:
        if self._closed:
            raise DataError(f"the writer of `{self.folder}` is closed; make a new one to go on")

    def _shard_for(self, split: str, num_tokens: int) -> ShardWriter:
        shard = self._open.get(split)
        if shard and shard.num_tokens + num_tokens > self._plan.shard_tokens:
            self._finish_shard(split)
            shard = None
        if shard is None:
            index = len(self._journal.shards.get(split, ()))
            shard = self._open[split] = ShardWriter(self.folder, split, index, self._plan)
        return shard

    def _finish_shard(self, split: str) -> None:
        self._journal.append(split, self._open[split].finish())
        del self._open[split]

    def _tokens(self, split: str, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """The ids in the type of the store."""
        tokens = np.asarray(ids)
        if tokens.size == 0:
            return np.empty(0, self._dtype)
        if tokens.ndim != 1 or tokens.dtype.kind not in "iu" or len(tokens) > MAX_INT32:
            raise DataError(
                f"{self._place(split)}: expected up to {MAX_INT32:,} integers in one dimension, "
                f"got {tokens.dtype} of shape {tokens.shape}"
            )
        if tokens.max() >= self._plan.vocab_size or tokens.min() < 0:
            bad = int(np.argmax((tokens >= self._plan.vocab_size) | (tokens < 0)))
            raise DataError(
                f"{self._place(split)}: token {bad} is {tokens[bad]}, "
                f"expected an id from 0 to {self._plan.vocab_size - 1}"
            )
        return tokens.astype(self._dtype, copy=False)

    def _place(self, split: str) -> str:
        in_shard = self._open[split].num_documents if split in self._open else 0
        return f"document {self.stored_documents(split) + in_shard} of split `{split}`"

    @contextmanager
    def _keeping_finished_shards(self) -> Generator[None, None, None]:
        try:
            yield
        except DataError as error:
            self.abandon()
            kept = sum(len(shards) for shards in self._journal.shards.values())
            raise DataError(f"{error} ({kept} finished shards are kept)") from error
        except BaseException:  # the open shard may hold half a document
            self.abandon()
            raise


def _canonical_json(text: str) -> bytes:
    """The tokenizer with its keys sorted and without spaces, as `Tokenizer.sha256` hashes it."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(f"tokenizer_json is not JSON: {error}") from error
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _check_document(split: str, text_bytes: int) -> None:
    try:
        msgspec.convert(split, SplitName)
    except msgspec.ValidationError as error:
        raise DataError(f"`{split}` cannot be the name of a split: {error}") from error
    if text_bytes < 0:
        raise DataError(f"text_bytes is {text_bytes}, expected 0 or more")


def _checked(plan: Plan) -> Plan:
    """Validate the plan, which constructing it does not."""
    try:
        checked = msgspec.convert(msgspec.to_builtins(plan), Plan)
    except (msgspec.ValidationError, TypeError) as error:
        raise DataError(f"cannot make a token store: {error}") from error
    for name in ("eos_id", "bos_id", "pad_id"):
        special = getattr(checked, name)
        if special is not None and special >= checked.vocab_size:
            raise DataError(
                f"{name} is {special}, expected an id below vocab_size {checked.vocab_size}"
            )
    return checked
