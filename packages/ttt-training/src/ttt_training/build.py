"""From a configuration to the things a run is made of."""

import msgspec

from ttt_config import IncompatibleError, RunConfig
from ttt_data import Tokenizer
from ttt_data.seeds import derive_seed
from ttt_layer import TTTModel
from ttt_training.seeds import seeded_torch


def fit_vocabulary(config: RunConfig, tokenizer: Tokenizer) -> RunConfig:
    """Give the model the tokenizer's vocabulary unless the configuration names a larger one.

    Raises:
        IncompatibleError: the configured vocabulary is too small for the tokenizer.
    """
    wanted = config.model.vocab_size
    if wanted is None:
        model = msgspec.structs.replace(config.model, vocab_size=tokenizer.vocab_size)
        return msgspec.structs.replace(config, model=model)
    if wanted < tokenizer.vocab_size:
        raise IncompatibleError(
            f"`model.vocab_size` is {wanted}, but the tokenizer `{config.data.tokenizer}` has "
            f"{tokenizer.vocab_size} tokens; leave vocab_size out or set it to that at least"
        )
    return config


def build_model(config: RunConfig) -> TTTModel:
    """Build the model on the CPU, its parameters drawn under `train.seed` alone.

    The caller's random state is left as it was.
    """
    with seeded_torch(derive_seed(config.train.seed, "parameters")):
        return TTTModel(config.model)
