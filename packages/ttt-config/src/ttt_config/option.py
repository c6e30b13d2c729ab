"""How a hyper-parameter is declared: one annotated field, from which everything else is derived.

    lr: Annotated[Positive, option("peak learning rate")] = 3e-3

The command-line flags, `--help`, the accepted TOML keys, the JSON schema and the documentation are
all read from this line. Bounds are checked by msgspec when a value enters through
`ttt_config.resolve`; constructing a Struct directly checks nothing but its `__post_init__`.
"""

from collections.abc import Callable
from typing import Annotated

from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Decay = Annotated[float, Meta(ge=0, lt=1)]


def option(
    doc: str,
    *flags: str,
    keys: tuple[str, ...] = (),
    normalize: Callable[[str], str] | None = None,
) -> Meta:
    """Describe a configuration field.

    Args:
        doc: one line, shown by `--help` and in the documentation tables.
        flags: command-line spellings, the primary one first; none: `--` and the field's name with
            dashes. Each is also accepted as a key, `--seq-len` as `seq_len`.
        keys: further spellings accepted in a TOML file.
        normalize: maps an accepted spelling of a string value to the canonical one; a ValueError it
            raises becomes the field's error.
    """
    return Meta(description=doc, extra={"flags": flags, "keys": keys, "normalize": normalize})
