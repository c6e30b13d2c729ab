"""Text to tokens to batches, with a built-in corpus and tokenizer.

documents -> tokens -> batches

texts = sources.read_texts("chronicles")
stream = packing.pack(texts.train, Tokenizer.load("bpe-4096"))
batch = Loader(stream.tokens, seq_len=512, global_batch_size=8).batch(0)
"""

from ttt_data import chronicles, packing, permutation, sources, stats
from ttt_data.loader import Batch, Loader, LoaderState
from ttt_data.tokenizer import Tokenizer

__all__ = [
    "Batch",
    "Loader",
    "LoaderState",
    "Tokenizer",
    "chronicles",
    "packing",
    "permutation",
    "sources",
    "stats",
]
