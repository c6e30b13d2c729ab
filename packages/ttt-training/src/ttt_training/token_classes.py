"""The chronicles' tokens by what it takes to predict them.

A name exists in one document only. Its first occurrence can hardly be predicted, the later ones
by whoever remembers it, and answers by whoever remembers what was told.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ttt_config import RunConfig
from ttt_config.train import Dtype
from ttt_data import Batch, Tokenizer, chronicles
from ttt_data.chronicles import Document
from ttt_data.loading.batch import IGNORED_TARGET
from ttt_data.packing import mark_tokens
from ttt_data.readers import Split
from ttt_layer import TTTModel
from ttt_training.surprisal import surprisals

CLASSES = ("common", "name, 1st", "name, 2nd", "name, 3rd to 5th", "name, 6th or later", "answer")

MAX_DOCUMENTS = 64

_ANSWER = len(CLASSES) - 1
_WORD = re.compile(r"[A-Za-z]+")

ClassSums = dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]]
"""Nats and tokens of each document, (documents,) each, by the name of the class."""


def class_losses(
    model: TTTModel, tokenizer: Tokenizer, config: RunConfig, split: Split, dtype: Dtype
) -> ClassSums:
    """Sum the surprisal of each class of tokens over held-out stories, each from its beginning.

    Args:
        model: on any device.
        tokenizer: byte-level, so that tokens can be found in the text; another has no classes.
        config: gives the length of the windows and the rows of a batch.
        split: of the chronicles; up to `MAX_DOCUMENTS` are read.
        dtype: arithmetic of the model.
    """
    length, rows = config.model.max_seq_len, config.train.batch_size
    stories = list(chronicles.documents(split, MAX_DOCUMENTS))
    try:
        tagged = [_tagged(story, tokenizer, length) for story in stories]
    except ValueError:
        return {}
    parts = surprisals(model, _batches(tagged, rows), dtype=dtype)
    nats = np.concatenate([part.nats for part in parts])
    classes = np.stack([classes for _, _, classes in tagged])
    return {
        name: ((nats * (classes == number)).sum(axis=1), (classes == number).sum(axis=1))
        for number, name in enumerate(CLASSES)
    }


def classes_of(story: Document, tokenizer: Tokenizer) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Encode a story and give each token the number of its class.

    Raises:
        ValueError: the tokens do not add up to the text.
    """
    marks = np.zeros(len(story.text), dtype=np.int8)
    seen: Counter[str] = Counter()
    for start, end, kind in story.spans:
        if kind == "answer":
            marks[start:end] = _ANSWER
        for word in _WORD.finditer(story.text, start, end):
            if kind == "name":
                seen[word[0]] += 1
                times = seen[word[0]]
                number = times if times < 3 else 3 if times < 6 else 4
                marks[word.start() : word.end()] = number
    ids, classes = mark_tokens(story.text, marks, tokenizer)
    return ids.astype(np.int64), classes


def _tagged(
    story: Document, tokenizer: Tokenizer, length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
    """Inputs, targets and the class of each target, (length,) each; -1 and -100 where none is."""
    ids, classes = classes_of(story, tokenizer)
    inputs = np.full(length, tokenizer.eos_id, dtype=np.int64)
    targets = np.full(length, IGNORED_TARGET, dtype=np.int64)
    kept = np.full(length, -1, dtype=np.int8)
    count = min(length, len(ids) - 1)
    inputs[:count], targets[:count] = ids[:count], ids[1 : count + 1]
    kept[:count] = classes[1 : count + 1]
    return inputs, targets, kept


def _batches(
    tagged: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]], rows: int
) -> Iterator[Batch]:
    remaining = iter(tagged)
    while chunk := list(islice(remaining, rows)):
        inputs, targets, _ = zip(*chunk, strict=True)
        yield Batch(inputs=np.stack(inputs), targets=np.stack(targets))
