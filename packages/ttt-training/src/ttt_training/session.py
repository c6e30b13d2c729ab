"""A session: a model reading and writing one text, which can be left and taken up at any token."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version

import msgspec
import torch

from ttt_config import CheckpointCorruptError, CheckpointMismatchError
from ttt_data import Tokenizer
from ttt_layer import ModelState, TTTModel
from ttt_training.device import device_of
from ttt_training.generation import Batch
from ttt_training.reading import Reading, read_on, write_token
from ttt_training.sampling import Sampling
from ttt_training.writer import Writer


class SessionNotes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file of a session says beside the tensors of its state."""

    parameters_sha256: str
    """Of the weights that made the state: `parameters_sha256`."""
    tokenizer_sha256: str
    unread: tuple[int, ...]
    """See `Reading`."""
    recent: tuple[int, ...]
    """See `Reading`."""
    ttt_version: str
    """Of the package that wrote the file."""


class Session:
    """A model, its tokenizer, and how far they have read one text.

    The state of the model is a value and so is the session's: `fork` and `save` work between any
    two tokens, in an open mini-batch too, and what comes after is what would have come without.

    Args:
        model: in any mode, on any device; shared by forks and never changed.
        tokenizer: of the model.

    Attributes:
        reading: where the text stands.
    """

    def __init__(self, model: TTTModel, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.reading = Reading()

    @property
    def position(self) -> int:
        """Tokens of the text so far, read and written."""
        return self.reading.position

    def feed(self, text: str, on_read: Callable[[int], object] | None = None) -> None:
        """Read text; the inner models learn from it, as they do from all text.

        Args:
            text: goes on where the text so far ends.
            on_read: called now and then with the number of tokens read so far.
        """
        token_ids = self.tokenizer.encode(text).tolist()
        self.reading = read_on(self.model, self.reading.append(token_ids), on_read)

    def generate(
        self,
        *,
        max_new_tokens: int = 200,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        stop_at_eos: bool = True,
    ) -> "Answer":
        """Go on writing; the session moves on while the answer is iterated over.

        Args:
            max_new_tokens: how many tokens to draw at most.
            sampling: how tokens are drawn; None: with the defaults.
            stop: strings before the first of which the text ends. The session has written the
                stop string all the same, and goes on after it.
            stop_at_eos: end where the model ends the text.

        Raises:
            InvalidValueError: `max_new_tokens` is negative or a stop string empty.
        """
        self.begin()
        writer = Writer(
            self.tokenizer,
            self.reading.recent,
            max_new_tokens=max_new_tokens,
            stop=stop,
            eos_id=self.tokenizer.eos_id if stop_at_eos else None,
        )
        return Answer(self, writer, sampling or Sampling())

    def begin(self) -> None:
        """Give an empty text its beginning: a new text begins where another has ended."""
        if not self.position:
            self.reading = self.reading.append([self.tokenizer.eos_id])

    def reset(self) -> None:
        """Forget everything."""
        self.reading = Reading()

    def fork(self) -> "Session":
        """A second session that stands where this one does; neither moves the other."""
        other = Session(self.model, self.tokenizer)
        other.reading = self.reading  # a value, never changed in place
        return other

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the session to one file, whole or not at all; an older file is replaced.

        Raises:
            CheckpointError: the file cannot be written.
        """
        notes = SessionNotes(
            parameters_sha256=parameters_sha256(self.model),
            tokenizer_sha256=self.tokenizer.sha256,
            unread=self.reading.unread,
            recent=self.reading.recent,
            ttt_version=version("ttt-training"),
        )
        state = self.reading.state or self.model.initial_state(1)
        state.save(path, {"session": msgspec.json.encode(notes).decode()})

    @staticmethod
    def load(path: str | os.PathLike[str], model: TTTModel, tokenizer: Tokenizer) -> "Session":
        """Take up a session that was saved with the same model and tokenizer.

        Raises:
            CheckpointIncompleteError: there is no such file, or it is cut short.
            CheckpointCorruptError: the file is no session, or has changed since it was written.
            CheckpointMismatchError: the file is another model's, or its tokenizer is another one.
        """
        state, notes = read_session_file(path)
        state.check_fits(model.config, batch_size=1)
        if notes.parameters_sha256 != parameters_sha256(model):
            raise CheckpointMismatchError(
                f"{path} was made by other weights of the same architecture; "
                "give the checkpoint it was saved with"
            )
        if notes.tokenizer_sha256 != tokenizer.sha256:
            raise CheckpointMismatchError(
                f"{path} was made with another tokenizer, {notes.tokenizer_sha256[:12]}; "
                f"this one is {tokenizer.sha256[:12]}"
            )
        session = Session(model, tokenizer)
        # Not the stored state of position 0 but none: it is the model's own, on its device.
        on_device = state.to(device_of(model)) if state.position[0] else None
        session.reading = Reading(on_device, notes.unread, notes.recent)
        return session


class Answer:
    """An answer being written: iterate for its pieces of text, as soon as they are certain.

    Attributes:
        session: moves on with each token.
        writer: has the token ids, the text and the finish reason so far.
    """

    def __init__(self, session: Session, writer: Writer, sampling: Sampling) -> None:
        self.session = session
        self.writer = writer
        self._sampling = sampling

    def __iter__(self) -> Iterator[str]:
        session = self.session
        while self.writer.finish_reason is None:
            session.reading, token = write_token(session.model, session.reading, self._sampling)
            if piece := self.writer.push(token):
                yield piece


def write_together(
    sessions: Sequence[Session],
    samplings: Sequence[Sampling],
    *,
    max_new_tokens: int = 200,
    stop: Sequence[str] = (),
    stop_at_eos: bool = True,
) -> list[Writer]:
    """Write one answer for each session, all in one batch; the sessions stay where they are.

    Each is the answer that `Session.generate` gives, whatever the lengths and the others are.

    Args:
        sessions: of one model.
        samplings: one for each session.
        max_new_tokens: as for `Session.generate`.
        stop: as for `Session.generate`.
        stop_at_eos: as for `Session.generate`.
    """
    answers = [
        session.fork().generate(max_new_tokens=max_new_tokens, stop=stop, stop_at_eos=stop_at_eos)
        for session in sessions
    ]
    writers = [answer.writer for answer in answers]
    batch = Batch(sessions[0].model, [answer.session.reading for answer in answers], samplings)
    while unfinished := [i for i, writer in enumerate(writers) if writer.finish_reason is None]:
        batch.keep(unfinished)
        for i, token in batch.write_tokens().items():
            writers[i].push(token)
    return writers


def read_session_file(path: str | os.PathLike[str]) -> tuple[ModelState, SessionNotes]:
    """Read a session's file without its model; raises as `Session.load`, but for a mismatch."""
    state, notes = ModelState.load_with_notes(path)
    if "session" not in notes:
        raise CheckpointCorruptError(
            f"{path} holds the state of a model but no session, so the weights and the tokens it "
            "belongs to are not known; save it with `Session.save` or `ttt state save`"
        )
    try:
        return state, msgspec.json.decode(notes["session"], type=SessionNotes)
    except msgspec.DecodeError as error:
        raise CheckpointCorruptError(
            f"{path} was written by another version of ttt: {error}"
        ) from error


def parameters_sha256(model: TTTModel) -> str:
    """Hash a model's parameters and buffers: their names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        head = [name, str(tensor.dtype), list(tensor.shape)]
        digest.update(json.dumps(head).encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
