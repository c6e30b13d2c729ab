"""Text to token ids and back: two built-in tokenizers, and any Hugging Face `tokenizer.json`.

Encoding never adds special tokens and never recognises them in text: a story that contains the five
characters "<eos>" is just that, so no document can end itself early. Where documents end is for
`packing` to say.

The `tokenizers` library is imported when a tokenizer is made, not when this module is.
"""

import difflib
import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ttt_config.errors import TokenizerError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

BUILTIN = ("bpe-4096", "bytes")
SPECIAL_TOKENS = ("<pad>", "<eos>", "<bos>")
"""Ids 0, 1 and 2 of every tokenizer made here."""

_EOS_NAMES = ("<eos>", "</s>", "[EOS]", "<|endoftext|>")
_BOS_NAMES = ("<bos>", "<s>", "[BOS]", "<|endoftext|>")
_PAD_NAMES = ("<pad>", "[PAD]", "</s>", "<|endoftext|>")


class Tokenizer:
    """A tokenizer that can be stored beside what was made with it.

    Two tokenizers are equal if their canonical JSON is, whatever they were loaded from.

    Args:
        backend: the tokenizer of the `tokenizers` library that does the work.
        name: what it was loaded as, for messages.
    """

    def __init__(self, backend: "Backend", name: str) -> None:
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        self._backend = backend
        self.name = name

    @classmethod
    def load(cls, name: str | Path) -> "Tokenizer":
        """Load a tokenizer.

        Args:
            name: `bpe-4096` or `bytes`, the path of a tokenizer.json or of a folder holding one,
                or a name on the Hugging Face hub.

        Raises:
            TokenizerError: the name is none of these, or the file is not a tokenizer.
            DataError: the hub is needed and cannot be reached.
        """
        if name == "bytes":
            return cls(_byte_backend(), "bytes")
        if name in BUILTIN:
            data = (
                resources.files("ttt_data").joinpath("builtin", f"{name}.json").read_text("utf-8")
            )
            return cls.from_json(data, str(name))
        path = Path(name)
        if path.is_dir():
            path /= "tokenizer.json"
        if not path.is_file():
            path = _from_hub(str(name), path)
        try:
            data = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TokenizerError(f"cannot read tokenizer `{path}`: {error}") from error
        return cls.from_json(data, str(path))

    @classmethod
    def from_json(cls, data: str, name: str) -> "Tokenizer":
        """Make a tokenizer from the text of a tokenizer.json; `name` is used in messages.

        Raises:
            TokenizerError: the text is not a tokenizer.
        """
        from tokenizers import Tokenizer as Backend

        try:
            backend = Backend.from_str(data)
        except Exception as error:  # the library raises nothing more special
            raise TokenizerError(
                f"`{name}` is not a tokenizer.json of the Hugging Face tokenizers library: {error}"
            ) from error
        return cls(backend, name)

    def to_json(self) -> str:
        """Return the whole tokenizer as text for a tokenizer.json."""
        return self._backend.to_str()

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the canonical JSON: keys sorted, no spaces."""
        canonical = json.dumps(
            json.loads(self.to_json()), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        return hashlib.sha256(canonical.encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"Tokenizer({self.name!r}, vocab_size={self.vocab_size}, sha256={self.sha256[:12]})"

    # The vocabulary.

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id; added tokens count, unused ids in between do too."""
        return max(self._backend.get_vocab().values(), default=-1) + 1

    @property
    def eos_id(self) -> int:
        """The id that ends a document.

        Raises:
            TokenizerError: the vocabulary has no such token.
        """
        eos = self._first_of(_EOS_NAMES)
        if eos is None:
            raise TokenizerError(
                f"tokenizer `{self.name}` has no end-of-text token: expected one of "
                f"{', '.join(_EOS_NAMES)}; add one to its added_tokens"
            )
        return eos

    @property
    def bos_id(self) -> int:
        """The id that begins a document, or `eos_id` if the vocabulary has none."""
        bos = self._first_of(_BOS_NAMES)
        return self.eos_id if bos is None else bos

    @property
    def pad_id(self) -> int | None:
        """The id of padding, or None; never the same as `eos_id`, which must be learned."""
        eos = self._first_of(_EOS_NAMES)
        candidates = (self._backend.token_to_id(token) for token in _PAD_NAMES)
        return next((pad for pad in candidates if pad is not None and pad != eos), None)

    def _first_of(self, names: Sequence[str]) -> int | None:
        ids = (self._backend.token_to_id(token) for token in names)
        return next((id_ for id_ in ids if id_ is not None), None)

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        added = self._backend.get_added_tokens_decoder()
        return frozenset(id_ for id_, token in added.items() if token.special)

    def byte_lengths(self) -> np.ndarray:
        """Return how many bytes of text each id stands for, (vocab_size,), int64, read-only.

        Special tokens and unused ids stand for none. Exact for byte-level tokenizers. For others
        each token counts as written inside a text, so the sum over a text may be off by a space.
        """
        return self._byte_lengths

    @cached_property
    def _byte_lengths(self) -> np.ndarray:
        decoder = json.dumps(json.loads(self.to_json())["decoder"])
        byte_level, word_piece = '"ByteLevel"' in decoder, '"WordPiece"' in decoder
        lengths = np.zeros(self.vocab_size, dtype=np.int64)
        added = self._backend.get_added_tokens_decoder()
        for token, id_ in self._backend.get_vocab().items():
            if id_ in self._special_ids:
                continue
            if id_ in added:
                lengths[id_] = len(token.encode())
            elif byte_level:
                lengths[id_] = len(token)
            else:
                lengths[id_] = _written_bytes(token, word_piece=word_piece)
        lengths.flags.writeable = False
        return lengths

    # Encoding and decoding.

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of a text, (tokens,), int32; no special tokens are added or recognised."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        return np.array(encoding.ids, dtype=np.int32)

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encode several texts at once, on all cores; as `encode` for each."""
        encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def decode(self, ids: Sequence[int] | np.ndarray, *, skip_special: bool = True) -> str:
        """Return the text of the ids; bytes that are not UTF-8 become replacement characters."""
        return self._backend.decode([int(id_) for id_ in ids], skip_special_tokens=skip_special)

    def decode_stream(self, *, skip_special: bool = True) -> "DecodeStream":
        """Return a decoder for ids that arrive one at a time."""
        return DecodeStream(self, self._backend, skip_special=skip_special)


class DecodeStream:
    """Decodes ids one at a time and never gives out half a character.

    What `push` and `finish` return, joined, is what `Tokenizer.decode` makes of all the ids.
    """

    def __init__(self, tokenizer: Tokenizer, backend: "Backend", *, skip_special: bool) -> None:
        from tokenizers.decoders import DecodeStream as BackendStream

        self._tokenizer = tokenizer
        self._backend = backend
        self._skip_special = skip_special
        self._stream = BackendStream(skip_special_tokens=skip_special)
        self._ids: list[int] = []
        self._num_given_out = 0

    def push(self, id_: int) -> str:
        """Take in one id and return the text that is now certain; often empty, never a part."""
        self._ids.append(id_)
        text = self._stream.step(self._backend, id_) or ""
        self._num_given_out += len(text)
        return text

    def finish(self) -> str:
        """Return what is left, bytes that never became a character included."""
        whole = self._tokenizer.decode(self._ids, skip_special=self._skip_special)
        rest = whole[self._num_given_out :]
        self._num_given_out = len(whole)
        return rest


def _byte_backend() -> "Backend":
    """A vocabulary of the 256 bytes behind the special tokens, as a BPE that merges nothing."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    symbols = (*SPECIAL_TOKENS, *map(byte_symbol, range(256)))
    vocab = {symbol: id_ for id_, symbol in enumerate(symbols)}
    backend = Backend(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(SPECIAL_TOKENS))
    return backend


def byte_symbol(byte: int) -> str:
    """Return the character that byte-level tokenizers write for a byte.

    Printable Latin-1 stands for itself; the other 68 bytes follow, in order, from U+0100.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    if byte in printable:
        return chr(byte)
    return chr(0x100 + sum(other not in printable for other in range(byte)))


def _written_bytes(token: str, *, word_piece: bool) -> int:
    """Bytes of a token of a tokenizer that is not byte-level."""
    if token.startswith("<0x") and token.endswith(">"):
        return 1
    if word_piece:
        return len(token.removeprefix("##").encode()) + (not token.startswith("##"))
    return len(token.replace("\u2581", " ").encode())


def _from_hub(name: str, path: Path) -> Path:
    """Get a tokenizer that is no file here from the hub, unless its name is a slip."""
    from ttt_data.hub import hub_tokenizer, is_hub_name

    is_slip = bool(difflib.get_close_matches(name, BUILTIN, n=1))
    is_path = "/" in name and path.parent.is_dir()
    if is_slip or is_path or not is_hub_name(name):
        raise TokenizerError(_unknown(name, path))
    return hub_tokenizer(name)


def _unknown(name: str, path: Path) -> str:
    options = (
        f"expected {', '.join(BUILTIN)}, the path of a tokenizer.json or its folder, or a name on "
        "the hub"
    )
    if path.name == "tokenizer.json" and path.parent.is_dir():
        return f"no tokenizer.json in the folder `{path.parent}`: {options}"
    close = difflib.get_close_matches(name, BUILTIN, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return f"unknown tokenizer `{name}`: {options}{hint}"
