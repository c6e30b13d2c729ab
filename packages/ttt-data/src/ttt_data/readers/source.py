"""A source of text: documents in a fixed order, their splits, and where they came from."""

import math
import platform
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property

from ttt_config.errors import DataError
from ttt_data import chronicles
from ttt_data.readers.document import SourceDocument, Split
from ttt_data.readers.files import FileSet
from ttt_data.readers.interpreter import interpreter_texts
from ttt_data.readers.options import ReadOptions
from ttt_data.readers.problems import Problems
from ttt_data.readers.provenance import Provenance, record_file
from ttt_data.readers.splits import Fractions, take


class Source(ABC):
    """Documents, read anew on every pass; made by `open_source`.

    Attributes:
        spec: the source as the user wrote it.
        problems: what the latest pass could not use; complete when the pass is.
    """

    def __init__(self, spec: str, options: ReadOptions, fractions: Fractions) -> None:
        self.spec = spec
        self.problems = Problems(options.on_bad)
        self._options = options
        self._fractions = fractions

    def __iter__(self) -> Iterator[SourceDocument]:
        return self.documents()

    def documents(self, split: Split | None = None) -> Iterator[SourceDocument]:
        """Yield the documents of a split, or all, in an order that never changes.

        The splits share no document, and no text that occurs twice falls into two of them; files
        named for the splits are taken as they are.

        Raises:
            DataError: a file cannot be read, a document is bad and the policy is to stop, or there
                is no document at all.
        """
        if split is not None:
            self._require_share(split)
        self.problems = problems = Problems(self._options.on_bad)
        empty = True
        for document in self._read(split, problems):
            empty = False
            yield document
        if empty:
            raise DataError(self._nothing_found(split, problems))

    def fingerprint(self) -> str:
        """Return a hash that changes when the documents, their order or their splits do."""
        return self.provenance.fingerprint()

    @cached_property
    @abstractmethod
    def provenance(self) -> Provenance:
        """Where the documents come from; files are hashed at the first use."""

    @abstractmethod
    def _read(self, split: Split | None, problems: Problems) -> Iterator[SourceDocument]: ...

    def _require_share(self, split: Split) -> None:
        if self._fractions.share(split) == 0:
            raise DataError(f"`{self.spec}` has no {split} split: {split}_fraction is 0")

    def _nothing_found(self, split: Split | None, problems: Problems) -> str:
        seen = f" ({problems})" if problems.total else ""
        if split is None:
            return f"no document in `{self.spec}`{seen}"
        advice = "" if split == "train" else f", raise {split}_fraction"
        return (
            f"no document of `{self.spec}` falls into the {split} split{seen}; give more documents"
            f"{advice} or name files or folders train, val and test"
        )


class FileSource(Source):
    """Text files of any format, wherever they came from.

    Args:
        spec: the source as the user wrote it.
        files: what it stands for.
        options: how they are read.
        fractions: shares held out of what the names of the files leave to decide.
        facts: more that the documents depend on, such as the revision they were downloaded from.
    """

    def __init__(
        self,
        spec: str,
        files: FileSet,
        options: ReadOptions,
        fractions: Fractions,
        facts: dict[str, object] | None = None,
    ) -> None:
        named = files.named_splits
        self._held_out_by_hash = Fractions(
            val=0 if "val" in named else fractions.val,
            test=0 if "test" in named else fractions.test,
        )
        super().__init__(spec, options, fractions)
        self._files = files
        self._facts = facts or {}

    @cached_property
    def provenance(self) -> Provenance:
        """Where the documents come from: name, size and hash of every file."""
        files = self._files.files
        facts: dict[str, object] = {
            "text_field": self._options.text_field,
            "separator": self._options.separator,
            "encoding": self._options.codec,
            "fractions": self._held_out_by_hash.facts(),
            "formats": [file.format for file in files],
            "splits": [file.split for file in files],
            **self._facts,
        }
        records = tuple(record_file(file.path, file.name) for file in files)
        return Provenance(kind="files", spec=self.spec, facts=facts, files=records)

    def _read(self, split: Split | None, problems: Problems) -> Iterator[SourceDocument]:
        for name in self._files.others:
            problems.note("file not read", name, "no text file, or outside the splits named")
        named = self._files.named_splits
        if split in named and split != "train":
            yield from self._read_files(split, problems)
        elif split is None:
            yield from self._read_files(None, problems)
        else:
            pool = self._read_files("train" if named else None, problems)
            yield from take(pool, split, self._held_out_by_hash)

    def _read_files(self, split: Split | None, problems: Problems) -> Iterator[SourceDocument]:
        for file in self._files.files:
            if split is None or file.split == split:
                yield from file.documents(self._options, problems)

    def _require_share(self, split: Split) -> None:
        if split not in self._files.named_splits:
            super()._require_share(split)


class ChroniclesSource(Source):
    """The built-in corpus; its splits are streams of their own.

    Args:
        num_documents: in the training split; the fractions of it come on top for the other two.
        seed: of the corpus.
        knobs: length and difficulty of the documents.
        fractions: sizes of the held-out splits.
    """

    def __init__(
        self,
        num_documents: int,
        seed: int,
        knobs: chronicles.ChronicleKnobs,
        fractions: Fractions,
    ) -> None:
        if num_documents < 1:
            raise DataError(f"num_documents must be 1 or more, got {num_documents}")
        super().__init__("chronicles", ReadOptions(), fractions)
        self._seed = seed
        self._knobs = knobs
        self._counts: dict[Split, int] = {
            "train": num_documents,
            "val": math.ceil(num_documents * fractions.val),
            "test": math.ceil(num_documents * fractions.test),
        }

    @cached_property
    def provenance(self) -> Provenance:
        """Where the documents come from: version, seed, knobs and counts."""
        facts: dict[str, object] = {
            "version": chronicles.CORPUS_VERSION,
            "seed": self._seed,
            "knobs": asdict(self._knobs),
            "documents": self._counts,
        }
        return Provenance(kind="chronicles", spec=self.spec, facts=facts)

    def _read(self, split: Split | None, problems: Problems) -> Iterator[SourceDocument]:
        del problems  # there are none
        for name, count in self._counts.items():
            if split not in (None, name):
                continue
            for index in range(count):
                document = chronicles.document(
                    index, seed=self._seed, split=name, knobs=self._knobs
                )
                yield SourceDocument(document.text, f"chronicles/{name}/{self._seed}/{index}")


class StdlibSource(Source):
    """Documentation of the running interpreter; it depends on the version of Python.

    Args:
        fractions: shares of the documents held out.
    """

    def __init__(self, fractions: Fractions) -> None:
        super().__init__("stdlib", ReadOptions(), fractions)

    @cached_property
    def provenance(self) -> Provenance:
        """Where the documents come from: the interpreter's version and a hash of the texts."""
        facts: dict[str, object] = {
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "sha256": interpreter_texts().sha256,
            "fractions": self._fractions.facts(),
        }
        return Provenance(kind="stdlib", spec=self.spec, facts=facts)

    def _read(self, split: Split | None, problems: Problems) -> Iterator[SourceDocument]:
        texts = interpreter_texts()
        for name, reason in texts.unread:
            problems.note("file not read", name, reason)
        if split is None:
            yield from texts.documents
        else:
            yield from take(texts.documents, split, self._fractions)
