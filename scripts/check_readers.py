"""Prove that the programs whose formats a token store has can read it, token for token.

    pip install megatron-core==0.16.1    # in an environment that also has ttt-data
    python scripts/check_readers.py

For each of a narrow and a wide vocabulary a store is prepared from chronicles. Its shards are read
by the real `IndexedDataset` of megatron-core, where it is installed, and by the rules by which
llm.c, modded-nanogpt and nanoGPT read, stated here anew.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ttt_data import Tokenizer, TokenStore, pretokenize
from ttt_data.readers import open_source
from ttt_data.store import TokenSplit, export_split

WIDE_VOCABULARY = 70_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, default=300, help="default: %(default)s")
    options = parser.parse_args(arguments)
    narrow = Tokenizer.load("bpe-4096")
    good = True
    for name, tokenizer in (("u16", narrow), ("u32", widened(narrow))):
        with tempfile.TemporaryDirectory() as scratch:
            store = prepare(Path(scratch) / "store", tokenizer, options.documents)
            for reader, found in readings(store, Path(scratch)):
                same = np.array_equal(found, all_tokens(store.split("train")))
                good &= same
                print(f"{name} {reader}: {len(found):,} tokens {'equal' if same else 'DIFFERENT'}")
    if find_spec("megatron") is None:
        print("megatron-core is not installed: its reader was not tried")
    return 0 if good else 1


def widened(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer with so many more ids that tokens are u32, and high ones are in use."""
    content = json.loads(tokenizer.to_json())
    vocab, shift = content["model"]["vocab"], WIDE_VOCABULARY
    content["model"]["vocab"] = {
        token: id_ if id_ < 1000 else id_ + shift for token, id_ in vocab.items()
    }
    return Tokenizer.from_json(json.dumps(content), "wide")


def prepare(folder: Path, tokenizer: Tokenizer, documents: int) -> TokenStore:
    """Write a store of several shards."""
    source = open_source("chronicles", num_documents=documents, test_fraction=0)
    pretokenize([source], folder, tokenizer=tokenizer, shard_tokens=100_000)
    return TokenStore.open(folder)


def readings(store: TokenStore, scratch: Path) -> list[tuple[str, np.ndarray]]:
    """Return the tokens of the training split as each reader gives them."""
    shards = sorted(store.folder.glob("train-*.bin"))
    found = [(f"llm.c's rule, {len(shards)} shards", np.concatenate([*map(read_llmc, shards)]))]
    if store.split("train").dtype.itemsize == 2:
        raw = scratch / "train.bin"
        export_split(store.split("train"), raw, "nanogpt")
        found.append(("nanoGPT's rule, exported", np.memmap(raw, dtype=np.uint16, mode="r")))
    if find_spec("megatron") is not None:
        tokens = np.concatenate([*map(read_megatron, shards)])
        found.append((f"megatron-core, {len(shards)} shards", tokens))
    return found


def read_llmc(path: Path) -> np.ndarray:
    """Read a shard as llm.c and modded-nanogpt do: 256 int32 of header, then the tokens."""
    header = np.fromfile(path, dtype=np.int32, count=256)
    dtype = {(20240520, 1): np.uint16, (20240801, 7): np.uint32}[int(header[0]), int(header[1])]
    tokens = np.fromfile(path, dtype=dtype, offset=256 * 4)
    if len(tokens) != header[2]:
        raise ValueError(f"{path}: {len(tokens)} tokens, expected {header[2]}")
    return tokens


def read_megatron(path: Path) -> np.ndarray:
    """Read a shard with megatron-core itself, document by document."""
    module = import_module("megatron.core.datasets.indexed_dataset")
    dataset = module.IndexedDataset(str(path.with_suffix("")))
    return np.concatenate([dataset[number] for number in range(len(dataset))])


def all_tokens(split: TokenSplit) -> np.ndarray:
    """Return a whole split."""
    return split.tokens(0, len(split))


if __name__ == "__main__":
    sys.exit(main())
