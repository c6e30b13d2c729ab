"""The training text and how it becomes tokens."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ttt_config.option import Count, option


class DataConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the tokens come from (table `data`)."""

    source: Annotated[
        str,
        option(
            "chronicles, stdlib, text, prepared tokens, hf://owner/repo, or a mixture 3*ONE,OTHER",
            "--data",
            "--source",
        ),
    ] = "chronicles"
    tokenizer: Annotated[
        str, option("bpe-4096, bytes, the path of a tokenizer.json, or a name on the hub")
    ] = "bpe-4096"
    documents: Annotated[Count, option("chronicles documents in the training split")] = 2000
    text_field: Annotated[str, option("key or column that holds the text")] = "text"
    separator: Annotated[
        str | None,
        option(
            "stands between the documents of a text file; none: a file is one document",
            normalize=lambda text: text.replace("\\n", "\n"),  # as a shell hands it over
        ),
    ] = None
    on_bad: Annotated[
        Literal["stop", "skip"], option("what to do at a document that cannot be read")
    ] = "stop"
    val_fraction: Annotated[
        float, Meta(gt=0, lt=1), option("share of the documents held out for validation")
    ] = 0.05
    test_fraction: Annotated[
        float, Meta(ge=0, lt=1), option("share of the documents held out for the final test")
    ] = 0.0
    mode: Annotated[
        Literal["packed", "docs"],
        option("windows side by side in the text, or of whole documents where possible"),
    ] = "packed"
    shuffle: Annotated[bool, option("deal the windows in a random order")] = True
