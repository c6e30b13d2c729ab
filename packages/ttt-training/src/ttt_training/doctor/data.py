"""Tokenizer and training data: whether they are there and what their hashes say."""

import base64
import hashlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from ttt_config import DataError, RunConfig
from ttt_training.doctor.finding import Finding, ok, problem

_HASH_DIGITS = 12


def check_tokenizer(config: RunConfig) -> Iterator[Finding]:
    """Load the tokenizer; compare it with the one of the run that is there, if there is one."""
    from ttt_data import Tokenizer
    from ttt_training.data import adopt_tokenizer

    name = adopt_tokenizer(config).data.tokenizer
    damaged = _changed_file("ttt-data", f"ttt_data/builtin/{name}.json")
    if damaged is not None:
        fix = "install it anew: uv pip install --reinstall ttt-data"
        yield problem("tokenizer", f"{damaged} is not the file that was installed", fix)
        return
    try:
        own = Tokenizer.load(name)
        kept = Path(config.out, "tokenizer.json")
        other = Tokenizer.load(kept) if kept.exists() else own
    except DataError as error:
        fix = "choose another with --tokenizer; `ttt tokenizer info NAME` looks at one"
        yield problem("tokenizer", str(error), fix)
        return
    found = f"{name}, {own.vocab_size:,} tokens, sha256 {own.sha256[:_HASH_DIGITS]}"
    if other == own:
        yield ok("tokenizer", found)
    else:
        text = f"{found}, but {kept} has sha256 {other.sha256[:_HASH_DIGITS]}"
        yield problem("tokenizer", text, f"use that one: --tokenizer {kept}, or another --out")


def check_data(config: RunConfig) -> Iterator[Finding]:
    """Hash every token store of the run; open what is not one."""
    from ttt_data import Tokenizer, TokenStore
    from ttt_data.corpus import is_store, open_corpus, parse_mixture
    from ttt_data.store import verify_store
    from ttt_training.data import adopt_tokenizer

    for part in parse_mixture(config.data.source):
        if is_store(part.spec):
            problems = verify_store(part.spec)
            for each in problems:
                fix = f"prepare it anew; `ttt data verify {part.spec}` shows where it is damaged"
                yield problem("data", f"{part.spec}: {each}", fix)
            if not problems:
                fingerprint = TokenStore.open(part.spec).manifest.fingerprint
                text = f"{part.spec}: every byte is as written, sha256 {fingerprint[:_HASH_DIGITS]}"
                yield ok("data", text)
            continue
        try:
            tokenizer = Tokenizer.load(adopt_tokenizer(config).data.tokenizer)
            open_corpus(part.spec, tokenizer, config.data)
        except DataError as error:
            fix = "choose other text with --data; `ttt data peek SOURCE` shows what is read"
            yield problem("data", str(error), fix)
        else:
            yield ok("data", f"{part.spec}: can be read; text is hashed when it is prepared")


def _changed_file(package: str, name: str) -> Path | None:
    """An installed file whose hash is not that of its wheel; None if it is, or has none."""
    for file in metadata.files(package) or ():
        if str(file) == name and file.hash is not None:
            path = Path(str(file.locate()))
            digest = hashlib.new(file.hash.mode, path.read_bytes()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
                return path
    return None
