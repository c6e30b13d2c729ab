"""Worker processes that encode batches; what comes out is in the order of what went in.

`concurrent.futures` would do but for two things: on Python 3.11 it can wait forever once a worker
has died, and its workers outlive a parent that is killed. Here each worker has a pipe of its own,
and either side sees the other's end as the end of the pipe.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import resource_tracker
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ttt_config.errors import DataError
from ttt_data.batches import BatchEncoder, EncodedBatch
from ttt_data.encoding import Encoder
from ttt_data.tokenizer import Tokenizer

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


class EncodingPool:
    """Encodes batches in this process, or in several others; a context manager that ends them.

    The others are started anew, not forked, so they share no locks or threads with this one.

    Args:
        encoder: what to encode with.
        workers: 1 for this process, more for so many others.

    Raises:
        DataError: fewer than one worker.
        TokenizerError: the tokenizer has no end-of-text token.
    """

    def __init__(self, encoder: Encoder, workers: int) -> None:
        if workers < 1:
            raise DataError(f"workers must be 1 or more, got {workers}")
        self._here = BatchEncoder(encoder)
        self._others = _start(workers) if workers > 1 else []
        tokenizer = encoder.tokenizer
        for worker in self._others:  # once all are starting
            worker.send((tokenizer.to_json(), tokenizer.name, encoder.path != "plain"))

    def __enter__(self) -> "EncodingPool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._others:
            worker.end()

    def encode(self, batches: Iterable[Sequence[str]]) -> Iterator[EncodedBatch]:
        """Encode batches in order, one for each worker at a time; to be iterated to the end.

        Raises:
            DataError: a worker died.
        """
        if not self._others:
            yield from map(self._here.encode, batches)
            return
        idle, busy = deque(self._others), deque[_Worker]()
        for batch in batches:
            result = None
            if not idle:
                result = busy[0].receive()
                idle.append(busy.popleft())
            idle[0].send(batch)  # before the result is used, which takes time
            busy.append(idle.popleft())
            if result is not None:
                yield result
        for worker in busy:
            yield worker.receive()


class _Worker:
    """A process and our end of the pipe to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, its_end = context.Pipe()
        self._process = context.Process(target=_work, args=(its_end,), daemon=True)
        self._process.start()
        its_end.close()

    def send(self, message: object) -> None:
        with suppress(BrokenPipeError):  # then there is nothing to receive, which is reported
            self._pipe.send(message)

    def receive(self) -> EncodedBatch:
        try:
            answer = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            raise DataError(
                "a worker process died: killed for lack of memory, perhaps (then use fewer), or "
                "started by a script that does not hold its work behind "
                "`if __name__ == '__main__':`"
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        self._pipe.close()
        self._process.terminate()
        self._process.join()


def _start(count: int) -> list[_Worker]:
    """Start workers that Ctrl-C does not reach: it goes to all processes, but is the parent's."""
    resource_tracker.ensure_running()  # later it would unblock what is blocked here
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return [_Worker() for _ in range(count)]  # they inherit the mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _work(pipe: "Connection[Any, Any]") -> None:
    """Learn the tokenizer, then answer batches until the other side ends: the life of a worker."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core for each worker
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        tokenizer_json, name, fast = pipe.recv()
        encoder = BatchEncoder(Encoder(Tokenizer.from_json(tokenizer_json, name), fast=fast))
        while True:
            texts = pipe.recv()
            try:
                answer: EncodedBatch | Exception = encoder.encode(texts)
            except Exception as error:  # whatever it is, it is the parent's to report
                answer = error
            pipe.send(answer)
