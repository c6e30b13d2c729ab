"""The training text and how it becomes tokens."""

from typing import Annotated

from msgspec import Meta, Struct

from ttt_config.option import Count, option


class DataConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the tokens come from (table `data`)."""

    source: Annotated[
        str, option("chronicles, or a .txt file, or a folder of .txt files", "--data", "--source")
    ] = "chronicles"
    tokenizer: Annotated[str, option("bpe-4096, bytes, or the path of a tokenizer.json")] = (
        "bpe-4096"
    )
    documents: Annotated[Count, option("chronicles documents in the training split")] = 2000
    val_fraction: Annotated[
        float, Meta(gt=0, lt=1), option("share of the text files' documents held out")
    ] = 0.05
