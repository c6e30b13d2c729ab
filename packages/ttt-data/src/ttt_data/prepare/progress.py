"""How far a preparation is and how fast it goes."""

import time
from collections.abc import Callable

from msgspec import Struct

from ttt_data.batches import EncodedBatch
from ttt_data.prepare.workload import Estimate


class Progress(Struct, frozen=True, kw_only=True):
    """A moment of a preparation.

    Attributes:
        source: what is being read.
        split: of which split.
        documents: so far, over all splits; those of an earlier, interrupted run count.
        text_bytes: of them, in UTF-8.
        tokens: made by this run.
        total_bytes: text there will be in the end, an estimate; None as long as nobody can say.
        elapsed_s: since this run began to read.
        bytes_per_s: text encoded by this run.
        tokens_per_s: made by this run.
        eta_s: seconds left at the speed of the present pass; None as long as nobody can say.
    """

    source: str
    split: str
    documents: int
    text_bytes: int
    tokens: int
    total_bytes: int | None
    elapsed_s: float
    bytes_per_s: float
    tokens_per_s: float
    eta_s: float | None


class Meter:
    """Counts what a preparation does.

    Attributes:
        documents: counted so far.
        kept_documents: those of them that an earlier run had stored.
    """

    def __init__(self, estimate: Estimate, report: Callable[[Progress], None] | None) -> None:
        self.documents = 0
        self.kept_documents = 0
        self._estimate = estimate
        self._report = report
        self._text_bytes = self._encoded_bytes = self._tokens = 0
        self._source = self._split = ""
        self._began_s = time.perf_counter()
        self._pass_start_bytes = 0
        self._mark_speed()

    @property
    def elapsed_s(self) -> float:
        """Since the meter was made."""
        return time.perf_counter() - self._began_s

    def begin_pass(self, source: str, split: str) -> None:
        """The next pass begins."""
        self._source, self._split = source, split
        self._pass_start_bytes = self._text_bytes
        self._mark_speed()

    def end_pass(self) -> None:
        """The pass is over."""
        self._estimate.finish(self._text_bytes - self._pass_start_bytes)

    def keep(self, text_bytes: int) -> None:
        """A document was read that an earlier run has stored."""
        self.documents += 1
        self.kept_documents += 1
        self._text_bytes += text_bytes
        self._mark_speed()

    def add(self, batch: EncodedBatch) -> None:
        """A batch was stored."""
        text_bytes = sum(batch.text_bytes)
        self.documents += len(batch.lengths)
        self._text_bytes += text_bytes
        self._encoded_bytes += text_bytes
        self._tokens += len(batch.tokens)
        if self._report is not None:
            self._report(self._progress())

    def _progress(self) -> Progress:
        elapsed_s = self.elapsed_s
        total_bytes = self._estimate.total_bytes
        return Progress(
            source=self._source,
            split=self._split,
            documents=self.documents,
            text_bytes=self._text_bytes,
            tokens=self._tokens,
            total_bytes=total_bytes and max(total_bytes, self._text_bytes),
            elapsed_s=elapsed_s,
            bytes_per_s=self._encoded_bytes / elapsed_s,
            tokens_per_s=self._tokens / elapsed_s,
            eta_s=self._eta_s(total_bytes),
        )

    def _eta_s(self, total_bytes: int | None) -> float | None:
        if total_bytes is None:
            return None
        num_bytes, seconds = self._encoded_bytes - self._mark_bytes, self.elapsed_s - self._mark_s
        return max(0, total_bytes - self._text_bytes) * seconds / num_bytes

    def _mark_speed(self) -> None:
        """Measure the speed from here on: reading what is stored already is much faster."""
        self._mark_bytes, self._mark_s = self._encoded_bytes, self.elapsed_s
