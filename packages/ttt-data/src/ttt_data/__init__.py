"""Text to tokens to batches, with a built-in corpus and tokenizer.

documents -> tokens -> batches

corpus = open_corpus("chronicles", Tokenizer.load("bpe-4096"))
batch = Loader(corpus.split("train"), seq_len=512, global_batch_size=8).batch(0)
"""

from ttt_data import chronicles, packing, permutation, stats
from ttt_data.corpus import open_corpus
from ttt_data.loader import Batch, Loader, LoaderState
from ttt_data.prepare import prepare as pretokenize
from ttt_data.store import TokenStore, TokenStoreWriter
from ttt_data.tokenizer import Tokenizer

__all__ = [
    "Batch",
    "Loader",
    "LoaderState",
    "TokenStore",
    "TokenStoreWriter",
    "Tokenizer",
    "chronicles",
    "open_corpus",
    "packing",
    "permutation",
    "pretokenize",
    "stats",
]
