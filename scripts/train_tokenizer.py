"""Train a byte-level BPE tokenizer, or check that the built-in one can be rebuilt."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ttt_config.errors import TTTError
from ttt_data.readers import open_source
from ttt_data.tokenizer import Tokenizer
from ttt_data.train_tokenizer import (
    BUILTIN_NAME,
    BUILTIN_VOCAB_SIZE,
    builtin_training_texts,
    train_bpe,
    train_builtin,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "source",
        nargs="?",
        default="chronicles",
        help="text, as for `ttt data prepare` (default: chronicles)",
    )
    parser.add_argument("--out", type=Path, help="the tokenizer.json to write")
    parser.add_argument(
        "--vocab-size", type=int, default=BUILTIN_VOCAB_SIZE, help="default: %(default)s"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help=f"rebuild {BUILTIN_NAME} and compare it with the one that is built in",
    )
    options = parser.parse_args(arguments)
    if not options.check and options.out is None:
        parser.error("give --out FILE, or --check")
    try:
        return check() if options.check else train(options.source, options.out, options.vocab_size)
    except TTTError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def train(source: str, out: Path, vocab_size: int) -> int:
    """Train on the built-in tokenizer's text, or on the training split of a source."""
    texts: Iterable[str]
    if source == "chronicles":
        texts = builtin_training_texts()
    else:
        opened = open_source(source, test_fraction=0)
        texts = (document.text for document in opened.documents("train"))
    tokenizer = train_bpe(texts, vocab_size, name=str(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(tokenizer.to_json(), "utf-8")
    print(f"{out}: {tokenizer.vocab_size} entries, sha256 {tokenizer.sha256}")
    return 0


def check() -> int:
    """Compare the built-in tokenizer with a fresh one, bit for bit."""
    committed, rebuilt = Tokenizer.load(BUILTIN_NAME), train_builtin()
    same = rebuilt.to_json() == committed.to_json()
    print(f"committed {committed.sha256}\nrebuilt   {rebuilt.sha256}")
    print(f"{BUILTIN_NAME}: {'identical' if same else 'DIFFERENT'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
